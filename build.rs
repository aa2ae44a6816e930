//! Which sources and which commit this program is built from: part of every key and every result
//! (`core/src/build.rs`). Core's script could tell it, too, but then core would be compiled anew
//! for a line in a plugin or a command; this crate is at each change anyway.

#[path = "data/build/sources.rs"]
pub mod sources;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let (crates, parts) = crates(&root);
    let parts: Vec<&str> = parts.iter().map(String::as_str).chain(["Cargo.lock"]).collect();
    sources::watch(&root, &parts[..parts.len() - 1]);
    println!("cargo::rerun-if-changed={}", sources::lock(&root).display());
    println!("cargo::rustc-env=GAUNTLET_SOURCES={}", hash(&root));
    println!("cargo::rustc-env=GAUNTLET_CRATES={}", crates.join(" "));
    let commit = commit(&root).unwrap_or_default();
    // Of the sources only: this script does not hear of other files that change.
    let status = git(&root, &[&["status", "--porcelain", "--"], parts.as_slice()].concat());
    let dirty = !commit.is_empty() && status.is_none_or(|said| !said.is_empty());
    println!("cargo::rustc-env=GAUNTLET_COMMIT={commit}");
    println!("cargo::rustc-env=GAUNTLET_DIRTY={dirty}");
}

/// One hash of all sources and of the versions of what they are built on.
pub fn hash(root: &Path) -> String {
    let (_, parts) = crates(root);
    let lock = sources::lock(root);
    let versions = fs::read(&lock).unwrap_or_else(|error| panic!("{}: {error}", lock.display()));
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let both = [sources::hash(root, &parts), blake3::hash(&versions).to_hex().to_string()];
    blake3::hash(both.join("\n").as_bytes()).to_hex().to_string()
}

/// The crates that the program is made of, as Rust names them, and the files and folders that they
/// are: all of the workspace but examples and tests.
fn crates(root: &Path) -> (Vec<String>, Vec<String>) {
    let manifest = root.join("Cargo.toml");
    let text = fs::read_to_string(&manifest).unwrap_or_else(|error| panic!("{}: {error}", manifest.display()));
    let table: toml::Table = text.parse().unwrap_or_else(|error| panic!("{}: {error}", manifest.display()));
    let members = table["workspace"]["members"].as_array().expect("the workspace lists its members");
    let members = members.iter().filter_map(toml::Value::as_str);
    let folders: Vec<String> = members
        .filter(|folder| !folder.starts_with("examples/") && !folder.starts_with("tests/"))
        .map(str::to_string)
        .collect();
    let dependencies = table["workspace"]["dependencies"].as_table().expect("and what it depends on");
    let named = |(name, folder): (&String, &toml::Value)| {
        let folder = folder.get("path")?.as_str()?.to_string();
        folders.contains(&folder).then(|| name.replace('-', "_"))
    };
    let crates = dependencies.iter().filter_map(named).chain(["gauntlet_cli".to_string()]).collect();
    let own = ["Cargo.toml", "build.rs", "src"].map(str::to_string);
    (crates, folders.into_iter().chain(own).collect())
}

/// The commit that is checked out; none where `root` is not that of a git repository.
fn commit(root: &Path) -> Option<String> {
    let top = git(root, &["rev-parse", "--show-toplevel"])?;
    // A copy within another repository has that one's commits, which say nothing of it.
    (fs::canonicalize(top).ok()? == fs::canonicalize(root).ok()?).then_some(())?;
    watch_head(root);
    git(root, &["rev-parse", "--verify", "HEAD"])
}

/// Has cargo run this script again when another commit is checked out: when `HEAD` changes, or the
/// branch it names. A branch lies in a file of its own once it has moved, before in a list of all;
/// a linked worktree has its own `HEAD`.
fn watch_head(root: &Path) {
    let path = |name: &str| git(root, &["rev-parse", "--git-path", name]).map(|path| root.join(path));
    let watch = |path: PathBuf| println!("cargo::rerun-if-changed={}", path.display());
    // A path that is not there would have it run each time.
    path("HEAD").filter(|path| path.exists()).into_iter().for_each(watch);
    let Some(branch) = git(root, &["symbolic-ref", "--quiet", "HEAD"]) else { return };
    match path(&branch).filter(|path| path.exists()) {
        Some(own) => watch(own),
        None => ["packed-refs", "refs/heads", "reftable"]
            .into_iter()
            .filter_map(path)
            .filter(|path| path.exists())
            .for_each(watch),
    }
}

/// What git says, if it is there and says something.
fn git(root: &Path, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new("git");
    // Within a hook git names its own repository.
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
        command.env_remove(name);
    }
    let output = command.arg("--no-optional-locks").arg("-C").arg(root).args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_string())
}
