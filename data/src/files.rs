//! Reads and writes files: completely or not at all, regular ones only, and nothing in them is
//! executed. `files/regular.rs` opens them, `files/folder.rs` makes folders, `files/writer.rs`
//! writes large files, `files/json.rs` is for JSON, `files/tensors.rs` for safetensors,
//! `files/sums.rs` for the hashes of finished folders.

mod folder;
mod held;
mod json;
pub mod regular;
mod sums;
mod tensors;
mod writer;

pub use folder::{PREFIX, Part, remove_folder};
pub use held::Held;
pub use json::{json, json_lines, parse_lines, read_json, read_lines, read_whole_lines, write_json, write_lines};
pub use sums::{SUMS, Sum, Sums, changed, check_sums, hash_bytes};
pub use tensors::{check_safetensors, read_safetensors, write_safetensors};
pub(crate) use writer::Writer;

use crate::{Error, Result};
use std::path::Path;

/// Prefix of the temporary files of [`write_atomic`].
pub const TEMPORARY: &str = ".tmp";

/// Writes a file atomically: a reader finds the old file or the new one and never a part. It writes
/// a temporary file, flushes it to disk and renames it.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    use std::io::Write;
    let folder = around(path);
    // A temporary file is private to its owner; results get the permissions of the umask.
    let readable = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    let file = tempfile::Builder::new().prefix(TEMPORARY).permissions(readable).tempfile_in(folder);
    let mut file = file.map_err(Error::io(path))?;
    file.write_all(bytes).map_err(Error::io(path))?;
    file.as_file().sync_all().map_err(Error::io(path))?;
    file.persist(path).map_err(|error| Error::Io { path: path.to_path_buf(), source: error.error })?;
    Ok(())
}

/// The folder of a path.
fn around(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
