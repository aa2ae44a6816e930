//! The folder of a suite's run: `suite.json`, `results.jsonl`, and a folder for each trial.

use crate::accuracy;
use gauntlet::data::regular;
use gauntlet::lease::{Lease, attempt};
use gauntlet::poison::CLEAN;
use gauntlet::results::{Line, read_lines};
use gauntlet::suite::Suite;
use gauntlet::{Error, Result, Trial};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The file that every folder of a trial has from its start.
const MANIFEST: &str = "trial.json";

/// The results of a suite's run so far.
pub struct Folder {
    /// Path of the folder.
    pub path: PathBuf,
    /// The suite, as it was run.
    pub suite: Suite,
    /// All lines of all finished trials, and the lines derived from them (`report/accuracy.rs`).
    pub lines: Vec<Line>,
}

/// A trial that was started and has no scores: it failed, was interrupted, or still runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// Arena, defense and seed.
    pub name: String,
    /// The last lines of its standard error; empty if it was interrupted, or still runs.
    pub said: String,
    /// The file of its standard error.
    pub log: PathBuf,
}

impl Folder {
    /// Reads the folder.
    ///
    /// # Errors
    /// If it is not the folder of a run.
    pub fn read(path: &Path) -> Result<Folder> {
        let file = path.join("suite.json");
        if !file.is_file() {
            let why =
                "contains no suite.json, so no suite was run there; name the folder that was given to `run` as --out";
            return Err(Error::invalid(path.display().to_string(), why));
        }
        let suite = Folder::read_suite(path)?;
        let mut lines = gather(path, &suite)?;
        lines.extend(accuracy::means(&suite, &lines));
        Ok(Folder { path: path.into(), suite, lines })
    }

    /// The suite of a run's folder.
    pub fn read_suite(path: &Path) -> Result<Suite> {
        read_json(&path.join("suite.json"))
    }

    /// The folder of a trial's files: that of its newest attempt.
    pub fn trial_folder(&self, arena: &str, defense: &str, seed: u64) -> PathBuf {
        let leased = leased(&self.path, arena, defense, seed);
        // A folder that cannot be listed is found out by what reads it.
        attempt::newest(&leased).unwrap_or(leased)
    }

    /// A resolved trial; `None` if it was never started.
    pub fn trial(&self, arena: &str, defense: &str, seed: u64) -> Result<Option<Trial>> {
        let path = self.trial_folder(arena, defense, seed).join("trial.json");
        if !path.is_file() {
            return Ok(None);
        }
        Trial::read(&path).map(Some)
    }

    /// Arena, defense and seed of every trial of the suite, seed by seed.
    pub fn grid(&self) -> impl Iterator<Item = (&str, &str, u64)> {
        grid(&self.suite)
    }

    /// Trials that were started and have no scores.
    pub fn unfinished(&self) -> Result<Vec<Unfinished>> {
        let mut unfinished = Vec::new();
        for (arena, defense, seed) in self.grid() {
            let folder = self.trial_folder(arena, defense, seed);
            if !folder.join("trial.json").exists() || folder.join("scores.jsonl").exists() {
                continue;
            }
            let log = folder.join("stderr.log");
            let said = if log.exists() {
                regular::read_to_string(&log, regular::LIST).map_err(Error::io(&log))?
            } else {
                String::new()
            };
            // Messages of an interrupted trial are no failure.
            let said: String = said.lines().filter(|line| !is_event(line)).map(|line| format!("{line}\n")).collect();
            let interrupted = said.trim_end().lines().last() == Some(&*Error::Interrupted.to_string());
            let runs = Lease::holder(&leased(&self.path, arena, defense, seed))?.is_some();
            let said = if interrupted || runs { String::new() } else { last_lines(&said) };
            unfinished.push(Unfinished { name: format!("{arena}/{defense}/seed-{seed}"), said, log });
        }
        Ok(unfinished)
    }
}

/// The folder of a trial that leases are for; it holds the attempts.
fn leased(out: &Path, arena: &str, defense: &str, seed: u64) -> PathBuf {
    out.join("trials").join(arena).join(defense).join(format!("seed-{seed}"))
}

/// Arena, defense and seed of every trial of a suite, seed by seed.
fn grid(suite: &Suite) -> impl Iterator<Item = (&str, &str, u64)> {
    let arenas = || std::iter::once(CLEAN).chain(suite.arenas.keys().map(String::as_str));
    let rows = move || arenas().flat_map(|arena| suite.defenses.keys().map(move |defense| (arena, defense.as_str())));
    suite.seeds.iter().flat_map(move |&seed| rows().map(move |(arena, defense)| (arena, defense, seed)))
}

/// The lines of all finished trials of a suite's run, in the order of its grid: what their folders
/// hold, since several runs may rewrite `results.jsonl` at a time. That file is read for trials
/// whose folders were deleted.
pub fn gather(out: &Path, suite: &Suite) -> Result<Vec<Line>> {
    let results = out.join("results.jsonl");
    let mut kept: BTreeMap<String, Vec<Line>> = BTreeMap::new();
    for line in if results.exists() { read_lines(&results)? } else { Vec::new() } {
        kept.entry(line.trial().to_string()).or_default().push(line);
    }
    let mut lines = Vec::new();
    for (arena, defense, seed) in grid(suite) {
        let name = format!("{arena}/{defense}/seed-{seed}");
        let newest = attempt::newest(&leased(out, arena, defense, seed))?;
        let before = kept.remove(&name).unwrap_or_default();
        if !newest.join(MANIFEST).exists() {
            lines.extend(before);
            continue;
        }
        let scores = newest.join("scores.jsonl");
        if scores.exists() {
            lines.extend(read_lines(&scores)?);
        }
    }
    // Of trials that this suite does not have: another run may have added them.
    lines.extend(kept.into_values().flatten());
    Ok(lines)
}

/// Whether a line is an event that `-v` asked for.
fn is_event(line: &str) -> bool {
    line.starts_with("info: ") || line.starts_with("debug: ")
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = regular::read_to_string(path, regular::LIST).map_err(Error::io(path))?;
    serde_json::from_str(&text).map_err(|error| Error::invalid(path.display().to_string(), error.to_string()))
}

/// What a trial's standard error says of its failure: eight lines from its last `error:` on, or the
/// last eight. The frames of a backtrace come before the error, and say less.
pub fn last_lines(said: &str) -> String {
    let lines: Vec<&str> = said.lines().collect();
    let error = lines.iter().rposition(|line| line.starts_with("error: "));
    let first = error.unwrap_or(lines.len().saturating_sub(8));
    lines[first..].iter().take(8).copied().collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::last_lines;

    #[test]
    fn a_failure_is_told_from_its_error_on_or_by_its_last_lines() {
        let frames: String = (0..40).map(|frame| format!("  {frame}: std::rt::lang_start\n")).collect();
        let said = format!("panicked at src/lib.rs: no\n{frames}error: plugin `mine`: `loss` panicked: no\n");
        assert_eq!(last_lines(&said), "error: plugin `mine`: `loss` panicked: no");
        assert_eq!(last_lines("error: over\nseveral\nlines\n"), "error: over\nseveral\nlines");
        let aborted = last_lines(&frames);
        assert_eq!((aborted.lines().count(), aborted.lines().last()), (8, Some("  39: std::rt::lang_start")));
    }
}
