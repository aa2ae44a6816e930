//! A temporary folder that is removed with its content, except the lists of rows that an error may
//! have named: a user reads them after the error.

use gauntlet::{Error, Result};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// Suffix of the names of lists that are beside the folder of an incomplete store.
const LIST: &str = ".dropped.jsonl";

/// The folder.
pub struct Scratch(Option<TempDir>);

impl Scratch {
    /// Makes one in `place`, with a name that begins with `prefix`.
    pub fn new(place: &Path, prefix: &str) -> Result<Self> {
        let made = tempfile::Builder::new().prefix(prefix).tempdir_in(place);
        made.map(|folder| Scratch(Some(folder))).map_err(Error::io(place))
    }

    /// The path of the folder.
    pub fn path(&self) -> &Path {
        self.0.as_ref().expect("it is taken only when this is dropped").path()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Some(folder) = self.0.take()
            && clear(folder.path())
        {
            let _ = folder.keep();
        }
    }
}

/// Removes all files except the lists; returns whether there is one. A file that cannot be
/// inspected is left; the removal of the whole folder handles it.
fn clear(folder: &Path) -> bool {
    let entries: Vec<_> = fs::read_dir(folder).into_iter().flatten().flatten().collect();
    let mut kept = false;
    for entry in entries {
        let path = entry.path();
        if entry.file_name().to_string_lossy().ends_with(LIST) {
            kept = true;
        } else if path.is_dir() && !path.is_symlink() {
            if clear(&path) {
                kept = true;
            } else {
                let _ = fs::remove_dir_all(&path);
            }
        } else {
            let _ = fs::remove_file(&path);
        }
    }
    kept
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_an_error_names_outlives_the_folder() {
        let home = tempfile::tempdir().unwrap();
        let (list, other) = ("out/store/index-1.dropped.jsonl", "out/store/index-1/dropped.jsonl");
        let [plain, listed] = [false, true].map(|listed| {
            let scratch = Scratch::new(home.path(), ".store-").unwrap();
            fs::create_dir_all(scratch.path().join("out/store/index-1")).unwrap();
            for file in [other, list].iter().take(if listed { 2 } else { 1 }) {
                fs::write(scratch.path().join(file), "a row").unwrap();
            }
            scratch.path().to_path_buf()
        });
        assert!(!plain.exists() && listed.join(list).is_file() && !listed.join(other).exists());
    }
}
