//! Folders that appear whole: made beside their final place and renamed into it. A killed build
//! leaves no partial folder, and if two processes race, one wins.

use super::{Held, Sums};
use crate::{Error, Result};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Prefix of unfinished folders; hidden, so that no reader takes one for a finished folder.
pub const PREFIX: &str = ".part-";

/// An unfinished folder. If it is dropped before [`finish`](Part::finish), it is removed.
pub struct Part {
    place: PathBuf,
    part: tempfile::TempDir,
    /// Keeps other processes from removing it as the remains of a killed process.
    _held: Held,
}

impl Part {
    /// Begins the folder `place`; its parent folders are created if needed.
    pub fn new(place: &Path) -> Result<Self> {
        let around = super::around(place);
        fs::create_dir_all(around).map_err(Error::io(around))?;
        // A temporary folder is private to its owner; this one gets the permissions of the umask.
        let readable = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        let part = tempfile::Builder::new().prefix(PREFIX).permissions(readable).tempdir_in(around);
        let part = part.map_err(Error::io(around))?;
        Ok(Part { place: place.to_path_buf(), _held: Held::new(part.path())?, part })
    }

    /// The path of a file in the unfinished folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.part.path().join(name)
    }

    /// The current path of the folder.
    pub fn folder(&self) -> &Path {
        self.part.path()
    }

    /// Its final path.
    pub fn place(&self) -> &Path {
        &self.place
    }

    /// Moves the folder to its final path.
    ///
    /// # Errors
    /// If something is already there.
    pub fn finish(self) -> Result<()> {
        fs::rename(self.part.path(), &self.place).map_err(Error::io(&self.place))
    }

    /// The same for a folder whose name determines its content: another process may already have
    /// made it, with the same bytes. Adds `sums.json`, of all files but those in `hashed`, whose
    /// hashes are kept in another way.
    pub fn finish_same(self, hashed: &[&str]) -> Result<()> {
        Sums::of(self.part.path(), |name| !hashed.contains(&name))?.write(self.part.path())?;
        match fs::rename(self.part.path(), &self.place) {
            Err(_) if self.place.exists() => Ok(()),
            renamed => renamed.map_err(Error::io(&self.place)),
        }
    }
}

/// Removes a folder atomically, by a rename: another process finds it whole or not at all. It is no
/// error if another process has already removed it.
pub fn remove_folder(folder: &Path) -> Result<()> {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let gone = folder.with_file_name(format!("{PREFIX}{}-{name}", std::process::id()));
    match fs::rename(folder, &gone) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        renamed => renamed.map_err(Error::io(folder))?,
    }
    fs::remove_dir_all(&gone).map_err(Error::io(&gone))
}
