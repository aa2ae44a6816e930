//! The folder of a trial: `trial.json` records which trial it is (and which build began it);
//! `scores.jsonl` marks it as finished.

use super::{Trial, Written};
use crate::build::BuiltBy;
use crate::data::files::{Sum, Sums, json_lines, write_atomic};
use crate::data::{Dataset, regular};
use crate::lease;
use crate::poison::Poison;
use crate::results::Line;
use crate::train::checkpoint;
use crate::{Error, Result};
use std::path::Path;

/// The resolved trial.
const MANIFEST: &str = "trial.json";

/// Its results, written after all other files.
pub(super) const SCORES: &str = "scores.jsonl";

impl Trial {
    /// Reads `trial.json` of this or an earlier version of gauntlet.
    ///
    /// # Errors
    /// If it cannot be read, or a number in it is out of its range.
    pub fn read(path: &Path) -> Result<Trial> {
        let text = regular::read_to_string(path, regular::WRITTEN).map_err(Error::io(path))?;
        let trial: Trial = serde_json::from_str(&text)
            .map_err(|error| Error::invalid(path.display().to_string(), error.to_string()))?;
        trial.check_numbers().map_err(|error| error.during(path.display().to_string()))?;
        Ok(trial)
    }

    /// Writes `trial.json`, or checks that the existing one is this trial; replaces that of a trial
    /// without checkpoint and results. Returns the trial's hash.
    pub fn check_or_write_manifest(&self, folder: &Path) -> Result<String> {
        std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
        let path = folder.join(MANIFEST);
        if !has_begun(folder) || !path.exists() {
            let written = Written::by(BuiltBy::this(), self);
            write_atomic(&path, serde_json::to_string_pretty(&written).expect("plain data").as_bytes())?;
        }
        self.check_manifest(folder)?;
        Ok(blake3::hash(self.json().as_bytes()).to_hex().to_string())
    }

    /// Checks that a folder with a checkpoint or results is this trial's; writes nothing.
    pub fn check_manifest(&self, folder: &Path) -> Result<()> {
        let path = folder.join(MANIFEST);
        if !has_begun(folder) || !path.exists() {
            return Ok(());
        }
        let (found, ours) = (Trial::read(&path)?.json(), self.json());
        if found == ours {
            return Ok(());
        }
        let differs = found.lines().zip(ours.lines()).find(|(there, here)| there != here);
        let (there, here) = differs.map_or(("", ""), |(there, here)| (there.trim(), here.trim()));
        let why = format!(
            "holds another trial (there `{there}`, now `{here}`); choose another --out, or delete its folder to start it over"
        );
        Err(Error::invalid(path.display().to_string(), why))
    }

    /// The part that is hashed and compared: everything but the build.
    fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("plain data")
    }

    /// Identity of the trial and its inputs: a checkpoint is resumed only if data, poison and
    /// initial weights are the same. The digest of the poison does not cover clean pixels.
    pub(super) fn identity(&self, trial: &str, data: &Dataset, poison: &Poison) -> Result<String> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(trial.as_bytes()).update(poison.digest.as_bytes()).update(data.identity.as_bytes()).update(b" ");
        self.hash_first_weights(&mut hasher)?;
        Ok(hasher.finalize().to_hex().to_string())
    }

    /// Writes the scores, and before them `sums.json` with the hashes of all results, the scores
    /// included: `gauntlet verify` compares them.
    pub(super) fn write_scores(&self, folder: &Path, lines: &[Line]) -> Result<()> {
        let scores = json_lines(lines);
        let mut sums = Sums::of(folder, is_result)?;
        sums.0.insert(SCORES.into(), Sum::of_bytes(scores.as_bytes()));
        sums.write(folder)?;
        write_atomic(&folder.join(SCORES), scores.as_bytes())
    }

    /// Whether the trial in `folder` has its scores.
    pub fn has_finished(&self, folder: &Path) -> bool {
        folder.join(SCORES).exists()
    }

    /// Removes the checkpoint of a finished trial, unless its recipe keeps it. A trial that was
    /// killed after writing its scores still has one.
    pub fn tidy(&self, folder: &Path) -> Result<()> {
        if self.recipe.keep_checkpoint || !self.has_finished(folder) { Ok(()) } else { checkpoint::remove(folder) }
    }
}

/// Whether a file of a trial's folder stays as it is once the trial has finished. A log grows until
/// the process ends, a checkpoint is removed, and locks are held by others.
fn is_result(name: &str) -> bool {
    !name.starts_with('.')
        && !name.starts_with(lease::PREFIX)
        && ![checkpoint::FILE, SCORES, "stderr.log"].contains(&name)
}

/// Whether a folder holds a checkpoint or scores.
fn has_begun(folder: &Path) -> bool {
    [checkpoint::FILE, SCORES].iter().any(|file| folder.join(file).exists())
}
