//! The store: a folder of what took long to make and is found again by what it was made from. A
//! [`Key`] names its entries, which are folders (`index-0123456789abcdef`) or files; a note beside
//! the content says in words what an entry is of, who made it and when it was last used.
//! `store/stored.rs` lists what is there and removes it.

mod stored;

pub use stored::{State, Stored, list};

use crate::files::write_json;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Digits of a key in the name of its entry.
const DIGITS: usize = 16;

/// Letters of a value that a note repeats; of a longer one it has the hash.
const LETTERS: usize = 200;

/// The note within an entry that is a folder.
const NOTE: &str = "key.json";

/// The folder of the notes on entries that are files.
const NOTES: &str = "keys";

/// What an entry is found by: all that it was made from.
#[derive(Clone, Debug)]
pub struct Key {
    note: Note,
    hasher: blake3::Hasher,
}

/// What lies beside an entry, for people and for `gauntlet store`; nothing is found by it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Note {
    kind: String,
    format: u32,
    /// The sources, compiler and libraries that made it.
    made_by: String,
    /// What it is of, in words.
    of: String,
    parts: BTreeMap<String, String>,
}

impl Key {
    /// A key of this kind. `format` is raised whenever the same parts would be stored otherwise, so
    /// that old entries are left alone; `made_by` tells the builds that make the same of them.
    pub fn new(kind: &str, format: u32, made_by: &str) -> Self {
        let note =
            Note { kind: kind.into(), format, made_by: made_by.into(), of: String::new(), parts: BTreeMap::new() };
        let mut key = Key { note, hasher: blake3::Hasher::new() };
        [kind, &format.to_string(), made_by].into_iter().for_each(|part| key.hash(part));
        key
    }

    /// The same with a part more; the order of parts counts.
    pub fn with(mut self, name: &str, value: impl Display) -> Self {
        let value = value.to_string();
        self.hash(name);
        self.hash(&value);
        let said =
            if value.len() > LETTERS { format!("hash {}", blake3::hash(value.as_bytes()).to_hex()) } else { value };
        self.note.parts.insert(name.into(), said);
        self
    }

    fn hash(&mut self, part: &str) {
        self.hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
    }

    /// Says in words what it is of, for whoever lists the store.
    pub fn of(mut self, words: impl Into<String>) -> Self {
        self.note.of = words.into();
        self
    }

    /// The key itself, in 64 digits.
    pub fn hex(&self) -> String {
        self.hasher.finalize().to_hex().to_string()
    }

    /// Where an entry lies that is a folder.
    pub fn folder(&self, store: &Path) -> PathBuf {
        store.join(format!("{}-{}", self.note.kind, &self.hex()[..DIGITS]))
    }

    /// Where an entry lies that is a file, the ending of its name without a dot.
    pub fn file(&self, store: &Path, ending: &str) -> PathBuf {
        store.join(format!("{}-{}.{ending}", self.note.kind, &self.hex()[..DIGITS]))
    }

    /// Notes that the entry at `place` was used now. A store that may only be read stays as it is.
    ///
    /// # Errors
    /// If the note cannot be written.
    pub fn note_use(&self, place: &Path) -> Result<()> {
        let note = note_on(place);
        let noted = match note.exists() {
            true => File::options().write(true).open(&note).and_then(|file| file.set_modified(SystemTime::now())),
            false => self.write(&note),
        };
        match noted {
            Err(error) if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem) => Ok(()),
            noted => noted.map_err(Error::io(&note)),
        }
    }

    fn write(&self, note: &Path) -> std::io::Result<()> {
        std::fs::create_dir_all(note.parent().expect("a note lies in a folder"))?;
        write_json(note, &self.note).map_err(|error| match error {
            Error::Io { source, .. } => source,
            other => std::io::Error::other(other),
        })
    }
}

/// Where the note on an entry lies: within a folder, and apart from files, which others look for by their names.
fn note_on(place: &Path) -> PathBuf {
    let name = place.file_stem().unwrap_or_default().to_string_lossy();
    match place.extension() {
        Some(_) => place.with_file_name(NOTES).join(format!("{name}.json")),
        None => place.join(NOTE),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
