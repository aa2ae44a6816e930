//! Holds a folder that a process reads or writes, so that no other process removes it. The
//! operating system keeps the lock on the folder itself: no lock file is left, and a killed process
//! holds nothing.

use crate::{Error, Result};
use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// A folder that is not removed while this value exists.
pub struct Held(#[expect(dead_code, reason = "the lock is held as long as the file is open")] File);

impl Held {
    /// Holds a folder, shared with other holders.
    pub fn new(folder: &Path) -> Result<Held> {
        let file = opened(folder).map_err(Error::io(folder))?;
        // On a file system without locks, `alone` gets none either, so the folder is not removed.
        let _ = file.lock_shared();
        Ok(Held(file))
    }

    /// An exclusive lock on a folder or file, in order to remove it; `None` if another process
    /// holds it, or locks are not available.
    pub fn alone(path: &Path) -> Result<Option<Held>> {
        let file = opened(path).map_err(Error::io(path))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Held(file))),
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => Ok(None),
        }
    }
}

/// Opens a folder or file without waiting, even if it is a named pipe.
fn opened(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)
}
