//! Hashes the files that a build is made from. The hash is the same on every machine. Part of three
//! build scripts: this crate's, core's and the program's.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

/// Hashes the files `parts` of `root`, and all files in folders among them: their names and
/// contents, in the order of the names. Hidden files are left out, because editors leave them.
pub fn hash(root: &Path, parts: &[&str]) -> String {
    let mut files = Vec::new();
    parts.iter().for_each(|part| collect(root, part, &mut files));
    files.sort();
    files.dedup();
    let mut hasher = blake3::Hasher::new();
    for name in &files {
        let path = root.join(name);
        let content = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for bytes in [name.as_bytes(), &content] {
            hasher.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
        }
    }
    hasher.finalize().to_hex().to_string()
}

fn collect(root: &Path, name: &str, files: &mut Vec<String>) {
    let path = root.join(name);
    if !path.is_dir() {
        files.push(name.to_string());
        return;
    }
    let entries = fs::read_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    for entry in entries {
        let entry = entry.unwrap_or_else(|error| panic!("{}: {error}", path.display())).file_name();
        let inner = entry.to_str().unwrap_or_else(|| panic!("{}: {entry:?} is not UTF-8", path.display()));
        if !inner.starts_with('.') {
            collect(root, &format!("{name}/{inner}"), files);
        }
    }
}

/// Makes cargo run the script again when one of the files changes.
pub fn watch(root: &Path, parts: &[&str]) {
    parts.iter().for_each(|part| println!("cargo::rerun-if-changed={}", root.join(part).display()));
}

/// The Cargo.lock of this build: that of the workspace that is built, which differs from `root` if
/// gauntlet is a dependency. Cargo does not give its path, so it is searched for beside the folder
/// `target`. If `target` is elsewhere, it is the one of `root`.
pub fn lock(root: &Path) -> PathBuf {
    let out = env::var_os("OUT_DIR").map(PathBuf::from).unwrap_or_default();
    let has_ours =
        |path: &PathBuf| fs::read_to_string(path).is_ok_and(|text| text.contains("\nname = \"gauntlet-data\"\n"));
    let mut beside = out.ancestors().map(|folder| folder.join("Cargo.lock"));
    beside.find(has_ours).unwrap_or_else(|| {
        let own = root.join("Cargo.lock");
        let why = "it gives the versions of stored data and plugins; `cargo generate-lockfile` makes one";
        assert!(own.is_file(), "there is no {}: {why}", own.display());
        own
    })
}
