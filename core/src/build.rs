//! The build of this program. Its identity ([`BuiltBy`]) is recorded in the files it writes, and
//! all of it but the commit is part of every key in the store, so that a program never reads files
//! that other sources made. `library/handshake.rs` compares builds when a plugin is loaded.
//!
//! A program without build information (a test, an example) is identified by a hash of its
//! executable; so is one with linked plugins of other crates, whose sources are not hashed.

use crate::data::store::Key;
use crate::registry::Package;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::sync::OnceLock;

/// The compiler that built this crate, release and commit.
pub const RUSTC: &str = env!("GAUNTLET_RUSTC");

/// Build information, as found by the program's build script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Build {
    /// Version of gauntlet.
    pub version: &'static str,
    /// The commit; empty if it was built outside git.
    pub commit: &'static str,
    /// Whether the sources differed from that commit.
    pub dirty: bool,
    /// Hash of all sources of the workspace and of `Cargo.lock`; empty if unknown.
    pub sources: &'static str,
    /// The crates that the hash covers, separated by blanks.
    pub crates: &'static str,
}

/// The build that made a file, recorded next to it. It is never hashed or compared: another build
/// may make the same file.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BuiltBy {
    /// Version of gauntlet.
    pub gauntlet: String,
    /// The commit; empty if it was built outside git.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub commit: String,
    /// Whether the sources differed from that commit.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dirty: bool,
    /// Hash of the sources and of the dependencies' versions; empty if unknown.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sources: String,
}

impl BuiltBy {
    /// This program.
    pub fn this() -> BuiltBy {
        let Build { version, commit, dirty, sources, .. } = get();
        BuiltBy { gauntlet: version.into(), commit: commit.into(), dirty, sources: sources.into() }
    }

    /// Whether the build is unknown, as in files written before builds were recorded.
    pub fn is_unknown(&self) -> bool {
        self.gauntlet.is_empty()
    }

    /// Version and sources as text: two builds may have the same version.
    pub fn version(&self) -> String {
        match (self.gauntlet.as_str(), self.sources.get(..12)) {
            ("", _) => "an unrecorded build".into(),
            (version, None) => version.into(),
            (version, Some(sources)) => format!("{version} with sources {sources}"),
        }
    }

    /// Version, sources and commit as text, for a reader who wants to run it again.
    pub fn in_words(&self) -> String {
        let changed = if self.dirty { ", changed" } else { "" };
        let commit = self.commit.get(..12).map(|commit| format!(" of commit {commit}{changed}")).unwrap_or_default();
        self.version() + &commit
    }
}

// Global because the build is the same for the whole process and never changes.
static BUILD: OnceLock<Build> = OnceLock::new();
static KEY: OnceLock<String> = OnceLock::new();

/// Sets the build information; call it once, at the start of the program.
pub fn set(build: Build) {
    assert!(KEY.get().is_none(), "a key was computed before the build information was set");
    BUILD.set(build).expect("only `main` sets it, once");
}

/// The build information of this program.
pub fn get() -> Build {
    let unknown = Build { version: env!("CARGO_PKG_VERSION"), commit: "", dirty: false, sources: "", crates: "" };
    BUILD.get().copied().unwrap_or(unknown)
}

/// The part of a key that identifies the build: sources, compiler, target, and the running
/// libtorch. Call it only after the start of the program: libtorch reports its version once it is
/// fully loaded.
///
/// # Errors
/// If libtorch does not report its version, or the program cannot read its own executable when it
/// has to.
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

/// A store key that only builds with the same [`key`] share.
pub fn stored(kind: &str, format: u32) -> Result<Key> {
    Ok(Key::new(kind, format, key()?))
}

/// Whether a program with key `ours` reads files stored under key `made_by`. Plugin libraries are
/// ignored: they may be loaded the next time.
pub fn finds(made_by: &str, ours: &str) -> bool {
    made_by == crate::data::SOURCES || without_libraries(made_by) == without_libraries(ours)
}

fn without_libraries(key: &str) -> &str {
    key.split_once(LIBRARY).map_or(key, |(program, _)| program)
}

/// Separator before the hash of a library in a key.
pub(crate) const LIBRARY: &str = " library ";

/// Called in a plugin library, which has its own copy of core: stores the program's key, extended
/// by the library's hash.
pub(crate) fn adopt(key: String) {
    // For the system's loader, a library under two names is the same library.
    let _ = KEY.set(key);
}

/// Whether the hash of sources covers the whole program: no plugin of another crate is linked.
fn covers_all(build: &Build) -> bool {
    let known: Vec<&str> = build.crates.split(' ').collect();
    !build.sources.is_empty() && inventory::iter::<Package>().all(|package| known.contains(&package.0))
}

/// Hash of the program's executable.
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
