//! Pairs to train on from one source, pairs that are held out from another: the paper trains on Conceptual Captions' training split and
//! takes targets from its validation split (Yang et al. 2023, section 5). One index holds both; the rows of the second are marked.

use super::index::Row;
use super::rows::Remarks;
use super::{BadRow, ClassFile, Entry, Source, Stamp, eda};
use crate::{Error, Progress, Result};
use std::sync::Arc;

/// Marks the number of a file whose rows are held out.
const HELD_OUT: u32 = 1 << 31;

/// Whether a row comes from the source that is held out.
pub(super) fn is_held_out(row: &Row) -> bool {
    row.file & HELD_OUT != 0
}

/// Both sources, one after the other.
pub(super) struct WithValidation {
    pub(super) train: Arc<dyn Source>,
    pub(super) validation: Arc<dyn Source>,
}

impl WithValidation {
    /// The source of a row, and the row as that source knows it.
    fn of<'a>(&self, row: &Row<'a>) -> (&dyn Source, Row<'a>) {
        let source = if is_held_out(row) { &self.validation } else { &self.train };
        (&**source, Row { file: row.file & !HELD_OUT, ..*row })
    }
}

impl Source for WithValidation {
    fn fingerprint(&self) -> String {
        format!("{}\nheld out {}", self.train.fingerprint(), self.validation.fingerprint())
    }

    fn scan(
        &self,
        threads: usize,
        progress: &dyn Progress,
        each: &mut dyn FnMut(Result<Entry, BadRow>) -> Result<()>,
    ) -> Result<()> {
        let mut trains = 0u64;
        self.train.scan(threads, progress, &mut |row| {
            trains += u64::from(row.is_ok());
            each(row)
        })?;
        let mut held_out = 0u64;
        self.validation.scan(threads, progress, &mut |row| {
            held_out += u64::from(row.is_ok());
            each(row.map(|entry| Entry { file: entry.file | HELD_OUT, ..entry }))
        })?;
        let empty = |count: u64, table: &str| match count {
            0 => Err(Error::invalid(format!("table `{table}`"), "no row of it can be used")),
            _ => Ok(()),
        };
        empty(trains, "data").and_then(|()| empty(held_out, "data.validation"))
    }

    fn remarks(&self) -> Remarks {
        let (mut all, more) = (self.train.remarks(), self.validation.remarks());
        all.cut.extend(more.cut);
        all.notes.extend(more.notes);
        all
    }

    fn content(&self) -> String {
        self.train.content() + &self.validation.content()
    }

    fn picture(&self, row: &Row, size: u32) -> Result<Vec<u8>, String> {
        let (source, row) = self.of(row);
        source.picture(&row, size)
    }

    fn name(&self, row: &Row) -> String {
        let (source, row) = self.of(row);
        source.name(&row)
    }

    fn stamps(&self, threads: usize, progress: &dyn Progress, each: &mut dyn FnMut(Stamp) -> Result<()>) -> Result<()> {
        self.train.stamps(threads, progress, each)?;
        self.validation.stamps(threads, progress, each)
    }

    fn classes(&self) -> Result<Option<ClassFile>> {
        self.train.classes()
    }

    fn max_bad(&self) -> f64 {
        self.train.max_bad()
    }

    fn synonyms(&self) -> eda::Synonyms {
        self.train.synonyms()
    }

    fn vocabulary(&self) -> Vec<String> {
        self.train.vocabulary()
    }
}
