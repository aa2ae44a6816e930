//! Which files of a folder are shards, and which only may hold what a shard would.

use super::told;
use crate::{Error, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// What lies in a folder of shards.
pub(super) struct Found {
    /// In the order of their names.
    pub shards: Vec<PathBuf>,
    /// Files that may hold rows and are no shards, by name: compressed ones, unfinished downloads.
    pub passed_over: Vec<String>,
}

/// Ends of names of files that hold what a shard would, or a part of it.
const NO_SHARDS: [&str; 17] = [
    ".tar.gz",
    ".tgz",
    ".tar.zst",
    ".tzst",
    ".tar.bz2",
    ".tbz2",
    ".tar.xz",
    ".txz",
    ".tar.lz4",
    ".zip",
    ".tar.part",
    ".tar.partial",
    ".tar.tmp",
    ".tar.crdownload",
    ".tar.download",
    ".tar.incomplete",
    ".tar.aria2",
];

/// Finds the shards; a file that is named is one, whatever its name.
pub(super) fn find_shards(path: &Path) -> Result<Found> {
    if fs::metadata(path).map_err(Error::io(path))?.is_file() {
        return Ok(Found { shards: vec![path.to_path_buf()], passed_over: Vec::new() });
    }
    let (mut shards, mut passed_over) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(path).map_err(Error::io(path))? {
        let file = entry.map_err(Error::io(path))?.path();
        let name = shard_name(&file).to_lowercase();
        if NO_SHARDS.iter().any(|end| name.ends_with(end)) {
            passed_over.push(shard_name(&file));
        }
        if file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("tar")) {
            if !fs::metadata(&file).map_err(Error::io(&file))?.is_file() {
                return Err(Error::invalid(
                    file.display().to_string(),
                    "is no plain file, so that it cannot be a shard",
                ));
            }
            shards.push(file);
        }
    }
    passed_over.sort();
    if shards.is_empty() {
        let others =
            if passed_over.is_empty() { String::new() } else { format!("; {}", told::passed_over(&passed_over)) };
        return Err(Error::invalid(
            path.display().to_string(),
            format!("there is no .tar file in this folder{others}"),
        ));
    }
    shards.sort();
    Ok(Found { shards, passed_over })
}

/// What a person would call a shard.
pub(super) fn shard_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}
