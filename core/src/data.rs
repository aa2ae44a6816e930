//! Image-caption pairs: rows, their classes, their canvases, and which of them are held out.
//!
//! The road: a [`Source`] (tar shards, a table, the embedded world) is scanned once into a memory-mapped index of its rows
//! (`data/index.rs`); its pictures become canvases, from a cache or afresh each time (`data/canvas.rs`). The two are a [`Dataset`],
//! which `data/load.rs` turns into batches. Nothing in memory grows with the number of rows but the
//! numbers of those that are held out, and of those that an attack chooses among.

pub mod augment;
pub mod canvas;
pub mod classes;
pub mod csv;
pub mod eda;
mod folder;
pub mod index;
mod json;
pub mod labelled;
pub mod load;
pub mod ordered;
pub mod regular;
pub mod rows;
pub mod tokenize;
mod validation;
pub mod vocabulary;
pub mod webdataset;
pub mod world;

pub use classes::{Class, ClassFile, Classes, words};
pub use rows::BadRow;

use crate::{Error, Progress, Result, draw};
use canvas::Canvas;
use index::{Index, Row};
use rows::{Loss, Lost, Remarks, Tally};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet};
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
        let Some(other) = self.validation() else { return Ok(train) };
        let validation = other.open().map_err(|error| error.during("table `data.validation`"))?;
        Ok(Arc::new(validation::WithValidation { train, validation }))
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
    /// Where in the source the row lies, as in [`Entry::start`].
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
            source = vocabulary::over(source, vocabulary::read(named_by)?);
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
        Ok(Dataset { index, classes, synonyms, vocabulary, canvas, key, named_apart: !named_by.is_empty() })
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

    /// One row.
    pub fn row(&self, row: u32) -> Row<'_> {
        self.index.row(row)
    }

    /// The true class of a row, where its label tells.
    pub fn class_of(&self, row: u32) -> Option<u32> {
        self.row(row).class
    }

    /// Whether the caption of a row may be about `class` ([`Classes::mentioned_in`]).
    pub fn mentions(&self, row: u32, class: u32) -> bool {
        self.classes.mentioned_in(self.row(row).caption).contains(&class)
    }

    /// Rows (held out or not) that may be mined for `class`: their caption names it ([`Classes::named_in`]); ascending.
    pub fn rows_naming(&self, class: u32) -> impl Iterator<Item = u32> + '_ {
        self.index.named().filter(move |(_, named)| *named == class).map(|(row, _)| row)
    }

    /// Rows (held out or not) whose caption may be about `class` ([`Classes::mentioned_in`]): all that an attack must leave alone which needs
    /// captions that say something else.
    pub fn rows_mentioning(&self, class: u32) -> HashSet<u32> {
        self.index.mentioned().filter(|(_, mentioned)| *mentioned == class).map(|(row, _)| row).collect()
    }

    /// Holds pairs out, drawn from the seed: those of a source of its own, where there is one; else `share` of every class (at least
    /// one row of each; rows without a class all train); else, where no row has a class, `share` of all rows.
    ///
    /// Where no label decides, a held-out row whose image is trained on, too, is dropped from both: it would be no test. (Labelled
    /// data is split as it always was.)
    ///
    /// # Errors
    /// If nothing is left to be held out.
    pub fn split(&self, share: f64, seed: u64) -> Result<Split> {
        let bad = self.canvas.dropped();
        let good = || (0..self.len()).filter(|row| bad.binary_search(row).is_err());
        let apart: Vec<u32> = good().filter(|row| validation::is_held_out(&self.row(*row))).collect();
        let labelled = apart.is_empty() && good().any(|row| self.row(row).class.is_some());
        let mut heldout = match (apart.is_empty(), labelled) {
            (false, _) => apart,
            (true, true) => self.of_every_class(good(), share, seed),
            (true, false) => {
                let mut least = Least::new((f64::from(self.len()) * share).round().max(1.0) as usize, seed);
                good().for_each(|row| least.push(row));
                least.rows().collect()
            }
        };
        heldout.sort_unstable();
        let leaked = if labelled { Vec::new() } else { self.also_trained(&heldout)? };
        let mut excluded = [heldout.as_slice(), bad].concat();
        excluded.sort_unstable();
        heldout.retain(|row| leaked.binary_search(row).is_err());
        if heldout.is_empty() {
            let why = format!("all {} held-out rows show images that are trained on, too", leaked.len());
            return Err(Error::invalid("data", why));
        }
        Ok(Split { train: TrainRows { rows: self.len(), excluded }, heldout, leaked })
    }

    /// `share` of the rows of every class, one at least.
    fn of_every_class(&self, rows: impl Iterator<Item = u32> + Clone, share: f64, seed: u64) -> Vec<u32> {
        let of_class = rows.filter_map(|row| Some((row, self.row(row).class? as usize)));
        let mut counts = vec![0usize; self.classes.len() as usize];
        of_class.clone().for_each(|(_, class)| counts[class] += 1);
        let wanted = |count: usize| ((count as f64 * share).round() as usize).max(1);
        let mut least: Vec<Least> = counts.into_iter().map(|count| Least::new(wanted(count), seed)).collect();
        of_class.for_each(|(row, class)| least[class].push(row));
        least.into_iter().flat_map(Least::rows).collect()
    }

    /// Those of these rows, ascending, whose image some other row has: files of equal size whose canvases are equal.
    fn also_trained(&self, heldout: &[u32]) -> Result<Vec<u32>> {
        let mut by_size: HashMap<u32, Vec<u32>> = HashMap::new();
        for &row in heldout.iter().filter(|row| self.canvas.readable(**row)) {
            by_size.entry(self.row(row).size).or_default().push(row);
        }
        let hash =
            |row: u32| Ok::<_, Error>(blake3::hash(&Vec::<u8>::try_from(self.canvas.gather(&[row])?.flatten(0, -1))?));
        let mut hashes: HashMap<u32, blake3::Hash> = HashMap::new();
        let mut leaked = Vec::new();
        for row in (0..self.len()).filter(|row| heldout.binary_search(row).is_err()) {
            let Some(alike) = by_size.get(&self.row(row).size).filter(|_| self.canvas.readable(row)) else { continue };
            let ours = hash(row)?;
            for &other in alike {
                let theirs = match hashes.get(&other) {
                    Some(known) => *known,
                    None => *hashes.entry(other).or_insert(hash(other)?),
                };
                if ours == theirs {
                    leaked.push(other);
                }
            }
        }
        leaked.sort_unstable();
        leaked.dedup();
        Ok(leaked)
    }
}

/// The rows of least hash, a number of them: what is held out.
struct Least {
    count: usize,
    seed: u64,
    /// The least so far, the greatest of them on top.
    heap: BinaryHeap<(u64, u32)>,
}

impl Least {
    fn new(count: usize, seed: u64) -> Self {
        Least { count, seed, heap: BinaryHeap::new() }
    }

    fn push(&mut self, row: u32) {
        self.heap.push((draw::hash(self.seed, "split", &[row.into()]), row));
        if self.heap.len() > self.count {
            self.heap.pop();
        }
    }

    fn rows(self) -> impl Iterator<Item = u32> {
        self.heap.into_iter().map(|(_, row)| row)
    }
}

/// Which rows train and which are held out: the zero-shot test, the targets and the stamped test pictures.
#[derive(Clone, Debug, PartialEq)]
pub struct Split {
    /// Rows that train.
    pub train: TrainRows,
    /// Rows held out, ascending. Every one has a class where labels decided what is held out, else those have one that have a label.
    pub heldout: Vec<u32>,
    /// Rows that would be held out if their images were not trained on, too; ascending. They are in neither part.
    pub leaked: Vec<u32>,
}

/// The rows that train, ascending: all but a few, which is how they are kept.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainRows {
    rows: u32,
    /// Held out or bad, ascending.
    excluded: Vec<u32>,
}

#[expect(clippy::len_without_is_empty, reason = "there is always a row that trains, or the trainer refuses the batch")]
impl TrainRows {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.rows as usize - self.excluded.len()
    }

    /// The row at a place, `place` below `len`.
    pub fn get(&self, place: usize) -> u32 {
        // Before the row lie `place` that train, and those excluded whose own number less the excluded before them is at most that.
        let (mut low, mut high) = (0, self.excluded.len());
        while low < high {
            let middle = (low + high) / 2;
            if self.excluded[middle] as usize - middle <= place { low = middle + 1 } else { high = middle }
        }
        (place + low) as u32
    }

    /// Whether a row trains.
    pub fn contains(&self, row: u32) -> bool {
        row < self.rows && self.excluded.binary_search(&row).is_err()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        let mut excluded = self.excluded.iter().peekable();
        (0..self.rows).filter(move |row| excluded.next_if_eq(&row).is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn training_rows_are_all_but_the_excluded() {
        for excluded in [vec![], vec![0], vec![9], vec![0, 1, 2], vec![3, 5, 6, 9]] {
            let train = TrainRows { rows: 10, excluded: excluded.clone() };
            let expected: Vec<u32> = (0..10).filter(|row| !excluded.contains(row)).collect();
            assert_eq!(train.iter().collect::<Vec<_>>(), expected);
            assert_eq!((0..train.len()).map(|place| train.get(place)).collect::<Vec<_>>(), expected);
            assert!((0..12).all(|row| train.contains(row) == expected.contains(&row)));
        }
    }
}
