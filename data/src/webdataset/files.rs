//! Finds the shards of a folder, and the files in it that may hold rows in another form.

use super::shard_report;
use crate::{Error, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// The files of a folder of shards.
pub(super) struct FoundShards {
    /// In the order of their names.
    pub shards: Vec<PathBuf>,
    /// Files that may hold rows but are not shards, by name: compressed ones, unfinished downloads.
    pub passed_over: Vec<String>,
}

/// Ends of file names of compressed or partial shards.
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

/// Maximum depth of sub-folders: img2dataset makes one level.
const DEEP: usize = 8;

/// Finds the shards: of a folder, its sub-folders included; of a pattern
/// (`data/{00000..00331}.tar`), each file of it. A path to a file is a shard, whatever its name.
pub(super) fn find_shards(path: &Path) -> Result<FoundShards> {
    if is_pattern(path) {
        return of_pattern(path);
    }
    if fs::metadata(path).map_err(Error::io(path))?.is_file() {
        return Ok(FoundShards { shards: vec![path.to_path_buf()], passed_over: Vec::new() });
    }
    let mut found = FoundShards { shards: Vec::new(), passed_over: Vec::new() };
    look_into(path, path, &mut Vec::new(), &mut found)?;
    let FoundShards { mut shards, mut passed_over } = found;
    passed_over.sort();
    if shards.is_empty() {
        let others = if passed_over.is_empty() {
            String::new()
        } else {
            format!("; {}", shard_report::passed_over(&passed_over))
        };
        return Err(Error::invalid(
            path.display(),
            format!("there is no .tar file in this folder, nor in the folders within it{others}"),
        ));
    }
    shards.sort();
    Ok(FoundShards { shards, passed_over })
}

/// Links to folders are followed; `above` holds the real paths of the folders above, to detect a
/// cycle of links.
fn look_into(folder: &Path, root: &Path, above: &mut Vec<PathBuf>, found: &mut FoundShards) -> Result<()> {
    let real = folder.canonicalize().map_err(Error::io(folder))?;
    if above.contains(&real) {
        return Err(Error::invalid(folder.display(), "is a link to a folder that contains it"));
    }
    if above.len() == DEEP {
        let why = format!("is {DEEP} folders below {}; name a folder nearer to the shards", root.display());
        return Err(Error::invalid(folder.display(), why));
    }
    above.push(real);
    for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
        let file = entry.map_err(Error::io(folder))?.path();
        let name = shard_name(root, &file);
        if NO_SHARDS.iter().any(|end| name.to_lowercase().ends_with(end)) {
            found.passed_over.push(name);
        }
        if file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("tar")) {
            if !fs::metadata(&file).map_err(Error::io(&file))?.is_file() {
                let why = "is not a regular file, so it cannot be a shard";
                return Err(Error::invalid(file.display(), why));
            }
            found.shards.push(file);
        } else if file.is_dir() {
            look_into(&file, root, above, found)?;
        }
    }
    above.pop();
    Ok(())
}

/// Whether a path is a brace pattern in webdataset's notation, and there is no file of exactly that
/// name.
fn is_pattern(path: &Path) -> bool {
    path.to_str().is_some_and(|text| text.contains('{') && text.contains('}')) && !path.exists()
}

fn of_pattern(path: &Path) -> Result<FoundShards> {
    let pattern = path.display().to_string();
    let files = bracoxide::bracoxidize(&pattern);
    let files = files.map_err(|error| Error::invalid(pattern.clone(), format!("is not a brace pattern: {error:?}")))?;
    let shards: Vec<PathBuf> = files.into_iter().map(PathBuf::from).collect();
    let missing: Vec<&PathBuf> = shards.iter().filter(|shard| !shard.is_file()).collect();
    match missing.first() {
        None => Ok(FoundShards { shards, passed_over: Vec::new() }),
        Some(first) => {
            let why = format!(
                "{} of {} files of the pattern do not exist, the first {}",
                missing.len(),
                shards.len(),
                first.display()
            );
            Err(Error::invalid(pattern, why))
        }
    }
}

/// The name of a shard in messages: its path below the folder that the suite names.
pub(super) fn shard_name(root: &Path, path: &Path) -> String {
    let below = path.strip_prefix(root).ok().filter(|below| !below.as_os_str().is_empty());
    let name = below.unwrap_or_else(|| path.file_name().map_or(path, Path::new));
    name.to_string_lossy().into_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_img2dataset_and_brace_patterns_are_found_and_a_missing_shard_is_named() {
        let home = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let path = home.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        };
        ["00000.tar", "00000.parquet", "00000_stats.json", "more/00008.tar", "more/00009.tar"]
            .iter()
            .for_each(|name| make(name));
        let found = |path: PathBuf| {
            find_shards(&path).map(|found| {
                let name = |shard: &PathBuf| shard_name(home.path(), shard);
                found.shards.iter().map(name).collect::<Vec<_>>()
            })
        };
        assert_eq!(found(home.path().into()).unwrap(), ["00000.tar", "more/00008.tar", "more/00009.tar"]);
        assert_eq!(found(home.path().join("more/{00008..00009}.tar")).unwrap(), ["more/00008.tar", "more/00009.tar"]);
        assert_eq!(found(home.path().join("{00000,more/00009}.tar")).unwrap(), ["00000.tar", "more/00009.tar"]);
        let message = found(home.path().join("more/{00008..00010}.tar")).unwrap_err().chain();
        assert!(message.contains("1 of 3 files") && message.contains("00010.tar"), "{message}");
    }
}
