//! The store: a folder of results that took long to compute, found again by their inputs. A [`Key`]
//! names its entries, which are folders (`index-0123456789abcdef`) or files. A note beside each
//! entry describes its content, its origin and when it was last used. `store/stored.rs` lists the
//! entries and removes them.

mod stored;

pub use stored::{State, Stored, list, sweep};

use crate::files::{regular, write_json};
use crate::lease::{Holder, Lease};
use crate::progress::Progress;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Digits of a key in the name of its entry.
const DIGITS: usize = 16;

/// Maximum length of a value in a note, in bytes; a longer value is replaced by its hash.
const LETTERS: usize = 200;

/// The note inside an entry that is a folder.
const NOTE: &str = "key.json";

/// The folder of the notes about entries that are files.
const NOTES: &str = "keys";

/// The folder of the leases of processes that make entries.
const LEASES: &str = "leases";

/// The folder of the values that all machines of a run must agree on.
const AGREED: &str = "agreed";

/// The lease of a process that prunes.
const PRUNE: &str = "prune";

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

/// Makes an entry of a store unless it is there. If another process makes it, on any machine that
/// shares the store, this one waits. Returns whether it was made.
pub fn make_once(place: &Path, progress: &dyn Progress, make: impl FnOnce() -> Result<()>) -> Result<bool> {
    if place.exists() {
        return Ok(false);
    }
    let _lease = lease_of(place, progress)?;
    if place.exists() { Ok(false) } else { make().map(|()| true) }
}

/// The right to make or remove an entry of a store, waiting for another process that does.
pub(crate) fn lease_of(place: &Path, progress: &dyn Progress) -> Result<Lease> {
    let name = place.file_name().expect("an entry has a name");
    Lease::wait(&place.with_file_name(LEASES).join(name), progress)
}

/// Compares a value with the one that the first process recorded under this name, on any machine;
/// records it if this is the first. Returns the other value if they differ.
pub fn agree(store: &Path, name: &str, value: &str) -> Result<Option<String>> {
    let folder = store.join(AGREED);
    std::fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
    let place = folder.join(name);
    if !place.exists() {
        let file = tempfile::Builder::new().permissions(umask(0o666)).tempfile_in(&folder);
        let mut file = file.map_err(Error::io(&folder))?;
        std::io::Write::write_all(&mut file, value.as_bytes()).map_err(Error::io(&place))?;
        file.as_file().sync_all().map_err(Error::io(&place))?;
        match file.persist_noclobber(&place) {
            Err(error) if error.error.kind() == ErrorKind::AlreadyExists => {}
            persisted => drop(persisted.map_err(|error| Error::io(&place)(error.error))?),
        }
    }
    let there = regular::read_to_string(&place, regular::WRITTEN).map_err(Error::io(&place))?;
    Ok((there != value).then_some(there))
}

/// Permissions of files that other users may share, less the umask.
fn umask(mode: u32) -> std::fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(mode)
}

/// Marks a store as in use while it exists: nothing is pruned meanwhile.
pub struct Using {
    folder: PathBuf,
    _lease: Lease,
}

impl Using {
    /// Uses a store, whose folder is made if needed.
    pub fn new(store: &Path) -> Result<Using> {
        let around = store.join(LEASES);
        std::fs::create_dir_all(&around).map_err(Error::io(&around))?;
        let folder = tempfile::Builder::new().prefix("user-").permissions(umask(0o777)).tempdir_in(&around);
        let folder = folder.map_err(Error::io(&around))?.keep();
        let using = Using { _lease: Lease::only(&folder)?, folder };
        // Whoever prunes looks for users after it has this lease, and so finds this one.
        while Lease::holder(&around.join(PRUNE))?.is_some() {
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(using)
    }

    /// A process that uses a store or makes an entry of it, on any machine.
    pub fn find(store: &Path) -> Result<Option<Holder>> {
        let around = store.join(LEASES);
        let entries = match std::fs::read_dir(&around) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            entries => entries.map_err(Error::io(&around))?,
        };
        for entry in entries {
            let folder = entry.map_err(Error::io(&around))?.path();
            if folder.ends_with(PRUNE) {
                continue;
            }
            if let Some(holder) = Lease::holder(&folder)? {
                return Ok(Some(holder));
            }
        }
        Ok(None)
    }

    /// The right to prune a store: no process begins to use it meanwhile.
    ///
    /// # Errors
    /// If a process uses it, on any machine; the message says which one.
    pub fn prune(store: &Path) -> Result<Lease> {
        let lease = Lease::only(&store.join(LEASES).join(PRUNE))?;
        match Using::find(store)? {
            None => Ok(lease),
            Some(holder) => {
                let why = format!("{holder} uses it; wait until it has ended, or stop it");
                Err(Error::invalid(store.display(), why))
            }
        }
    }
}

impl Drop for Using {
    fn drop(&mut self) {
        // What is left behind has ended, and says so.
        let _ = std::fs::remove_dir_all(&self.folder);
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
