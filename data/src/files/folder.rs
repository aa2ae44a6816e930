//! Folders that appear whole: made beside their place and renamed into it. A killed build leaves
//! nothing half used, and of two processes that race one wins.

use super::Held;
use crate::{Error, Result};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// What folders in the making are called; hidden, so that nothing takes one for what it will be.
pub const PREFIX: &str = ".part-";

/// A folder in the making; dropped before it is finished, it vanishes.
pub struct Part {
    place: PathBuf,
    part: tempfile::TempDir,
    /// Nobody takes it for what a killed process left.
    _held: Held,
}

impl Part {
    /// Begins the folder `place`; those around it are made if need be.
    pub fn new(place: &Path) -> Result<Self> {
        let around = super::around(place);
        fs::create_dir_all(around).map_err(Error::io(around))?;
        // A temporary folder is its maker's alone; this is for whomever the umask lets read.
        let readable = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        let part = tempfile::Builder::new().prefix(PREFIX).permissions(readable).tempdir_in(around);
        let part = part.map_err(Error::io(around))?;
        Ok(Part { place: place.to_path_buf(), _held: Held::new(part.path())?, part })
    }

    /// Where a file of the folder is being written.
    pub fn path(&self, name: &str) -> PathBuf {
        self.part.path().join(name)
    }

    /// The folder as it is now.
    pub fn folder(&self) -> &Path {
        self.part.path()
    }

    /// Where it will be.
    pub fn place(&self) -> &Path {
        &self.place
    }

    /// Puts the folder into its place.
    ///
    /// # Errors
    /// If something is there already.
    pub fn finish(self) -> Result<()> {
        fs::rename(self.part.path(), &self.place).map_err(Error::io(&self.place))
    }

    /// The same where the name of the folder tells its content: another process may have been
    /// first, with the same bytes.
    pub fn finish_same(self) -> Result<()> {
        match fs::rename(self.part.path(), &self.place) {
            Err(_) if self.place.exists() => Ok(()),
            renamed => renamed.map_err(Error::io(&self.place)),
        }
    }
}

/// Removes a folder at once, by a rename: another process finds it whole or not at all. It may have removed it already.
pub fn remove_folder(folder: &Path) -> Result<()> {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let gone = folder.with_file_name(format!("{PREFIX}{}-{name}", std::process::id()));
    match fs::rename(folder, &gone) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        renamed => renamed.map_err(Error::io(folder))?,
    }
    fs::remove_dir_all(&gone).map_err(Error::io(&gone))
}
