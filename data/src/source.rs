//! What pairs come from: a [`Source`] hands its rows out in a fixed order, and their images one by
//! one. Shards, tables, the embedded world and downstream sets are sources; `config.rs` says how a
//! suite describes them.

use crate::classes::ClassFile;
use crate::eda;
use crate::error::Result;
use crate::numbers::DataRow;
use crate::progress::Progress;
use crate::rows::{BadRow, Remarks};

/// Pairs in a fixed order. Shared by reading threads.
pub trait Source: Send + Sync {
    /// Changes whenever what is read could change: names, sizes and modification times of files.
    /// The configuration is known beside it.
    fn fingerprint(&self) -> String;

    /// Hands every row to `each`, in order, on up to `threads` threads; no image is decoded.
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

    /// What makes the images, where they are made and not read: part of the poison's digest.
    fn content(&self) -> String {
        String::new()
    }

    /// The image of a row, resized and centre-cropped: planar RGB, `3 * size * size` bytes. The
    /// error says what is wrong with it.
    fn image(&self, row: &Row, size: u32) -> Result<Vec<u8>, String>;

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
    /// Bytes of the image as it lies on disk.
    pub size: u32,
}

/// A usable row of a data set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row<'a> {
    /// Its place in the data set.
    pub number: DataRow,
    /// What the source finds it by, besides the numbers: a key, a path.
    pub key: &'a str,
    /// Its caption.
    pub caption: &'a str,
    /// Its class, an index into [`Classes`].
    pub class: Option<u32>,
    /// Which of the source's files it lies in.
    pub file: u32,
    /// Where in it.
    pub start: u64,
    /// Bytes of its image as it lies on disk.
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
