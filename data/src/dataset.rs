//! A data set: the rows of a [`Source`], their classes and their canvases.

use crate::canvas::Canvas;
use crate::index::Index;
use crate::rows::{BadRow, Loss, Lost, Tally};
use crate::source::Row;
use crate::{Classes, DataConfig, DataRow, Error, Progress, Result, eda, vocabulary};
use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

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
    /// Identifies this data set at this size.
    pub key: String,
    /// Identifies its images for a training that is resumed; equal for all builds.
    pub identity: String,
    /// Whether its class names come from the suite instead of the data.
    pub named_apart: bool,
    /// Folder for results that are computed from it once.
    pub(crate) store: PathBuf,
}

impl Dataset {
    /// Opens the data set that `config` describes, with canvases of `size` pixels. It is read from
    /// the store if it is there; otherwise it is indexed, and its canvases are cached if they take
    /// at most `cache_bytes`.
    ///
    /// # Errors
    /// If the source cannot be read, has more bad rows than `max_bad` allows or no usable one, has
    /// a label that its class file lacks, or has images that changed since a data set was made of
    /// them in this store.
    pub fn open(
        config: &DataConfig,
        size: u32,
        cache_bytes: u64,
        store: &std::path::Path,
        progress: &dyn Progress,
    ) -> Result<Self> {
        Dataset::open_among(config, "", size, cache_bytes, store, progress)
    }

    /// Opens it with class names from outside the data ([`vocabulary::read`]). An empty name means
    /// the classes of the data.
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
        let (key, identity) = (canvas.key(), canvas.identity());
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
            identity,
            named_apart: !named_by.is_empty(),
            store: store.into(),
        })
    }

    /// Number of rows, including those whose images were later found to be bad.
    pub fn len(&self) -> u32 {
        self.index.len()
    }

    /// Whether there are no rows; a data set without rows is refused.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Rows found, kept and lost. This includes the images that could not be decoded since the data
    /// set was opened, and those in `before`, a list that an interrupted training left.
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

    /// Whether the data set has this row.
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

    /// The true class of a row, if it has a label.
    pub fn class_of(&self, row: DataRow) -> Option<u32> {
        self.row(row).class
    }

    /// Whether the caption of a row may be about `class` ([`Classes::mentioned_in`]).
    pub fn mentions(&self, row: DataRow, class: u32) -> bool {
        self.classes.mentioned_in(self.row(row).caption).contains(&class)
    }

    /// Rows (held out or not) that may be mined for `class`, because their caption names it
    /// ([`Classes::named_in`]); ascending.
    pub fn rows_naming(&self, class: u32) -> impl Iterator<Item = DataRow> + '_ {
        self.index.named().filter(move |(_, named)| *named == class).map(|(row, _)| row)
    }

    /// Rows (held out or not) whose caption may be about `class` ([`Classes::mentioned_in`]). An
    /// attack that needs captions of other classes must avoid all of them.
    pub fn rows_mentioning(&self, class: u32) -> HashSet<DataRow> {
        self.index.mentioned().filter(|(_, mentioned)| *mentioned == class).map(|(row, _)| row).collect()
    }
}
