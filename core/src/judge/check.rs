//! A suite beside an earlier run of it, for continuous integration: has any score moved by more than seeds explain? The earlier run is
//! recorded in a file, seed by seed, with what it can see: the change of each score that as many fresh seeds would show.
//!
//! Scores that are equal seed by seed to the last digit are the same. Of every other one the seeds of both runs are compared by Student's t
//! test, both ways (an attack that no longer works is as wrong as a defense that no longer does), all together corrected by Holm.

use super::seeds::{Change, FOR_VERDICT, LEVEL, holm, quantile};
use crate::evaluator::Unit;
use crate::report::ScoreLine;
use crate::report::board::Board;
use crate::report::folder::Folder;
use crate::suite::Suite;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// A recorded run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    /// Version of gauntlet that ran it.
    pub gauntlet: String,
    /// The suite as it was run, with its seeds.
    pub suite: Value,
    /// Devices that trained it.
    pub devices: Vec<String>,
    /// Digest of the poison by arena and seed.
    pub poison: BTreeMap<String, String>,
    /// Every score of every row of every arena.
    pub scores: Vec<Recorded>,
}

/// What identifies a score of a row.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// The arena.
    pub arena: String,
    /// Label of the defense.
    pub defense: String,
    /// Label of the attack; empty for none.
    pub attack: String,
    /// A downstream set; empty for the suite's own data.
    pub set: String,
    /// Name of the score.
    pub score: String,
}

/// A score of a row, over the seeds of a recorded run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recorded {
    /// Which score.
    pub key: Key,
    /// What kind of number it is.
    pub unit: Unit,
    /// Which way is better for the defender; none for a diagnostic.
    pub higher_is_better: Option<bool>,
    /// Its value by seed.
    pub values: BTreeMap<u64, f64>,
    /// Variance that the choice of pictures alone gives it (from the intervals of the score lines): seeds vary by no less.
    pub least_variance: f64,
    /// What it can be expected to see: a true change of this size is found with a chance of 97.5% by as many fresh seeds that lie as far apart.
    pub sees: f64,
}

/// What became of a score.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Equal to the last digit for every seed of the new run.
    Same,
    /// No change that seeds do not explain, or, with a tolerance, certainly a smaller one.
    Within,
    /// It has moved: for the better of the defender, for the worse, or neither (a diagnostic).
    Moved(Option<bool>),
    /// Its trials failed.
    Failed,
    /// It was not measured, or a change that was asked for can neither be shown nor excluded; why.
    CannotTell(String),
}

/// A score of the new run beside the recorded one.
#[derive(Clone, Debug, PartialEq)]
pub struct Checked {
    /// The recorded score.
    pub recorded: Recorded,
    /// Its value by seed in the new run.
    pub values: BTreeMap<u64, f64>,
    /// The change of its mean; none where nothing could be compared.
    pub change: Option<Change>,
    /// Corrected p value of no change; none where none was sought.
    pub adjusted: Option<f64>,
    /// The true change that the seeds of both runs find with a chance of 97.5%, all tests corrected; none where nothing could be compared.
    pub sees: Option<f64>,
    /// What became of it.
    pub outcome: Outcome,
}

/// All that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Findings {
    /// Every recorded score, what offends first.
    pub scores: Vec<Checked>,
    /// Arenas and seeds whose poison is made of other edits than recorded.
    pub other_poison: Vec<String>,
    /// What else is worth knowing: other pixels, devices, versions, scores that were not recorded.
    pub remarks: Vec<String>,
}

impl Baseline {
    /// Records a run.
    ///
    /// # Errors
    /// If it has fewer than five seeds, or trials that have not finished.
    pub fn record(folder: &Folder) -> Result<Baseline> {
        let suite = &folder.suite;
        let place = || folder.path.display().to_string();
        if suite.seeds.len() < FOR_VERDICT {
            let why = format!(
                "has {} seeds; a baseline needs {FOR_VERDICT} or more to know how far seeds lie apart: run it with --set 'seeds=[0, 1, 2, 3, 4]'",
                suite.seeds.len()
            );
            return Err(Error::invalid(place(), why));
        }
        let missing = folder
            .grid()
            .find(|(arena, defense, seed)| !folder.trial_folder(arena, defense, *seed).join("scores.jsonl").exists());
        if let Some((arena, defense, seed)) = missing {
            let why = format!("{arena}/{defense}/seed-{seed} has no scores; run the suite to its end first");
            return Err(Error::invalid(place(), why));
        }
        let board = Board::new(suite, &folder.lines)?;
        let lacking = folder.grid().find(|(arena, defense, seed)| {
            let is_of =
                |line: &&&ScoreLine| (line.arena.as_str(), line.defense.as_str(), line.seed) == (arena, defense, *seed);
            !board.scores.iter().any(|line| is_of(&line))
        });
        if let Some((arena, defense, seed)) = lacking {
            let why = format!(
                "has no line of {arena}/{defense}/seed-{seed} in results.jsonl; `gauntlet run` writes them anew"
            );
            return Err(Error::invalid(place(), why));
        }
        let mut scores: Vec<Recorded> = collect(&board).into_iter().map(|(key, lines)| recorded(key, &lines)).collect();
        let level = LEVEL / scores.len().max(1) as f64;
        for score in &mut scores {
            let n = score.values.len();
            let values: Vec<f64> = score.values.values().copied().collect();
            // As if the run were compared with one just like it.
            let change = (n > 1).then(|| Change::between(&values, &values, score.least_variance));
            score.sees = change.map_or(f64::MAX, |change| sees(&change, level));
        }
        Ok(Baseline {
            gauntlet: env!("CARGO_PKG_VERSION").into(),
            suite: serde_json::to_value(suite).expect("plain data"),
            devices: devices(&board),
            poison: poison(&board),
            scores,
        })
    }

    /// Compares a run with this one. `tolerance`: changes of shares that are smaller do not count; by default every change does that the
    /// seeds can show.
    ///
    /// # Errors
    /// If the run is of another suite, but for its seeds.
    pub fn check(&self, folder: &Folder, tolerance: Option<f64>) -> Result<Findings> {
        self.same_suite(&folder.suite)?;
        if folder.lines.is_empty() {
            let why = "has no results yet; `gauntlet run` goes on, and writes them at its end";
            return Err(Error::invalid(folder.path.display().to_string(), why));
        }
        let board = Board::new(&folder.suite, &folder.lines)?;
        let mut found = collect(&board);
        let unfinished = folder.unfinished()?;
        let failed = |key: &Key| {
            let prefix = format!("{}/{}/", key.arena, key.defense);
            unfinished.iter().any(|trial| trial.name.starts_with(&prefix) && !trial.said.is_empty())
        };
        let recorded_seeds = self.suite["seeds"].as_array().map_or(0, Vec::len);
        let mut scores: Vec<Checked> = Vec::new();
        for score in &self.scores {
            let lines = found.remove(&score.key).unwrap_or_default();
            let mut checked = beside(score, &lines);
            let missing = folder.suite.seeds.len() - checked.values.len();
            if failed(&score.key) {
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
            let log = folder.path.join("trials").join(&trial.name).join("stderr.log");
            let said = trial.said.lines().last().map(|line| format!(" failed: {line} ({})", log.display()));
            remarks.push(trial.name.clone() + &said.unwrap_or_else(|| " has not finished".into()));
        }
        let here = folder.suite.seeds.len();
        if here < recorded_seeds {
            remarks.push(format!("{here} seeds, recorded {recorded_seeds}: it sees less than the record promises"));
        }
        if scores.iter().any(|score| score.values.is_empty()) {
            remarks.push(
                "scores that the run lacks altogether: was it made by another version, or by other evaluators?".into(),
            );
        }
        let here = devices(&board);
        if here != self.devices {
            remarks.push(format!("trained on {}, recorded on {}", here.join(", "), self.devices.join(", ")));
        }
        let mut other_poison = Vec::new();
        for (place, digest) in poison(&board) {
            let Some(recorded) = self.poison.get(&place).filter(|recorded| **recorded != digest) else { continue };
            // The digest's halves: of the edits, and of their pixels.
            if recorded.split('-').next() == digest.split('-').next() {
                remarks.push(format!("{place}: the same edits, other pixels than recorded ({digest}, not {recorded})"));
            } else {
                other_poison.push(format!("{place}: other poison than recorded ({digest}, not {recorded})"));
            }
        }
        Ok(Findings { scores, other_poison, remarks })
    }

    fn same_suite(&self, suite: &Suite) -> Result<()> {
        let strip = |suite: &Value| {
            let mut suite = suite.clone();
            if let Value::Object(table) = &mut suite {
                // What no score depends on.
                ["seeds", "plan", "cache_gb", "gate", "costly"].iter().for_each(|key| drop(table.remove(*key)));
            }
            suite
        };
        let (recorded, here) = (strip(&self.suite), strip(&serde_json::to_value(suite).expect("plain data")));
        let differing = super::differing_values(&recorded, &here);
        let said: Vec<String> =
            differing.iter().map(|d| format!("`{}`: {}, recorded {}", d.key, d.values[1], d.values[0])).collect();
        if said.is_empty() {
            return Ok(());
        }
        let why = format!("is not the recorded suite: {}; record a new baseline if that is meant", said.join("; "));
        Err(Error::invalid(format!("suite `{}`", suite.name), why))
    }
}

impl Findings {
    /// 0: nothing has moved; 1: something has, or failed; 2: it could not be told.
    pub fn exit_code(&self) -> u8 {
        let any = |wanted: fn(&Outcome) -> bool| self.scores.iter().any(|checked| wanted(&checked.outcome));
        match () {
            () if any(Outcome::is_regression) || !self.other_poison.is_empty() => 1,
            () if any(|outcome| matches!(outcome, Outcome::CannotTell(_))) => 2,
            () => 0,
        }
    }
}

impl Outcome {
    /// Whether the run must not pass.
    pub fn is_regression(&self) -> bool {
        matches!(self, Outcome::Moved(_) | Outcome::Failed)
    }

    /// As people read it.
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
    /// What offends comes first, of that what moved the most for its error.
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

impl Key {
    fn of(line: &ScoreLine) -> Key {
        Key {
            arena: line.arena.clone(),
            defense: line.defense.clone(),
            attack: line.attack.clone().unwrap_or_default(),
            set: if line.downstream { line.dataset.clone() } else { String::new() },
            score: line.score.clone(),
        }
    }

    /// Its parts, without those that are empty.
    pub fn name(&self) -> String {
        let parts = [&self.arena, &self.defense, &self.attack, &self.set, &self.score];
        parts.into_iter().filter(|part| !part.is_empty()).cloned().collect::<Vec<_>>().join(" ")
    }
}

/// All lines of each score of each row.
fn collect<'a>(board: &Board<'a>) -> BTreeMap<Key, Vec<&'a ScoreLine>> {
    let mut scores: BTreeMap<Key, Vec<&ScoreLine>> = BTreeMap::new();
    for line in board.scores.iter().filter(|line| board.suite.seeds.contains(&line.seed)) {
        scores.entry(Key::of(line)).or_default().push(line);
    }
    scores
}

fn recorded(key: Key, lines: &[&ScoreLine]) -> Recorded {
    let values = lines.iter().map(|line| (line.seed, line.value)).collect();
    Recorded {
        key,
        unit: lines[0].unit,
        higher_is_better: lines[0].higher_is_better,
        values,
        least_variance: least_variance(lines),
        sees: 0.0,
    }
}

/// Mean variance of a value over its cases, from the score lines' own intervals.
fn least_variance(lines: &[&ScoreLine]) -> f64 {
    let variance = |line: &&ScoreLine| ((line.high - line.low) / (2.0 * 1.96)).powi(2);
    let sum: f64 = lines.iter().map(variance).sum();
    // A median's interval is one of places and tells no variance; an interval that is none has none.
    if lines[0].unit == Unit::Share && sum.is_finite() { sum / lines.len() as f64 } else { 0.0 }
}

/// The change of one score; its outcome is still open where a test is sought.
fn beside(score: &Recorded, lines: &[&ScoreLine]) -> Checked {
    let values: BTreeMap<u64, f64> = lines.iter().map(|line| (line.seed, line.value)).collect();
    let unknown = |why: &str| Outcome::CannotTell(why.into());
    let same = !values.is_empty() && values.iter().all(|(seed, value)| score.values.get(seed) == Some(value));
    let (before, after): (Vec<f64>, Vec<f64>) =
        (score.values.values().copied().collect(), values.values().copied().collect());
    let comparable = !after.is_empty() && before.len() + after.len() > 2;
    let change = comparable.then(|| Change::between(&before, &after, score.least_variance));
    let outcome = match change {
        _ if same => Outcome::Same,
        None if after.is_empty() => unknown("the run has no such score"),
        None => unknown("too few seeds have it"),
        Some(_) => Outcome::Within,
    };
    Checked {
        recorded: score.clone(),
        change,
        adjusted: change.filter(|_| outcome == Outcome::Within).map(|change| change.p),
        sees: None,
        values,
        outcome,
    }
}

/// The true change that a test at this level finds with a chance of 97.5%.
fn sees(change: &Change, level: f64) -> f64 {
    (quantile(1.0 - level / 2.0, change.freedom) + quantile(0.975, change.freedom)) * change.error
}

/// Corrects the p values of all tests together, and says what became of each score. A tolerance is somebody's wish: a share whose change is
/// certainly smaller passes, however sure that change is, and one of which that is not certain does not.
fn judge(scores: &mut [Checked], asked: Option<f64>) {
    let tested: Vec<usize> = (0..scores.len()).filter(|&place| scores[place].adjusted.is_some()).collect();
    let p: Vec<f64> = tested.iter().filter_map(|&place| scores[place].adjusted).collect();
    let level = LEVEL / p.len().max(1) as f64;
    for (place, p) in tested.into_iter().zip(holm(&p)) {
        let checked = &mut scores[place];
        checked.adjusted = Some(p);
        let change = checked.change.expect("what was tested has a change");
        let asked = asked.filter(|_| checked.recorded.unit == Unit::Share);
        checked.sees = Some(sees(&change, level));
        let within = asked.map(|asked| change.change.abs() + change.half_width(0.95) < asked);
        let for_the_better = checked.recorded.higher_is_better.map(|higher| higher == (change.change > 0.0));
        checked.outcome = match within {
            Some(true) => Outcome::Within,
            _ if p < LEVEL => Outcome::Moved(for_the_better),
            Some(false) => Outcome::CannotTell("the seeds lie too far apart".into()),
            None => Outcome::Within,
        };
    }
}

fn devices(board: &Board) -> Vec<String> {
    let devices: std::collections::BTreeSet<&str> = board.scores.iter().map(|line| line.device.as_str()).collect();
    devices.into_iter().map(str::to_string).collect()
}

fn poison(board: &Board) -> BTreeMap<String, String> {
    board.scores.iter().map(|line| (format!("{}/seed-{}", line.arena, line.seed), line.poison_digest.clone())).collect()
}
