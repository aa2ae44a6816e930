//! How files are written and read: whole or not at all, regular ones only, and nothing in them is executed. `files/regular.rs` opens them,
//! `files/tensors.rs` is safetensors.

pub mod regular;
mod tensors;

pub use tensors::{read_safetensors, write_safetensors};

use crate::{Error, Result};
use std::path::Path;

/// Writes a file so that a reader sees the old one or the new one and never a part: temporary file, flush to disk, rename.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    use std::io::Write;
    let folder = path.parent().unwrap_or(Path::new("."));
    // A temporary file is its maker's alone; results are for whomever the umask lets read.
    let readable = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    let file = tempfile::Builder::new().permissions(readable).tempfile_in(folder);
    let mut file = file.map_err(Error::io(path))?;
    file.write_all(bytes).map_err(Error::io(path))?;
    file.as_file().sync_all().map_err(Error::io(path))?;
    file.persist(path).map_err(|error| Error::Io { path: path.to_path_buf(), source: error.error })?;
    Ok(())
}
