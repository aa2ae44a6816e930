//! Computes the key of indexes and canvases: a hash of the sources that make them and of the
//! versions of their dependencies.

#[path = "build/sources.rs"]
mod sources;
#[path = "build/versions.rs"]
mod versions;

use std::env;
use std::path::PathBuf;

/// The sources that make them, apart from other packages.
const DATA: [&str; 1] = ["data/src"];

fn main() {
    let home = PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    // `..` by name would follow a link to this folder.
    let root = home.parent().expect("this crate is in a workspace");
    sources::watch(root, &DATA);
    let lock = sources::lock(root);
    println!("cargo::rerun-if-changed={}", lock.display());
    let versions = versions::versions(&lock, "gauntlet-data");
    let all: Vec<String> = versions.keys().map(|name| versions::line(&versions, name, &lock)).collect();
    let key = [sources::hash(root, &DATA), all.join("\n")].join("\n");
    println!("cargo::rustc-env=GAUNTLET_DATA={}", &blake3::hash(key.as_bytes()).to_hex()[..32]);
}
