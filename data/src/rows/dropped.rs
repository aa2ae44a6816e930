//! The list of rows that cannot be used, stored beside the usable rows.

use super::{BadRow, Tally};
use crate::files::{Part, Writer};
use crate::{Error, Result};
use std::fs;

/// `dropped.jsonl`: rows that cannot be used, and why.
pub(crate) struct DropList {
    file: Writer,
    /// The counts of its rows.
    pub(crate) tally: Tally,
    first: Vec<String>,
}

impl DropList {
    /// An empty list.
    pub(crate) fn new(part: &Part) -> Result<Self> {
        let file = Writer::create(part.path("dropped.jsonl"))?;
        Ok(DropList { file, tally: Tally::default(), first: Vec::new() })
    }

    /// Adds a row.
    pub(crate) fn push(&mut self, bad: &BadRow) -> Result<()> {
        if self.first.len() < 3 {
            self.first.push(format!("{}: {}", bad.name, bad.why));
        }
        self.tally.lose(bad);
        let line = serde_json::to_string(bad).expect("plain data");
        self.file.write(format!("{line}\n").as_bytes())
    }

    /// The losses before this list and in it. Fails if a larger share of rows than `allowed` was
    /// lost, or none is left; the list then stays beside the intended folder.
    pub(crate) fn finish(self, part: &Part, kept: u64, before: &Tally, allowed: f64) -> Result<Tally> {
        self.file.finish()?;
        let mut all = Tally { found: kept + before.lost_rows() + self.tally.found, kept, ..before.clone() };
        self.tally.lost.iter().for_each(|lost| all.lose_too(lost));
        if kept > 0 && all.bad_rows() as f64 <= allowed * all.found as f64 {
            return Ok(all);
        }
        if all.found == 0 {
            let why = std::iter::once("the source has no rows".to_string()).chain(all.details()).collect::<Vec<_>>();
            return Err(Error::invalid("data", why.join("; ")));
        }
        let list = part.place().with_extension("dropped.jsonl");
        fs::rename(part.path("dropped.jsonl"), &list).map_err(Error::io(&list))?;
        let why = format!(
            "{} of {} rows cannot be used ({}) and `max_bad` allows a share of {allowed}; the first: {}; all are listed in {}",
            all.lost_rows(),
            all.found,
            all.kinds(),
            self.first.join("; "),
            list.display()
        );
        Err(Error::invalid("data", why))
    }
}
