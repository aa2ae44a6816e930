//! Files as bytes: memory-mapped, so that pages are read on access and shared between processes.

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::path::Path;

/// A file mapped for reading. Dereferences to its bytes.
pub struct Map(Option<memmap2::Mmap>);

impl Map {
    /// Maps a whole file; an empty one gives no bytes.
    pub fn open(path: &Path) -> io::Result<Map> {
        // Opening a named pipe would wait for a writer.
        if !path.metadata()?.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        let file = File::open(path)?;
        if file.metadata()?.len() == 0 {
            return Ok(Map(None));
        }
        // SAFETY: only files of a store are mapped. They appear by a rename when they are complete
        // and never change after that. If a file is truncated from outside, this process ends with
        // SIGBUS, which costs one trial.
        let map = unsafe { memmap2::Mmap::map(&file) }?;
        Ok(Map(Some(map)))
    }
}

impl Deref for Map {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }
}
