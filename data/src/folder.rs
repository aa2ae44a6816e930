//! Folders of the store that appear whole: made beside their place and renamed into it. A killed build leaves nothing half used, and
//! of two processes that race one wins and the other finds the same bytes.

use super::BadRow;
use super::rows::Tally;
use crate::{Error, Result};
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// A folder in the making; dropped before it is finished, it vanishes.
pub(super) struct Part {
    folder: PathBuf,
    part: tempfile::TempDir,
}

impl Part {
    /// Begins `folder`; the store around it is made if need be.
    pub(super) fn new(folder: &Path) -> Result<Self> {
        let store = folder.parent().expect("the folder lies in a store");
        fs::create_dir_all(store).map_err(Error::io(store))?;
        let part = tempfile::Builder::new().prefix("part-").tempdir_in(store).map_err(Error::io(store))?;
        Ok(Part { folder: folder.to_path_buf(), part })
    }

    /// Where a file of the folder is being written.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.part.path().join(name)
    }

    /// Puts the folder into its place.
    pub(super) fn finish(self) -> Result<()> {
        match fs::rename(self.part.path(), &self.folder) {
            Err(_) if self.folder.exists() => Ok(()), // another process was first, with the same bytes
            renamed => renamed.map_err(Error::io(&self.folder)),
        }
    }
}

/// `dropped.jsonl`: rows that cannot be used, and why.
pub(super) struct DropList {
    file: Writer,
    /// What is in it, counted.
    pub(super) tally: Tally,
    first: Vec<String>,
}

impl DropList {
    /// An empty list.
    pub(super) fn new(part: &Part) -> Result<Self> {
        let file = Writer::create(part.path("dropped.jsonl"))?;
        Ok(DropList { file, tally: Tally::default(), first: Vec::new() })
    }

    /// One more.
    pub(super) fn push(&mut self, bad: &BadRow) -> Result<()> {
        if self.first.len() < 3 {
            self.first.push(format!("{}: {}", bad.name, bad.why));
        }
        self.tally.lose(bad);
        let line = serde_json::to_string(bad).expect("plain data");
        self.file.write(format!("{line}\n").as_bytes())
    }

    /// What was lost, before this list and in it. Stops if more than a share of `allowed` rows was lost, or none is left; the list then
    /// stays beside where the folder would have been.
    pub(super) fn finish(self, part: &Part, kept: u64, before: &Tally, allowed: f64) -> Result<Tally> {
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
        let list = part.folder.with_extension("dropped.jsonl");
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

/// A buffered file whose errors carry its path.
pub(super) struct Writer {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Writer {
    pub(super) fn create(path: PathBuf) -> Result<Self> {
        let file = File::create(&path).map_err(Error::io(&path))?;
        Ok(Writer { path, file: BufWriter::with_capacity(1 << 16, file) })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(Error::io(&self.path))
    }

    /// Waits for the disk, so that a rename cannot outlive the contents.
    pub(super) fn finish(self) -> Result<()> {
        let file = self.file.into_inner().map_err(|error| Error::io(&self.path)(error.into_error()))?;
        file.sync_all().map_err(Error::io(&self.path))
    }
}
