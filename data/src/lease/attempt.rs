//! Attempts: the folders in which the holders of a leased folder write.
//!
//! The first holder writes to the leased folder itself, and so does each one that follows a holder
//! known to have ended. After a silent holder, which may go on writing when it wakes up, the next
//! one writes to `attempt-N`, where N is the number of its lease. Only the newest attempt counts.

use super::{Before, Lease};
use crate::files::Part;
use crate::{Error, Result};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Prefix of the folders, before the number.
const PREFIX: &str = "attempt-";

/// The newest attempt in a leased folder: the folder itself if there is only one.
pub fn newest(folder: &Path) -> Result<PathBuf> {
    let mut newest: Option<u32> = None;
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(folder.to_path_buf()),
        entries => entries.map_err(Error::io(folder))?,
    };
    for entry in entries {
        newest = newest.max(number(&entry.map_err(Error::io(folder))?.file_name().to_string_lossy()));
    }
    Ok(newest.map_or_else(|| folder.to_path_buf(), |number| path(folder, number)))
}

/// The folder that the holder of `lease` writes to. After a silent holder it is a new one, with
/// copies of all files, of `first` before the others: a checkpoint may be older than the logs
/// beside it, never newer.
pub fn open(folder: &Path, lease: &Lease, before: Before, first: &str) -> Result<PathBuf> {
    let last = newest(folder)?;
    if before == Before::Ended {
        return Ok(last);
    }
    let place = path(folder, lease.number());
    let part = Part::new(&place)?;
    let mut names = Vec::new();
    for entry in fs::read_dir(&last).map_err(Error::io(&last))? {
        let entry = entry.map_err(Error::io(&last))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // Hidden ones are unfinished.
        let ours = !name.starts_with('.') && !name.starts_with(super::PREFIX) && number(&name).is_none();
        if ours && entry.file_type().map_err(Error::io(entry.path()))?.is_file() {
            names.push(name);
        }
    }
    names.sort_by_key(|name| (name != first, name.clone()));
    for name in names {
        match fs::copy(last.join(&name), part.path(&name)) {
            // The old holder may have removed it since.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            copied => drop(copied.map_err(Error::io(last.join(&name)))?),
        }
    }
    part.finish()?;
    Ok(place)
}

fn number(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.parse().ok()
}

fn path(folder: &Path, number: u32) -> PathBuf {
    folder.join(format!("{PREFIX}{number:05}"))
}
