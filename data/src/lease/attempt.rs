//! Attempts: the folders in which the holders of a leased folder write.
//!
//! The first holder writes to the leased folder itself, and so does each one that follows holders
//! known to have ended. If an earlier holder is only silent, it may go on writing when it wakes up.
//! Then the next one writes to `attempt-N`, where N is the number of its lease. Only the newest
//! attempt counts.

use super::{Lease, State, read_lease, state};
use crate::files::{self, Part, TEMPORARY};
use crate::{Error, Result};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Prefix of the folders, before the number.
const PREFIX: &str = "attempt-";

/// The newest attempt in a leased folder: the folder itself if there is only one.
pub fn newest(folder: &Path) -> Result<PathBuf> {
    newest_number(folder).map(|number| path(folder, number))
}

/// 0 is the folder itself.
fn newest_number(folder: &Path) -> Result<u32> {
    let mut newest = 0;
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
        entries => entries.map_err(Error::io(folder))?,
    };
    for entry in entries {
        newest = newest.max(number(&entry.map_err(Error::io(folder))?.file_name().to_string_lossy()).unwrap_or(0));
    }
    Ok(newest)
}

/// Whether an earlier holder may still write to an attempt. One that has not yet recorded where it
/// writes will find that its lease is lost before it does.
fn may_change(folder: &Path, attempt: u32, lease: &Lease) -> Result<bool> {
    for number in 1..lease.number() {
        let (holder, _) = read_lease(folder, number)?;
        if holder.attempt == Some(attempt) && !matches!(state(folder, number)?, State::Ended) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The folder that the holder of `lease` writes to, without the temporary files of holders that
/// were killed. After a silent holder it is a new one, with
/// copies of all files, of `first` before the others: a checkpoint may be older than the logs
/// beside it, never newer.
///
/// # Errors
/// If another process has taken over the folder meanwhile.
pub fn open(folder: &Path, lease: &Lease, first: &str) -> Result<PathBuf> {
    let newest = newest_number(folder)?;
    let last = path(folder, newest);
    if !may_change(folder, newest, lease)? {
        lease.record_attempt(newest)?;
        if lease.check_lost() {
            return Err(taken_over(folder));
        }
        return remove_unfinished(&last).map(|()| last);
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
    lease.record_attempt(lease.number())?;
    if lease.check_lost() { Err(taken_over(folder)) } else { Ok(place) }
}

fn taken_over(folder: &Path) -> Error {
    Error::invalid(folder.display(), "another process has taken over this folder, since this one was silent too long")
}

/// Removes temporary files and folders: only the holder writes any.
fn remove_unfinished(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
        let path = entry.map_err(Error::io(folder))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let removed = match () {
            () if name.starts_with(TEMPORARY) || name.starts_with(super::TOUCHED) => fs::remove_file(&path),
            () if name.starts_with(files::PREFIX) => fs::remove_dir_all(&path),
            () => Ok(()),
        };
        match removed {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            removed => removed.map_err(Error::io(&path))?,
        }
    }
    Ok(())
}

fn number(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.parse().ok()
}

fn path(folder: &Path, number: u32) -> PathBuf {
    if number == 0 {
        return folder.to_path_buf();
    }
    folder.join(name(number))
}

/// The name of the folder of an attempt.
pub fn name(number: u32) -> String {
    format!("{PREFIX}{number:05}")
}
