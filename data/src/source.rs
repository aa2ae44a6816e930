//! The sources of pairs: a [`Source`] gives its rows in a fixed order, and their images one by one.
//! Shards, tables, the embedded world and downstream sets are sources; `config.rs` has their
//! configuration in a suite.

use crate::classes::ClassFile;
use crate::eda;
use crate::error::Result;
use crate::numbers::DataRow;
use crate::progress::Progress;
use crate::rows::{BadRow, Remarks};

/// Pairs in a fixed order. Shared by several reading threads.
pub trait Source: Send + Sync {
    /// Changes whenever the data could have changed. It covers names, sizes and modification times
    /// of files, but not the configuration.
    fn fingerprint(&self) -> String;

    /// Calls `each` for every row, in order, on up to `threads` threads; no image is decoded.
    fn scan(
        &self,
        threads: usize,
        progress: &dyn Progress,
        each: &mut dyn FnMut(Result<Entry, BadRow>) -> Result<()>,
    ) -> Result<()>;

    /// The remarks of the last scan besides its rows.
    fn remarks(&self) -> Remarks {
        Remarks::default()
    }

    /// Identifies the generator of the images, if they are generated and not read; part of the
    /// poison's digest.
    fn content(&self) -> String {
        String::new()
    }

    /// The image of a row, resized and centre-cropped: planar RGB, `3 * size * size` bytes. The
    /// error describes the fault.
    fn image(&self, row: &Row, size: u32) -> Result<Vec<u8>, String>;

    /// Checks, after an image was read, that its file is the one that was scanned, by size and
    /// time. A file that is replaced while it is used is no bad row: old and new images must not be
    /// mixed.
    ///
    /// # Errors
    /// Names the file.
    fn check_unchanged(&self, _row: &Row) -> Result<()> {
        Ok(())
    }

    /// The name of a row in messages: shard and key, or table and line.
    fn name(&self, row: &Row) -> String;

    /// Calls `each` with size and time of every row's image, in order, bad rows included; with none
    /// if the source's fingerprint covers its images.
    fn stamps(
        &self,
        _threads: usize,
        _progress: &dyn Progress,
        _each: &mut dyn FnMut(Stamp) -> Result<()>,
    ) -> Result<()> {
        Ok(())
    }

    /// Class names and prompt templates if the source has them; otherwise the sorted labels serve
    /// as names.
    fn classes(&self) -> Result<Option<ClassFile>>;

    /// The share of bad rows (0 to 1) above which the data set is refused.
    fn max_bad(&self) -> f64;

    /// Synonyms for EDA: WordNet's, unless the vocabulary is closed.
    fn synonyms(&self) -> eda::Synonyms {
        eda::Synonyms::wordnet()
    }

    /// The closed word list of the source, if it has one.
    fn vocabulary(&self) -> Vec<String> {
        Vec::new()
    }
}

/// A row found by a scan.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entry {
    /// A text that locates the row in the source, besides the numbers: a key, a path.
    pub key: String,
    /// The caption, trimmed, not empty.
    pub caption: String,
    /// The class label, if the source has one for this row.
    pub label: Option<String>,
    /// The number of the source's file that contains the row.
    pub file: u32,
    /// Its place in the file: a byte, or a line.
    pub start: u64,
    /// Size of the image file in bytes.
    pub size: u32,
    /// Detects a change of the image file; 0 if the source's fingerprint covers it.
    pub seen: u64,
}

/// A usable row of a data set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row<'a> {
    /// Its place in the data set.
    pub number: DataRow,
    /// A text that locates it in the source, besides the numbers: a key, a path.
    pub key: &'a str,
    /// Its caption.
    pub caption: &'a str,
    /// Its class, an index into [`Classes`](crate::Classes).
    pub class: Option<u32>,
    /// The number of the source's file that contains it.
    pub file: u32,
    /// Its place in the file.
    pub start: u64,
    /// Size of its image file in bytes.
    pub size: u32,
    /// Of its image file, as in [`Entry`].
    pub seen: u64,
}

/// Detects, without reading it, that the image of a row was replaced, repaired, added or removed.
#[derive(Clone, Debug, PartialEq)]
pub struct Stamp {
    /// The number of the source's file that contains the row; `start` is its place there, as in
    /// [`Entry`].
    pub file: u32,
    /// See `file`.
    pub start: u64,
    /// Size and modification time of its file, or why it has none.
    pub seen: String,
}
