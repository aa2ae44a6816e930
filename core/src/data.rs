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
pub mod labelled;
pub mod load;
pub mod ordered;
pub mod tokenize;
pub mod webdataset;
pub mod world;

pub use classes::{Class, ClassFile, Classes, words};

use crate::{Error, Progress, Result, draw};
use canvas::Canvas;
use index::{Index, Row};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BinaryHeap, HashSet};
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
    pub fn open(&self) -> Result<Arc<dyn Source>> {
        Ok(match self {
            DataConfig::World(world) => Arc::new(world.open()?),
            DataConfig::Webdataset(shards) => Arc::new(shards.open()?),
            DataConfig::Csv(table) => Arc::new(table.open()?),
            DataConfig::Labelled(set) => Arc::new(set.open()?),
        })
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

    /// What makes the pictures, where they are made and not read: part of the poison's digest.
    fn content(&self) -> String {
        String::new()
    }

    /// The picture of a row, resized and centre-cropped: planar RGB, `3 * size * size` bytes. The error says what is wrong with it.
    fn picture(&self, row: &Row, size: u32) -> Result<Vec<u8>, String>;

    /// What a person would call a row: shard and key, or table and line.
    fn name(&self, row: &Row) -> String;

    /// Whether a picture is not the one that was scanned, for a source whose fingerprint does not cover every picture.
    fn changed(&self, _row: &Row) -> bool {
        false
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

/// A row that cannot be used, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BadRow {
    /// What a person would call the row.
    pub name: String,
    /// What is wrong with it.
    pub why: String,
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
}

impl Dataset {
    /// The data set that `config` describes, its canvases `size` pixels wide: from the store where it is there already, otherwise
    /// indexed, and its canvases cached if they take at most `cache_bytes`.
    ///
    /// # Errors
    /// If the source cannot be read, has more bad rows than `max_bad` allows or no usable one, or has a label that its class
    /// file lacks.
    pub fn open(
        config: &DataConfig,
        size: u32,
        cache_bytes: u64,
        store: &std::path::Path,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let source = config.open()?;
        if !(0.0..=1.0).contains(&source.max_bad()) {
            return Err(Error::invalid("max_bad", format!("{} is not a share between 0 and 1", source.max_bad())));
        }
        let index = Arc::new(Index::open(&*source, config, store, progress)?);
        if let Some(warning) = index.classes.warning() {
            progress.warn(&warning);
        }
        check_unchanged(&*source, &index, store)?;
        let canvas = Canvas::open(source.clone(), index.clone(), size, cache_bytes, store, progress)?;
        let key = canvas.key();
        let (classes, synonyms, vocabulary) = (index.classes.clone(), source.synonyms(), source.vocabulary());
        Ok(Dataset { index, classes, synonyms, vocabulary, canvas, key })
    }

    /// Number of rows, those included whose pictures turned out to be bad.
    pub fn len(&self) -> u32 {
        self.index.len()
    }

    /// Whether there are none; a data set without rows is refused.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One row.
    pub fn row(&self, row: u32) -> Row<'_> {
        self.index.row(row)
    }

    /// The class of a held-out row: every one has a class.
    pub fn class_of(&self, row: u32) -> u32 {
        self.row(row).class.expect("held-out rows have a class")
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

    /// Holds out `share` of every class (at least one row of each), drawn from the seed; rows without a class all train.
    ///
    /// # Errors
    /// If no row has a class: there would be nothing to test on.
    pub fn split(&self, share: f64, seed: u64) -> Result<Split> {
        let bad = self.canvas.dropped();
        let good = (0..self.len()).filter(|row| bad.binary_search(row).is_err());
        let of_class = good.filter_map(|row| Some((row, self.row(row).class? as usize)));
        let mut counts = vec![0usize; self.classes.len() as usize];
        of_class.clone().for_each(|(_, class)| counts[class] += 1);
        if counts.iter().all(|count| *count == 0) {
            return Err(Error::invalid(
                "data",
                "no row has a class label, so nothing can be held out to test on; set `class_field` (or `class_column` of a table)",
            ));
        }
        let wanted: Vec<usize> = counts.iter().map(|count| ((*count as f64 * share).round() as usize).max(1)).collect();
        // The rows of least hash are held out. Each heap keeps the least so far, its greatest on top.
        let mut least = vec![BinaryHeap::new(); counts.len()];
        for (row, class) in of_class {
            let heap: &mut BinaryHeap<(u64, u32)> = &mut least[class];
            heap.push((draw::hash(seed, "split", &[row.into()]), row));
            if heap.len() > wanted[class] {
                heap.pop();
            }
        }
        let mut heldout: Vec<u32> = least.into_iter().flatten().map(|(_, row)| row).collect();
        heldout.sort_unstable();
        let mut excluded = [heldout.as_slice(), bad].concat();
        excluded.sort_unstable();
        Ok(Split { train: TrainRows { rows: self.len(), excluded }, heldout })
    }
}

/// A thousand rows (all, if there are fewer) tell whether pictures were exchanged since they were indexed.
fn check_unchanged(source: &dyn Source, index: &Index, store: &std::path::Path) -> Result<()> {
    let step = (index.len() / 1000).max(1) as usize;
    let changed = (0..index.len()).step_by(step).map(|row| index.row(row)).find(|row| source.changed(row));
    changed.map_or(Ok(()), |row| {
        let why = format!(
            "its picture `{}` changed since the data was indexed; delete {} to read the data anew",
            row.key,
            store.display()
        );
        Err(Error::invalid(source.name(&row), why))
    })
}

/// Which rows train and which are held out: the zero-shot test, the targets and the stamped test pictures.
#[derive(Clone, Debug, PartialEq)]
pub struct Split {
    /// Rows that train.
    pub train: TrainRows,
    /// Rows held out, ascending; every one has a class.
    pub heldout: Vec<u32>,
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
