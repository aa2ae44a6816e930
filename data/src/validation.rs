//! Training pairs from one source, held-out pairs from another: the paper trains on Conceptual
//! Captions' training split and takes targets from its validation split (Yang et al. 2023). One
//! index holds both; the rows of the second are marked.

use crate::rows::Remarks;
use crate::source::{Entry, Row, Source, Stamp};
use crate::{BadRow, ClassFile, Error, Progress, Result, eda};
use std::sync::Arc;

/// The files of the two sources may have the same names.
fn validation_name(name: &str) -> String {
    format!("validation/{name}")
}

/// Marks the number of a file whose rows are held out.
const HELD_OUT: u32 = 1 << 31;

/// Whether a row comes from the held-out source.
pub(crate) fn is_held_out(row: &Row) -> bool {
    row.file & HELD_OUT != 0
}

/// Both sources, one after the other.
struct WithValidation {
    train: Arc<dyn Source>,
    validation: Arc<dyn Source>,
}

/// A source combined with a held-out one.
pub(crate) fn beside(train: Arc<dyn Source>, validation: Arc<dyn Source>) -> Arc<dyn Source> {
    Arc::new(WithValidation { train, validation })
}

impl WithValidation {
    /// The source of a row, and the row in that source.
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
        let (mut held_out, mut lost) = (0u64, 0u64);
        self.validation.scan(threads, progress, &mut |row| {
            match &row {
                Ok(_) => held_out += 1,
                Err(bad) => lost += bad.rows,
            }
            let named = |bad: BadRow| BadRow { name: validation_name(&bad.name), ..bad };
            each(row.map(|entry| Entry { file: entry.file | HELD_OUT, ..entry }).map_err(named))
        })?;
        let (found, allowed) = (held_out + lost, self.validation.max_bad());
        if lost as f64 > allowed * found as f64 {
            let why = format!("{lost} of {found} rows cannot be used, but its `max_bad` allows a share of {allowed}");
            return Err(Error::invalid("table `data.validation`", why));
        }
        not_empty(trains, "table `data`").and_then(|()| not_empty(held_out, "table `data.validation`"))
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

    fn image(&self, row: &Row, size: u32) -> Result<Vec<u8>, String> {
        let (source, row) = self.of(row);
        source.image(&row, size)
    }

    fn check_unchanged(&self, row: &Row) -> Result<()> {
        let (source, row) = self.of(row);
        source.check_unchanged(&row)
    }

    fn name(&self, row: &Row) -> String {
        let (source, own) = self.of(row);
        let name = source.name(&own);
        if is_held_out(row) { validation_name(&name) } else { name }
    }

    fn stamps(&self, threads: usize, progress: &dyn Progress, each: &mut dyn FnMut(Stamp) -> Result<()>) -> Result<()> {
        self.train.stamps(threads, progress, each)?;
        self.validation.stamps(threads, progress, &mut |stamp| each(Stamp { file: stamp.file | HELD_OUT, ..stamp }))
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

fn not_empty(rows: u64, table: &str) -> Result<()> {
    if rows > 0 { Ok(()) } else { Err(Error::invalid(table, "none of its rows can be used")) }
}
