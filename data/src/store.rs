//! The store: a folder of results that took long to compute, found again by their inputs. A [`Key`]
//! names its entries, which are folders (`index-0123456789abcdef`) or files. A note beside each
//! entry describes its content, its origin and when it was last used. `store/stored.rs` lists the
//! entries and removes them.

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

/// Maximum length of a value in a note, in bytes; a longer value is replaced by its hash.
const LETTERS: usize = 200;

/// The note inside an entry that is a folder.
const NOTE: &str = "key.json";

/// The folder of the notes about entries that are files.
const NOTES: &str = "keys";

/// The key of an entry: all inputs that it was made from.
#[derive(Clone, Debug)]
pub struct Key {
    note: Note,
    hasher: blake3::Hasher,
}

/// The note about an entry, for people and for `gauntlet store`; it is not used to find entries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Note {
    kind: String,
    format: u32,
    /// The sources, compiler and libraries that made it.
    made_by: String,
    /// A description of its content.
    of: String,
    parts: BTreeMap<String, String>,
}

impl Key {
    /// A key of this kind. Raise `format` whenever the same inputs would be stored in another form,
    /// so that old entries are not used. `made_by` is equal for builds that make the same entries.
    pub fn new(kind: &str, format: u32, made_by: &str) -> Self {
        let note =
            Note { kind: kind.into(), format, made_by: made_by.into(), of: String::new(), parts: BTreeMap::new() };
        let mut key = Key { note, hasher: blake3::Hasher::new() };
        [kind, &format.to_string(), made_by].into_iter().for_each(|part| key.hash(part));
        key
    }

    /// Adds a part; the order of parts counts.
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

    /// Adds a description of the content, for listings of the store.
    pub fn of(mut self, words: impl Into<String>) -> Self {
        self.note.of = words.into();
        self
    }

    /// The key in 64 hexadecimal digits.
    pub fn hex(&self) -> String {
        self.hasher.finalize().to_hex().to_string()
    }

    /// The path of an entry that is a folder.
    pub fn folder(&self, store: &Path) -> PathBuf {
        store.join(format!("{}-{}", self.note.kind, &self.hex()[..DIGITS]))
    }

    /// The path of an entry that is a file; `ending` is its extension without the dot.
    pub fn file(&self, store: &Path, ending: &str) -> PathBuf {
        store.join(format!("{}-{}.{ending}", self.note.kind, &self.hex()[..DIGITS]))
    }

    /// Records that the entry at `place` was used now. A read-only store is left unchanged.
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
        std::fs::create_dir_all(note.parent().expect("a note is in a folder"))?;
        write_json(note, &self.note).map_err(|error| match error {
            Error::Io { source, .. } => source,
            other => std::io::Error::other(other),
        })
    }
}

/// The path of the note about an entry: inside a folder; for a file, in a separate folder, because
/// other code finds such files by name.
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
