//! Writes tar shards for webdataset. The same members give the same bytes: no time and no owner is
//! written.

use crate::{Error, Result};
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

/// An unfinished shard.
pub struct ShardWriter {
    path: PathBuf,
    tar: tar::Builder<BufWriter<File>>,
}

impl ShardWriter {
    /// Begins a shard.
    pub fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).map_err(Error::io(path))?;
        Ok(ShardWriter { path: path.to_path_buf(), tar: tar::Builder::new(BufWriter::with_capacity(1 << 16, file)) })
    }

    /// Adds a member. The members of one sample share their name up to its first dot, and must
    /// follow each other.
    pub fn add(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        self.tar.append_data(&mut header, name, bytes).map_err(Error::io(&self.path))
    }

    /// Writes the end mark, and waits for the disk.
    pub fn finish(self) -> Result<()> {
        let path = self.path;
        let buffer = self.tar.into_inner().map_err(Error::io(&path))?;
        let file = buffer.into_inner().map_err(|error| Error::io(&path)(error.into_error()))?;
        file.sync_all().map_err(Error::io(&path))
    }
}
