//! A data set: the rows of a [`Source`], their classes and their canvases.

use crate::canvas::Canvas;
use crate::index::{Index, Row};
use crate::rows::{BadRow, Loss, Lost, Remarks, Tally};
use crate::{
    ClassFile, Classes, DataRow, Error, Progress, Result, csv, eda, labelled, validation, vocabulary, webdataset, world,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

/// Where the pairs come from: the `[data]` table of a suite.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum DataConfig {
    /// The embedded procedural world: needs no files.
    World(world::World),
    /// img2dataset/webdataset tar shards.
    Webdataset(webdataset::Webdataset),
    /// A CSV or TSV file with a path and a caption column, as CyCLIP, CleanCLIP and RoCLIP read.
    Csv(csv::Csv),
    /// The test pictures of a downstream set, with prompts for captions: what `gauntlet eval` draws goals from.
    Labelled(labelled::Labelled),
}

impl DataConfig {
    /// Opens the source: checks paths and columns, reads no row.
    ///
    /// # Errors
    /// If a path or a column is not there; one of the source that is held out is told as that of `validation`.
    pub fn open(&self) -> Result<Arc<dyn Source>> {
        let train: Arc<dyn Source> = match self {
            DataConfig::World(world) => Arc::new(world.open()?),
            DataConfig::Webdataset(shards) => Arc::new(shards.open()?),
            DataConfig::Csv(table) => Arc::new(table.open()?),
            DataConfig::Labelled(set) => Arc::new(set.open()?),
        };
        match self.validation() {
            Some(other) => validation::beside(train, other).map_err(|error| error.during("table `data.validation`")),
            None => Ok(train),
        }
    }

    /// The source that is held out, where there is one.
    pub fn validation(&self) -> Option<&DataConfig> {
        match self {
            DataConfig::Webdataset(shards) => shards.validation.as_deref(),
            DataConfig::Csv(table) => table.validation.as_deref(),
            DataConfig::World(_) | DataConfig::Labelled(_) => None,
        }
    }
}

/// Pairs in a fixed order. Shared by reading threads.
pub trait Source: Send + Sync {
    /// Changes whenever what is read could change: names, sizes and modification times of files. The configuration is known beside it.
    fn fingerprint(&self) -> String;

    /// Hands every row to `each`, in order, on up to `threads` threads; no picture is decoded.
    fn scan(
        &self,
        threads: usize,
        progress: &dyn Progress,
        each: &mut dyn FnMut(Result<Entry, BadRow>) -> Result<()>,
    ) -> Result<()>;

    /// What the last scan found to say beside its rows.
    fn remarks(&self) -> Remarks {
        Remarks::default()
    }

    /// What makes the pictures, where they are made and not read: part of the poison's digest.
    fn content(&self) -> String {
        String::new()
    }

    /// The picture of a row, resized and centre-cropped: planar RGB, `3 * size * size` bytes. The error says what is wrong with it.
    fn picture(&self, row: &Row, size: u32) -> Result<Vec<u8>, String>;

    /// What a person would call a row: shard and key, or table and line.
    fn name(&self, row: &Row) -> String;

    /// Hands size and time of every row's image to `each`, in order, bad rows included; none for a source whose
    /// fingerprint covers its images.
    fn stamps(
        &self,
        _threads: usize,
        _progress: &dyn Progress,
        _each: &mut dyn FnMut(Stamp) -> Result<()>,
    ) -> Result<()> {
        Ok(())
    }

    /// Class names and prompt templates where the source knows them; otherwise the sorted labels name themselves.
    fn classes(&self) -> Result<Option<ClassFile>>;

    /// The share of bad rows (0 to 1) above which the data set is refused.
    fn max_bad(&self) -> f64;

    /// Synonyms for EDA: WordNet's, but for a closed vocabulary.
    fn synonyms(&self) -> eda::Synonyms {
        eda::Synonyms::wordnet()
    }

    /// The closed word list of a source that has one.
    fn vocabulary(&self) -> Vec<String> {
        Vec::new()
    }
}

/// A row as a scan finds it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entry {
    /// What the source finds the row by, besides the numbers: a key, a path.
    pub key: String,
    /// The caption, trimmed, not empty.
    pub caption: String,
    /// The class label, where the source has one for this row.
    pub label: Option<String>,
    /// Which of the source's files the row lies in.
    pub file: u32,
    /// Where in it: a byte, or a line.
    pub start: u64,
    /// Bytes of the picture as it lies on disk.
    pub size: u32,
}

/// What tells, without reading it, that the image of a row was exchanged, repaired, came or went.
#[derive(Clone, Debug, PartialEq)]
pub struct Stamp {
    /// Which of the source's files the row lies in, and where in it: as in [`Entry`].
    pub file: u32,
    /// See `file`.
    pub start: u64,
    /// Size and modification time of its file, or why it has none.
    pub seen: String,
}

/// The rows of a data set and their canvases.
pub struct Dataset {
    /// Captions, classes and places of the rows.
    pub index: Arc<Index>,
    /// Class names and prompt templates.
    pub classes: Classes,
    /// Synonyms for EDA.
    pub synonyms: eda::Synonyms,
    /// The closed word list of the world; empty for real data.
    pub vocabulary: Vec<String>,
    /// Pixels, one canvas a row.
    pub canvas: Canvas,
    /// Tells this data set, at this size, from every other.
    pub key: String,
    /// Whether its classes are named apart from the data, by the suite.
    pub named_apart: bool,
    /// Where what is found out of it once is kept.
    pub(crate) store: PathBuf,
}

impl Dataset {
    /// The data set that `config` describes, its canvases `size` pixels wide: from the store where it is there already, otherwise
    /// indexed, and its canvases cached if they take at most `cache_bytes`.
    ///
    /// # Errors
    /// If the source cannot be read, has more bad rows than `max_bad` allows or no usable one, has a label that its
    /// class file lacks, or has images that changed since a data set was made of them in this store.
    pub fn open(
        config: &DataConfig,
        size: u32,
        cache_bytes: u64,
        store: &std::path::Path,
        progress: &dyn Progress,
    ) -> Result<Self> {
        Dataset::open_among(config, "", size, cache_bytes, store, progress)
    }

    /// The same with classes that are named apart from the data ([`vocabulary::read`]); an empty name: with the data's own.
    ///
    /// # Errors
    /// As [`open`](Dataset::open), or if there are no classes of that name.
    pub fn open_among(
        config: &DataConfig,
        named_by: &str,
        size: u32,
        cache_bytes: u64,
        store: &std::path::Path,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let mut source = config.open()?;
        if !named_by.is_empty() {
            let classes = vocabulary::read(named_by)?;
            if classes.classes.len() < 2 {
                return Err(Error::invalid(
                    "key `classes`",
                    format!("`{named_by}` has one class: an attack needs two"),
                ));
            }
            source = vocabulary::over(source, classes);
        }
        if !(0.0..=1.0).contains(&source.max_bad()) {
            return Err(Error::invalid("max_bad", format!("{} is not a share between 0 and 1", source.max_bad())));
        }
        let index = Arc::new(Index::open(&*source, config, store, progress)?);
        if let Some(warning) = index.classes.warning() {
            progress.remark(&format!("warning: {warning}"));
        }
        let canvas = Canvas::open(source.clone(), index.clone(), size, cache_bytes, store, progress)?;
        index.mark_used()?;
        let key = canvas.key();
        let tally = canvas.tally();
        progress.remark(&format!("rows: {}", tally.summary()));
        tally.details().iter().for_each(|line| progress.remark(&format!("rows: {line}")));
        let (classes, synonyms, vocabulary) = (index.classes.clone(), source.synonyms(), source.vocabulary());
        Ok(Dataset {
            index,
            classes,
            synonyms,
            vocabulary,
            canvas,
            key,
            named_apart: !named_by.is_empty(),
            store: store.into(),
        })
    }

    /// Number of rows, those included whose pictures turned out to be bad.
    pub fn len(&self) -> u32 {
        self.index.len()
    }

    /// Whether there are none; a data set without rows is refused.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Rows found, kept and lost: those included whose images were found to be unreadable since it was opened, and those of them that
    /// `before` names, from a list that an interrupted training left.
    pub fn tally(&self, before: &[BadRow]) -> Tally {
        let mut tally = self.canvas.tally();
        let met = self.canvas.met().into_iter().map(|(row, why)| (self.canvas.name(row), why));
        let mut met: BTreeMap<String, String> = met.collect();
        met.extend(before.iter().map(|bad| (bad.name.clone(), bad.why.clone())));
        if let Some((name, why)) = met.first_key_value() {
            let first = format!("{name}: {why}");
            tally.lose_kept(&Lost { kind: Loss::UnreadableImage, rows: met.len() as u64, first });
        }
        tally
    }

    /// Whether there is such a row.
    pub fn contains(&self, row: DataRow) -> bool {
        row.0 < self.len()
    }

    /// All rows, in order.
    pub fn rows(&self) -> impl Iterator<Item = DataRow> + Clone {
        DataRow::first(self.len())
    }

    /// One row.
    pub fn row(&self, row: DataRow) -> Row<'_> {
        self.index.row(row)
    }

    /// The true class of a row, where its label tells.
    pub fn class_of(&self, row: DataRow) -> Option<u32> {
        self.row(row).class
    }

    /// Whether the caption of a row may be about `class` ([`Classes::mentioned_in`]).
    pub fn mentions(&self, row: DataRow, class: u32) -> bool {
        self.classes.mentioned_in(self.row(row).caption).contains(&class)
    }

    /// Rows (held out or not) that may be mined for `class`: their caption names it ([`Classes::named_in`]); ascending.
    pub fn rows_naming(&self, class: u32) -> impl Iterator<Item = DataRow> + '_ {
        self.index.named().filter(move |(_, named)| *named == class).map(|(row, _)| row)
    }

    /// Rows (held out or not) whose caption may be about `class` ([`Classes::mentioned_in`]): all that an attack must leave alone which needs
    /// captions that say something else.
    pub fn rows_mentioning(&self, class: u32) -> HashSet<DataRow> {
        self.index.mentioned().filter(|(_, mentioned)| *mentioned == class).map(|(row, _)| row).collect()
    }
}
