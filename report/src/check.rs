//! Compares a suite with an earlier run of it, recorded by `record.rs`, for continuous integration:
//! whether any score has moved by more than seeds explain.
//!
//! Scores that are equal seed by seed to the last digit are the same. For every other score the
//! seeds of both runs are compared by Student's t test, two-sided (an attack that no longer works
//! is as wrong as a defense that no longer works). All tests are corrected together by Holm.

use crate::differing::differing_values;
use crate::folder::{Folder, Unfinished};
use crate::record::{Baseline, Key, Recorded, collect, devices, minimum_detectable_change, poison};
use crate::statistics::seeds::{Change, LEVEL, holm};
use crate::view::{ResultsView, edits};
use gauntlet::evaluator::Unit;
use gauntlet::results::ScoreLine;
use gauntlet::suite::Suite;
use gauntlet::{Error, Result};
use serde_json::Value;
use std::collections::BTreeMap;

/// The outcome of a score.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Equal to the last digit for every seed of the new run.
    Same,
    /// The change is explained by seeds or, with a tolerance, is certainly within it.
    Within,
    /// It has moved: better for the defender (`true`), worse (`false`), or neither (a diagnostic).
    Moved(Option<bool>),
    /// Its trials failed.
    Failed,
    /// It was not measured, or a change within the tolerance can be neither shown nor excluded; the
    /// reason.
    CannotTell(String),
}

/// The answer to a whole check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Every score is where it was.
    NothingMoved,
    /// A score has moved, a trial failed, or the poison has other edits.
    Moved,
    /// No score is known to have moved, and one is undecided.
    CannotTell,
}

/// A score of the new run with the recorded score.
#[derive(Clone, Debug, PartialEq)]
pub struct Checked {
    /// The recorded score.
    pub recorded: Recorded,
    /// Its value by seed in the new run.
    pub values: BTreeMap<u64, f64>,
    /// The change of its mean; `None` if nothing could be compared.
    pub change: Option<Change>,
    /// Corrected p value of no change; `None` if no test was made.
    pub adjusted: Option<f64>,
    /// The true change that the seeds of both runs find with a chance of 97.5%, with all tests
    /// corrected; `None` if nothing could be compared.
    pub detectable: Option<f64>,
    /// The outcome.
    pub outcome: Outcome,
}

/// The result of a check.
#[derive(Clone, Debug, PartialEq)]
pub struct Findings {
    /// Every recorded score, regressions first.
    pub scores: Vec<Checked>,
    /// Arenas and seeds whose poison has other edits than recorded.
    pub other_poison: Vec<String>,
    /// Other remarks: other pixels, devices, versions, scores that were not recorded.
    pub remarks: Vec<String>,
}

impl Baseline {
    /// Compares a run with this one. `tolerance`: changes of shares that are smaller do not count;
    /// by default every change counts that the seeds can show.
    ///
    /// # Errors
    /// If the run is of another suite, apart from its seeds, or was measured by another version of a
    /// definition.
    pub fn check(&self, folder: &Folder, tolerance: Option<f64>) -> Result<Findings> {
        self.same_suite(&folder.suite)?;
        if folder.lines.is_empty() {
            let why = "has no results yet; finish the run with `gauntlet run`";
            return Err(Error::invalid(folder.path.display().to_string(), why));
        }
        let view = ResultsView::new(&folder.suite, &folder.lines)?;
        let mut found = collect(&view);
        let unfinished = folder.unfinished()?;
        let recorded_seeds = self.suite["seeds"].as_array().map_or(0, Vec::len);
        let mut scores: Vec<Checked> = Vec::new();
        for score in &self.scores {
            let lines = found.remove(&score.key).unwrap_or_default();
            same_version(score, &lines)?;
            let mut checked = beside(score, &lines);
            let missing = folder.suite.seeds.len() - checked.values.len();
            if failed(&unfinished, &score.key) {
                (checked.outcome, checked.adjusted) = (Outcome::Failed, None);
            } else if missing > 0 && !lines.is_empty() && score.values.len() == recorded_seeds {
                let why = format!("{missing} of {} seeds are missing", folder.suite.seeds.len());
                (checked.outcome, checked.adjusted) = (Outcome::CannotTell(why), None);
            }
            scores.push(checked);
        }
        judge(&mut scores, tolerance);
        scores.sort_by(|a, b| a.rank().total_cmp(&b.rank()));
        let mut remarks: Vec<String> = found.keys().map(|key| format!("not recorded: {}", key.name())).collect();
        for trial in &unfinished {
            let said = trial.said.lines().last().map(|line| format!(" failed: {line} ({})", trial.log.display()));
            remarks.push(trial.name.clone() + &said.unwrap_or_else(|| " has not finished".into()));
        }
        let here = folder.suite.seeds.len();
        if here < recorded_seeds {
            remarks.push(format!(
                "{here} seeds, recorded {recorded_seeds}: means are compared all the same, and it detects less than the record \
                 promises (column `detectable`)"
            ));
        }
        if scores.iter().any(|score| score.values.is_empty()) {
            remarks.push("scores that the whole run lacks: check its version and its evaluators".into());
        }
        let here = devices(&view);
        if here != self.devices {
            remarks.push(format!("trained on {}, recorded on {}", here.join(", "), self.devices.join(", ")));
        }
        let mut other_poison = Vec::new();
        for (place, digest) in poison(&view) {
            let Some(recorded) = self.poison.get(&place).filter(|recorded| **recorded != digest) else { continue };
            // The halves of the digest: edits, and their pixels.
            if edits(recorded) == edits(&digest) {
                remarks.push(format!("{place}: the same edits, other pixels than recorded ({digest}, not {recorded})"));
            } else {
                other_poison.push(format!("{place}: other poison than recorded ({digest}, not {recorded})"));
            }
        }
        Ok(Findings { scores, other_poison, remarks })
    }

    fn same_suite(&self, suite: &Suite) -> Result<()> {
        let here = serde_json::to_value(suite).expect("plain data");
        let (recorded, here) = (without_what_no_score_depends_on(&self.suite), without_what_no_score_depends_on(&here));
        let differing = differing_values(&recorded, &here);
        let said: Vec<String> =
            differing.iter().map(|d| format!("`{}`: {}, recorded {}", d.key, d.values[1], d.values[0])).collect();
        if said.is_empty() {
            return Ok(());
        }
        let why = format!("is not the recorded suite: {}; record a new baseline if that is intended", said.join("; "));
        Err(Error::invalid(format!("suite `{}`", suite.name), why))
    }
}

impl Findings {
    /// 0: nothing has moved; 1: a score has moved, or failed; 2: undecided.
    pub fn answer(&self) -> Answer {
        let mut outcomes = self.scores.iter().map(|checked| &checked.outcome);
        if outcomes.clone().any(Outcome::is_regression) || !self.other_poison.is_empty() {
            return Answer::Moved;
        }
        match outcomes.any(|outcome| matches!(outcome, Outcome::CannotTell(_))) {
            true => Answer::CannotTell,
            false => Answer::NothingMoved,
        }
    }
}

impl Outcome {
    /// Whether the run must fail.
    pub fn is_regression(&self) -> bool {
        matches!(self, Outcome::Moved(_) | Outcome::Failed)
    }

    /// The text for users.
    pub fn words(&self) -> String {
        match self {
            Outcome::Same => "same".into(),
            Outcome::Within => "within".into(),
            Outcome::Moved(Some(true)) => "MOVED, for the better".into(),
            Outcome::Moved(Some(false)) => "MOVED, for the worse".into(),
            Outcome::Moved(None) => "MOVED".into(),
            Outcome::Failed => "FAILED".into(),
            Outcome::CannotTell(why) => format!("could not tell: {why}"),
        }
    }
}

impl Checked {
    /// Sort key: regressions first, the largest change relative to its error first among them.
    fn rank(&self) -> f64 {
        let moved =
            self.change.map_or(0.0, |change| (change.change.abs() / change.error.max(f64::MIN_POSITIVE)).min(1e6));
        let class = match self.outcome {
            Outcome::Failed => 0.0,
            Outcome::Moved(_) => 1.0,
            Outcome::CannotTell(_) => 2.0,
            Outcome::Within => 3.0,
            Outcome::Same => 4.0,
        };
        class * 1e7 - moved
    }
}

/// A score whose definition has changed since is another one: there is nothing to compare.
fn same_version(recorded: &Recorded, lines: &[&ScoreLine]) -> Result<()> {
    let Some(other) = lines.iter().find(|line| line.version != recorded.version) else { return Ok(()) };
    let why = format!(
        "was recorded by version {} of its definition, and this run has version {}; record a new baseline",
        recorded.version, other.version
    );
    Err(Error::invalid(format!("score `{}`", recorded.key.name()), why))
}

fn without_what_no_score_depends_on(suite: &Value) -> Value {
    let mut suite = suite.clone();
    if let Value::Object(table) = &mut suite {
        ["seeds", "plan", "cache_gb", "gate", "costly"].iter().for_each(|key| drop(table.remove(*key)));
    }
    suite
}

/// Whether a trial of the score's row has failed.
fn failed(unfinished: &[Unfinished], key: &Key) -> bool {
    let prefix = format!("{}/{}/", key.arena, key.defense);
    unfinished.iter().any(|trial| trial.name.starts_with(&prefix) && !trial.said.is_empty())
}

/// The change of one score; its outcome is undecided until the tests are corrected.
fn beside(score: &Recorded, lines: &[&ScoreLine]) -> Checked {
    let values: BTreeMap<u64, f64> = lines.iter().map(|line| (line.seed, line.value)).collect();
    let same = !values.is_empty() && values.iter().all(|(seed, value)| score.values.get(seed) == Some(value));
    let (before, after): (Vec<f64>, Vec<f64>) =
        (score.values.values().copied().collect(), values.values().copied().collect());
    let comparable = !after.is_empty() && before.len() + after.len() > 2;
    let change = comparable.then(|| Change::between(&before, &after, score.floor()));
    let outcome = match change {
        _ if same => Outcome::Same,
        None if after.is_empty() => Outcome::CannotTell("the run has no such score".into()),
        None => Outcome::CannotTell("too few seeds have the score".into()),
        Some(_) => Outcome::Within,
    };
    Checked {
        recorded: score.clone(),
        change,
        adjusted: change.filter(|_| outcome == Outcome::Within).map(|change| change.p),
        detectable: None,
        values,
        outcome,
    }
}

/// Corrects the p values of all tests together, and decides the outcome of each score. With a
/// tolerance, a share passes if its change is certainly smaller, even if the change is significant,
/// and fails or is undecided otherwise.
fn judge(scores: &mut [Checked], asked: Option<f64>) {
    let tested: Vec<usize> = (0..scores.len()).filter(|&place| scores[place].adjusted.is_some()).collect();
    let p: Vec<f64> = tested.iter().filter_map(|&place| scores[place].adjusted).collect();
    let level = LEVEL / p.len().max(1) as f64;
    for (place, p) in tested.into_iter().zip(holm(&p)) {
        let checked = &mut scores[place];
        checked.adjusted = Some(p);
        let change = checked.change.expect("a tested score has a change");
        let asked = asked.filter(|_| checked.recorded.unit == Unit::Share);
        checked.detectable = Some(minimum_detectable_change(&change, level));
        let within = asked.map(|asked| change.change.abs() + change.half_width(0.95) < asked);
        let for_the_better = checked.recorded.higher_is_better.map(|higher| higher == (change.change > 0.0));
        checked.outcome = match within {
            Some(true) => Outcome::Within,
            _ if p < LEVEL => Outcome::Moved(for_the_better),
            Some(false) => Outcome::CannotTell("the seeds vary too much".into()),
            None => Outcome::Within,
        };
    }
}

#[cfg(test)]
mod tests;
