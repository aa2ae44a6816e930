//! What this program was built from: its identity ([`BuiltBy`]) stands on what it makes, and all of
//! it but the commit is part of the key of what is stored, so that nothing is read that other
//! sources made. `library/handshake.rs` compares builds where a plugin is loaded.
//!
//! A program that does not say what it was built from (a test, an example) is told from others by
//! its content, and so is one that has plugins of somebody's own linked, whose sources nobody
//! hashed.

use crate::data::store::Key;
use crate::registry::Package;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::sync::OnceLock;

/// The compiler that built this crate, release and commit.
pub const RUSTC: &str = env!("GAUNTLET_RUSTC");

/// What a program was built from, as its build script found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Build {
    /// Version of gauntlet.
    pub version: &'static str,
    /// The commit; empty where it was built outside git.
    pub commit: &'static str,
    /// Whether the sources differed from that commit.
    pub dirty: bool,
    /// Hash of all sources of the workspace and of `Cargo.lock`; empty where the program does not say.
    pub sources: &'static str,
    /// The crates that these sources are, separated by blanks.
    pub crates: &'static str,
}

/// Which build made something, as it is written beside it. Nothing that is hashed or compared has
/// it: another build may make the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BuiltBy {
    /// Version of gauntlet.
    pub gauntlet: String,
    /// The commit; empty where it was built outside git.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub commit: String,
    /// Whether the sources differed from that commit.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dirty: bool,
    /// Hash of the sources and of the versions of what they were built on; empty where the program does not say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sources: String,
}

impl BuiltBy {
    /// This program.
    pub fn this() -> BuiltBy {
        let Build { version, commit, dirty, sources, .. } = get();
        BuiltBy { gauntlet: version.into(), commit: commit.into(), dirty, sources: sources.into() }
    }

    /// Whether it is not told, as in what was written before programs told it.
    pub fn is_unknown(&self) -> bool {
        self.gauntlet.is_empty()
    }

    /// Version and sources, in words: two of one version may still be two builds.
    pub fn version(&self) -> String {
        match (self.gauntlet.as_str(), self.sources.get(..12)) {
            ("", _) => "one that does not tell".into(),
            (version, None) => version.into(),
            (version, Some(sources)) => format!("{version} with sources {sources}"),
        }
    }

    /// The same with the commit, for a reader who wants to run it again.
    pub fn in_words(&self) -> String {
        let changed = if self.dirty { ", changed" } else { "" };
        let commit = self.commit.get(..12).map(|commit| format!(" of commit {commit}{changed}")).unwrap_or_default();
        self.version() + &commit
    }
}

// What a process was built from is one for all of it, and never changes: the only reason to keep it
// here and not to hand it around.
static BUILD: OnceLock<Build> = OnceLock::new();
static KEY: OnceLock<String> = OnceLock::new();

/// Says what this program was built from; once, at its start.
pub fn set(build: Build) {
    assert!(KEY.get().is_none(), "keys were made before it was said what they are made of");
    BUILD.set(build).expect("it is said once, by `main`");
}

/// What this program was built from.
pub fn get() -> Build {
    let unknown = Build { version: env!("CARGO_PKG_VERSION"), commit: "", dirty: false, sources: "", crates: "" };
    BUILD.get().copied().unwrap_or(unknown)
}

/// The part of a key that tells what this program makes from what another build of it makes:
/// sources, what they were compiled by and for, and the libtorch that is running. Call it after the
/// start only: libtorch tells its version once all of it is loaded.
///
/// # Errors
/// If libtorch does not say its version, or the program cannot read itself where it has to.
pub fn key() -> Result<&'static str> {
    if let Some(key) = KEY.get() {
        return Ok(key);
    }
    let build = get();
    let libtorch = gauntlet_torch::libtorch_version()?.unwrap_or_else(|| "of no version".into());
    let content = if covers_all(&build) { String::new() } else { content()? };
    let (version, sources, target) = (build.version, build.sources, env!("GAUNTLET_TARGET"));
    let key = format!("gauntlet {version} {sources} {content} rustc {RUSTC} {target} libtorch {libtorch}");
    Ok(KEY.get_or_init(|| key))
}

/// A key of what lies in a store and is found again by the builds of one [`key`] alone.
pub fn stored(kind: &str, format: u32) -> Result<Key> {
    Ok(Key::new(kind, format, key()?))
}

/// Whether a program of the key `ours` finds again what `made_by` left in a store, libraries of
/// plugins aside: they may be loaded the next time.
pub fn finds(made_by: &str, ours: &str) -> bool {
    made_by == crate::data::SOURCES || without_libraries(made_by) == without_libraries(ours)
}

fn without_libraries(key: &str) -> &str {
    key.split_once(LIBRARY).map_or(key, |(program, _)| program)
}

/// Stands before the content of a library in a key.
pub(crate) const LIBRARY: &str = " library ";

/// Within the library of a plugin, which has a copy of core of its own: takes over the key of the
/// program, with the library's content in it.
pub(crate) fn adopt(key: String) {
    // A library under two names is one to the system's loader.
    let _ = KEY.set(key);
}

/// Whether its sources are all that it was built from: no plugin of another crate is linked.
fn covers_all(build: &Build) -> bool {
    let known: Vec<&str> = build.crates.split(' ').collect();
    !build.sources.is_empty() && inventory::iter::<Package>().all(|package| known.contains(&package.0))
}

/// Hash of the program's own file.
fn content() -> Result<String> {
    let program = std::env::current_exe().map_err(Error::io("the program's own file"))?;
    let bytes = std::fs::read(&program).map_err(Error::io(&program))?;
    Ok(blake3::hash(&bytes).to_hex().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_does_not_say_its_sources_is_told_by_its_content() {
        let key = key().unwrap();
        assert!(key.contains(&content().unwrap()), "{key}");
        assert!(key.contains(gauntlet_torch::LIBTORCH_VERSION) && key.contains(RUSTC), "{key}");
    }
}
