//! A folder that a process reads or writes, and that no other may remove meanwhile. The system
//! holds the lock, on the folder itself: nothing is left in it, and a process that is killed holds
//! nothing.

use crate::{Error, Result};
use std::fs::{File, TryLockError};
use std::path::Path;

/// A folder that stays as long as this is there.
pub struct Held(#[expect(dead_code, reason = "the lock is held as long as the file is open")] File);

impl Held {
    /// Holds a folder, together with all who do.
    pub fn new(folder: &Path) -> Result<Held> {
        let file = File::open(folder).map_err(Error::io(folder))?;
        // A file system without locks gives none to whoever would remove the folder either, who then leaves it.
        let _ = file.lock_shared();
        Ok(Held(file))
    }

    /// The folder or file for oneself, to remove it; none if another has it, or a lock cannot be had.
    pub fn alone(path: &Path) -> Result<Option<Held>> {
        let file = File::open(path).map_err(Error::io(path))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Held(file))),
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => Ok(None),
        }
    }
}
