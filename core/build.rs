//! What only a build can tell of this core: its sources, its compiler, its target, the versions of what it is built on. Two things follow:
//! the fingerprint of a plugin (`src/plugin/handshake.rs`) and the key of indexes and canvases (`src/build.rs`). The key of all else that is
//! stored is made by the program's own script, so that core need not be compiled anew for a line in a plugin or a command.

#[path = "build/sources.rs"]
mod sources;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Everything that its sources are: core's own, and the shim's, whose types cross a plugin's boundary inside core's.
const CORE: [&str; 8] = [
    "core/Cargo.toml",
    "core/build.rs",
    "core/build",
    "core/src",
    "torch/Cargo.toml",
    "torch/build.rs",
    "torch/src",
    "torch/cpp",
];

/// What indexes and canvases are made by, besides what core is built on.
const DATA: [&str; 6] = [
    "core/src/data.rs",
    "core/src/data",
    "core/src/downstream.rs",
    "core/src/downstream",
    "core/src/draw.rs",
    "core/src/error.rs",
];

/// Crates whose types cross a plugin's boundary: in the signatures of its roles, within what they are handed (a tokenizer holds regular
/// expressions, an index maps files), or made for it by core's macros. Each with what its own types are made of.
const CROSSING: [&str; 18] = [
    "tch",
    "torch-sys",
    "serde",
    "serde_core",
    "serde_json",
    "indexmap",
    "hashbrown",
    "schemars",
    "inventory",
    "rand",
    "rand_core",
    "rand_chacha",
    "regex",
    "regex-automata",
    "regex-syntax",
    "aho-corasick",
    "memchr",
    "memmap2",
];

fn main() {
    let home = PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    // `..` by name would follow a link to this folder.
    let root = home.parent().expect("core lies in a workspace");
    sources::watch(root, &CORE);
    let lock = sources::lock(root);
    println!("cargo::rerun-if-changed={}", lock.display());
    let versions = versions(&lock);
    let crossing: Vec<String> = CROSSING.iter().map(|name| line(&versions, name, &lock)).collect();
    let fingerprint = format!(
        "rustc {}\ntarget {}\ngauntlet {} (sources {})\n{}",
        rustc(),
        env::var("TARGET").expect("cargo sets it"),
        env::var("CARGO_PKG_VERSION").expect("cargo sets it"),
        &sources::hash(root, &CORE)[..16],
        crossing.join("\n")
    );
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    fs::write(out.join("fingerprint"), fingerprint).expect("OUT_DIR is there to be written to");
    let all: Vec<String> = versions.keys().map(|name| line(&versions, name, &lock)).collect();
    let data = [sources::hash(root, &DATA), all.join("\n")].join("\n");
    println!("cargo::rustc-env=GAUNTLET_DATA={}", &blake3::hash(data.as_bytes()).to_hex()[..32]);
    println!("cargo::rustc-env=GAUNTLET_RUSTC={}", rustc());
    println!("cargo::rustc-env=GAUNTLET_TARGET={}", env::var("TARGET").expect("cargo sets it"));
}

/// Release and commit of the compiler: a nightly of one number comes in many layouts.
fn rustc() -> String {
    let output = Command::new(env::var_os("RUSTC").expect("cargo sets it")).arg("-vV").output().expect("rustc runs");
    let said = String::from_utf8(output.stdout).expect("rustc writes UTF-8");
    let of = |key: &str| said.lines().find_map(|line| line.strip_prefix(key)).unwrap_or("unknown").trim().to_string();
    format!("{} ({})", of("release:"), of("commit-hash:").chars().take(9).collect::<String>())
}

/// Name and versions of a crate.
fn line(versions: &BTreeMap<String, BTreeSet<String>>, name: &str, lock: &Path) -> String {
    let found = versions.get(name).unwrap_or_else(|| panic!("{}: core is not built on {name}", lock.display()));
    format!("{name} {}", found.iter().map(String::as_str).collect::<Vec<_>>().join(" and "))
}

/// The versions of all that core is built on: what `gauntlet` needs in a Cargo.lock, and what that needs.
fn versions(lock: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let text = fs::read_to_string(lock).unwrap_or_else(|error| panic!("{}: {error}", lock.display()));
    let table: toml::Table = text.parse().unwrap_or_else(|error| panic!("{}: {error}", lock.display()));
    let packages = table["package"].as_array().expect("a Cargo.lock lists packages");
    let text_of = |package: &toml::Value, key: &str| package.get(key).and_then(toml::Value::as_str).map(str::to_string);
    let mut versions = BTreeMap::<String, BTreeSet<String>>::new();
    let mut todo = VecDeque::from(["gauntlet".to_string()]);
    while let Some(needed) = todo.pop_front() {
        // `NAME`, or `NAME VERSION` where there are several.
        let mut words = needed.split(' ');
        let (name, version) = (words.next().unwrap_or_default(), words.next());
        let is_it = |package: &&toml::Value| {
            text_of(package, "name").as_deref() == Some(name)
                && version.is_none_or(|version| text_of(package, "version").as_deref() == Some(version))
        };
        let package = packages.iter().find(is_it).unwrap_or_else(|| panic!("{}: {needed} is missing", lock.display()));
        let version = text_of(package, "version").expect("every package has a version");
        if versions.entry(name.to_string()).or_default().insert(version) {
            let inner = package.get("dependencies").and_then(toml::Value::as_array).into_iter().flatten();
            todo.extend(inner.filter_map(toml::Value::as_str).map(str::to_string));
        }
    }
    versions
}
