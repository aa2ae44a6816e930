//! The part of a plugin's fingerprint that only a build can tell: this core's sources, its compiler, its target, its tch.
//! `src/plugin/handshake.rs` says what it is for.

use std::collections::hash_map::DefaultHasher;
use std::env;
use std::hash::Hasher;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    let home = PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let mut files = Vec::new();
    // The shim's types cross the boundary inside core's own.
    for folder in [home.join("src"), home.join("../torch/src")] {
        println!("cargo::rerun-if-changed={}", folder.display());
        collect(&folder, &mut files);
    }
    files.sort();
    // Compared between builds of one compiler only, so it need not be the same from one release of Rust to the next.
    let mut hasher = DefaultHasher::new();
    for file in &files {
        hasher.write(&std::fs::read(file).expect("a source file can be read"));
    }
    println!("cargo::rustc-env=GAUNTLET_SOURCES={:016x}", hasher.finish());
    println!("cargo::rustc-env=GAUNTLET_RUSTC={}", rustc());
    println!("cargo::rustc-env=GAUNTLET_TARGET={}", env::var("TARGET").expect("cargo sets it"));
    println!("cargo::rustc-env=GAUNTLET_TCH={}", tch(&home));
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for path in entries.map(|entry| entry.expect("a folder can be listed").path()) {
        match path.is_dir() {
            true => collect(&path, files),
            false => files.push(path),
        }
    }
}

/// Release and commit of the compiler: a nightly of one number comes in many layouts.
fn rustc() -> String {
    let output = Command::new(env::var_os("RUSTC").expect("cargo sets it")).arg("-vV").output().expect("rustc runs");
    let said = String::from_utf8(output.stdout).expect("rustc writes UTF-8");
    let of = |key: &str| said.lines().find_map(|line| line.strip_prefix(key)).unwrap_or("unknown").trim().to_string();
    format!("{} ({})", of("release:"), of("commit-hash:").chars().take(9).collect::<String>())
}

/// The version that the manifest pins; cargo builds no other.
fn tch(home: &Path) -> String {
    let manifest = home.join("../Cargo.toml");
    println!("cargo::rerun-if-changed={}", manifest.display());
    let text = std::fs::read_to_string(&manifest).unwrap_or_else(|error| panic!("{}: {error}", manifest.display()));
    let pin = text.lines().find_map(|line| line.strip_prefix("tch = \"=")).and_then(|rest| rest.split('"').next());
    pin.expect("the workspace pins tch").to_string()
}
