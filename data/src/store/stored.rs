//! Lists the entries of a store and removes them: never while a process holds one, and atomically,
//! so that another process finds it whole or not at all.

use super::{DIGITS, NOTES, Note, Using, note_on};
use crate::files::{Held, PREFIX, read_json, remove_folder};
use crate::lease::Lease;
use crate::{Error, Result};
use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// The folder of undefended models in old stores; its entries are older than all notes.
const OLD_MODELS: &str = "undefended";

/// An entry of a store.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// Its path.
    pub path: PathBuf,
    /// `index`, `canvas`, `poison`, ..
    pub kind: String,
    /// A description of its content; empty if there is no note.
    pub of: String,
    /// Size of all its files in bytes.
    pub bytes: u64,
    /// When it was last used, or last written if there is no note.
    pub used: SystemTime,
    /// Whether it can be used.
    pub state: State,
}

/// The state of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// This build uses it.
    Usable,
    /// Another build made it, and this one does not use it.
    Foreign,
    /// An incomplete entry: the process that made it was killed, or is still running.
    Part,
    /// A list of rows that could not be used.
    List,
}

impl Stored {
    /// Time since it was used.
    pub fn unused_for(&self) -> Duration {
        self.used.elapsed().unwrap_or_default()
    }

    /// Whether a process reads or writes it.
    pub fn is_held(&self) -> Result<bool> {
        Ok(Held::alone(&self.path)?.is_none() || self.path.is_dir() && Lease::holder(&self.path)?.is_some())
    }

    /// Removes it unless a process holds it. Returns whether it was removed.
    ///
    /// # Errors
    /// If it cannot be removed.
    pub fn remove(&self) -> Result<bool> {
        let Some(_alone) = Held::alone(&self.path)? else { return Ok(false) };
        if self.path.is_dir() && Lease::holder(&self.path)?.is_some() {
            return Ok(false);
        }
        let note = note_on(&self.path);
        if !self.path.is_dir() {
            fs::remove_file(&self.path).map_err(Error::io(&self.path))?;
            return if note.exists() { fs::remove_file(&note).map_err(Error::io(&note)) } else { Ok(()) }
                .map(|()| true);
        }
        remove_folder(&self.path).map(|()| true)
    }
}

/// Lists the entries of a store, by kind and name. `ours` tells from the `made_by` of an entry
/// whether this build uses it. Other files are ignored.
///
/// # Errors
/// If the folder cannot be read.
pub fn list(store: &Path, ours: impl Fn(&str) -> bool) -> Result<Vec<Stored>> {
    let mut found = Vec::new();
    for (path, about) in entries(store)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name == OLD_MODELS && about.is_dir() {
            for (path, about) in entries(&path)? {
                found.push(stored(path, &about, OLD_MODELS, State::Foreign)?);
            }
        } else if let Some((kind, state)) = kind_of(&name) {
            found.push(stored(path, &about, kind, state)?);
        }
    }
    for entry in &mut found {
        let note = note_on(&entry.path);
        if entry.state != State::Foreign || !note.is_file() {
            continue;
        }
        let about = note.metadata().map_err(Error::io(&note))?;
        let note: Note = read_json(&note)?;
        entry.used = about.modified().unwrap_or(entry.used);
        entry.of = note.of;
        entry.state = if ours(&note.made_by) { State::Usable } else { State::Foreign };
    }
    found.sort_by(|a, b| (&a.kind, &a.path).cmp(&(&b.kind, &b.path)));
    Ok(found)
}

/// Removes what killed processes left unfinished in a store, unless a process uses it, on any
/// machine. Returns what was removed.
pub fn sweep(store: &Path) -> Result<Vec<Stored>> {
    if !store.is_dir() || Using::find(store)?.is_some() {
        return Ok(Vec::new());
    }
    // Another process may have begun to use it, or to prune it, at this moment.
    let Ok(_lease) = Using::prune(store) else { return Ok(Vec::new()) };
    let mut swept = Vec::new();
    for entry in list(store, |_| true)?.into_iter().filter(|entry| entry.state == State::Part) {
        if entry.remove()? {
            swept.push(entry);
        }
    }
    Ok(swept)
}

/// The kind of an entry from its name, and its state as far as the name tells: whether it is this
/// build's is known only from its note.
fn kind_of(name: &str) -> Option<(&str, State)> {
    if name.starts_with(PREFIX) || name.starts_with("part-") || name.starts_with(".tmp") {
        return Some(("part", State::Part));
    }
    let stem = name.split_once('.').map_or(name, |(stem, _)| stem);
    let (kind, digits) = stem.rsplit_once('-')?;
    let is_key = digits.len() == DIGITS && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    let state = if name.ends_with(".dropped.jsonl") { State::List } else { State::Foreign };
    is_key.then_some((kind, state))
}

fn stored(path: PathBuf, about: &Metadata, kind: &str, state: State) -> Result<Stored> {
    let used = about.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    Ok(Stored { bytes: size(&path)?, kind: kind.into(), of: String::new(), used, state, path })
}

/// Everything in a folder except the notes and links, which lead elsewhere.
fn entries(folder: &Path) -> Result<Vec<(PathBuf, Metadata)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
        let path = entry.map_err(Error::io(folder))?.path();
        let about = path.symlink_metadata().map_err(Error::io(&path))?;
        if !about.is_symlink() && !path.ends_with(NOTES) {
            found.push((path, about));
        }
    }
    Ok(found)
}

fn size(path: &Path) -> Result<u64> {
    let about = path.symlink_metadata().map_err(Error::io(path))?;
    if !about.is_dir() {
        return Ok(about.len());
    }
    entries(path)?.iter().map(|(inner, _)| size(inner)).sum()
}
