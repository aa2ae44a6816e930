//! Collects the facts known only at build time: core's sources, compiler, target, and the versions
//! of its dependencies. They make the fingerprint of a plugin (`src/library/handshake.rs`). The
//! program's own build script makes the key of the store, so that a change in a plugin or a command
//! does not recompile core.

#[path = "../data/build/sources.rs"]
mod sources;
#[path = "../data/build/versions.rs"]
mod versions;

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// All sources: core's own, and those of the two crates below it, whose types cross a plugin's
/// boundary inside core's.
const CORE: [&str; 11] = [
    "core/Cargo.toml",
    "core/build.rs",
    "core/src",
    "data/Cargo.toml",
    "data/build.rs",
    "data/build",
    "data/src",
    "torch/Cargo.toml",
    "torch/build.rs",
    "torch/src",
    "torch/cpp",
];

/// Crates whose types cross a plugin's boundary: in the signatures of its roles, inside the values
/// it receives (a tokenizer holds regular expressions, an index maps files), or in code that core's
/// macros generate. Each is followed by the crates that its own types consist of.
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
    // `..` in the path would follow a symbolic link to this folder.
    let root = home.parent().expect("core is in a workspace");
    sources::watch(root, &CORE);
    let lock = sources::lock(root);
    println!("cargo::rerun-if-changed={}", lock.display());
    let versions = versions::versions(&lock, "gauntlet");
    let crossing: Vec<String> = CROSSING.iter().map(|name| versions::line(&versions, name, &lock)).collect();
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
    println!("cargo::rustc-env=GAUNTLET_RUSTC={}", rustc());
    println!("cargo::rustc-env=GAUNTLET_TARGET={}", env::var("TARGET").expect("cargo sets it"));
}

/// Release and commit of the compiler: nightlies of one version number have different layouts.
fn rustc() -> String {
    let output = Command::new(env::var_os("RUSTC").expect("cargo sets it")).arg("-vV").output().expect("rustc runs");
    let said = String::from_utf8(output.stdout).expect("rustc writes UTF-8");
    let of = |key: &str| said.lines().find_map(|line| line.strip_prefix(key)).unwrap_or("unknown").trim().to_string();
    format!("{} ({})", of("release:"), of("commit-hash:").chars().take(9).collect::<String>())
}
