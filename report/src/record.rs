//! A run recorded in a file, seed by seed, with its sensitivity: the change of each score that as
//! many fresh seeds would show. `check.rs` compares a later run with it.

use crate::folder::Folder;
use crate::statistics::seeds::{Change, LEVEL, quantile};
use crate::view::ResultsView;
use gauntlet::build::BuiltBy;
use gauntlet::evaluator::Unit;
use gauntlet::results::ScoreLine;
use gauntlet::{Error, Result, build};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// Minimum number of seeds of a recorded run. A check compares two runs with different seeds: of
/// the 252 ways to divide five and five values, 2 have all of one group beyond all of the other, p
/// = 0.008. A verdict on pairs of five seeds cannot go below 0.0625.
pub const FOR_RECORD: usize = 5;

/// A recorded run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    /// Version of gauntlet that ran it.
    pub gauntlet: String,
    /// The builds that measured it, each once; `None` if they are unknown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub builds: Vec<BuiltBy>,
    /// The suite as it was run, with its seeds.
    pub suite: Value,
    /// Devices that trained it.
    pub devices: Vec<String>,
    /// Digest of the poison by arena and seed.
    pub poison: BTreeMap<String, String>,
    /// Every score of every row of every arena.
    pub scores: Vec<Recorded>,
}

/// The identity of a score of a row.
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
    /// The score's identity.
    pub key: Key,
    /// The unit of its values.
    pub unit: Unit,
    /// Which direction is better for the defender; `None` for a diagnostic.
    pub higher_is_better: Option<bool>,
    /// Version of its definition; left out for the first.
    #[serde(default = "first", skip_serializing_if = "is_first")]
    pub version: u32,
    /// Its value by seed.
    pub values: BTreeMap<u64, f64>,
    /// Variance from the choice of images alone (from the intervals of the score lines): seeds vary
    /// at least as much.
    pub least_variance: f64,
    /// The detectable change: as many fresh seeds with the same spread find a true change of this
    /// size with a chance of 97.5%.
    #[serde(rename = "sees")]
    pub detectable: f64,
}

fn first() -> u32 {
    1
}

fn is_first(version: &u32) -> bool {
    *version == first()
}

impl Baseline {
    /// Records a run.
    ///
    /// # Errors
    /// If it has fewer than five seeds, or unfinished trials.
    pub fn record(folder: &Folder) -> Result<Baseline> {
        let suite = &folder.suite;
        let place = || folder.path.display().to_string();
        if suite.seeds.len() < FOR_RECORD {
            let why = format!(
                "has {} seeds; a baseline needs {FOR_RECORD} or more to measure the spread of seeds: run it with --set 'seeds=[0, 1, 2, 3, 4]'",
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
        let view = ResultsView::new(suite, &folder.lines)?;
        let lacking = folder.grid().find(|(arena, defense, seed)| {
            let is_of =
                |line: &&&ScoreLine| (line.arena.as_str(), line.defense.as_str(), line.seed) == (arena, defense, *seed);
            !view.scores.iter().any(|line| is_of(&line))
        });
        if let Some((arena, defense, seed)) = lacking {
            let why = format!(
                "has no line of {arena}/{defense}/seed-{seed} in results.jsonl; `gauntlet run` writes them again"
            );
            return Err(Error::invalid(place(), why));
        }
        let mut scores: Vec<Recorded> = collect(&view).into_iter().map(|(key, lines)| recorded(key, &lines)).collect();
        let level = LEVEL / scores.len().max(1) as f64;
        for score in &mut scores {
            let n = score.values.len();
            let values: Vec<f64> = score.values.values().copied().collect();
            // As if the run were compared with an identical one.
            let change = (n > 1).then(|| Change::between(&values, &values, score.floor()));
            score.detectable = change.map_or(f64::MAX, |change| minimum_detectable_change(&change, level));
        }
        Ok(Baseline {
            gauntlet: build::get().version.into(),
            suite: serde_json::to_value(suite).expect("plain data"),
            builds: builds(&view),
            devices: devices(&view),
            poison: poison(&view),
            scores,
        })
    }
}

impl Recorded {
    /// Minimum variance of seeds: that of the images and, for a rank, that of its rounding to a
    /// place, which its interval does not include.
    pub(crate) fn floor(&self) -> f64 {
        let rounding = if self.unit == Unit::Rank { self.unit.step(1).powi(2) / 12.0 } else { 0.0 };
        self.least_variance.max(rounding)
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

    /// Its parts, without the empty ones.
    pub fn name(&self) -> String {
        let parts = [&self.arena, &self.defense, &self.attack, &self.set, &self.score];
        parts.into_iter().filter(|part| !part.is_empty()).cloned().collect::<Vec<_>>().join(" ")
    }
}

/// All lines of each score of each row.
pub(crate) fn collect<'a>(view: &ResultsView<'a>) -> BTreeMap<Key, Vec<&'a ScoreLine>> {
    let mut scores: BTreeMap<Key, Vec<&ScoreLine>> = BTreeMap::new();
    for line in view.scores.iter().filter(|line| view.suite.seeds.contains(&line.seed)) {
        scores.entry(Key::of(line)).or_default().push(line);
    }
    scores
}

pub(crate) fn recorded(key: Key, lines: &[&ScoreLine]) -> Recorded {
    let values = lines.iter().map(|line| (line.seed, line.value)).collect();
    Recorded {
        key,
        unit: lines[0].unit,
        higher_is_better: lines[0].higher_is_better,
        version: lines[0].version,
        values,
        least_variance: least_variance(lines),
        detectable: 0.0,
    }
}

/// Mean variance of a value over its cases, from the score lines' own intervals.
pub(crate) fn least_variance(lines: &[&ScoreLine]) -> f64 {
    let variance = |line: &&ScoreLine| ((line.high - line.low) / (2.0 * 1.96)).powi(2);
    let sum: f64 = lines.iter().map(variance).sum();
    // A median's interval consists of ranks and gives no variance; nor does an empty interval.
    if lines[0].unit == Unit::Share && sum.is_finite() { sum / lines.len() as f64 } else { 0.0 }
}

/// The true change that a test at this level finds with a chance of 97.5%.
pub(crate) fn minimum_detectable_change(change: &Change, level: f64) -> f64 {
    (quantile(1.0 - level / 2.0, change.freedom) + quantile(0.975, change.freedom)) * change.error
}

fn builds(view: &ResultsView) -> Vec<BuiltBy> {
    let builds: std::collections::BTreeSet<&BuiltBy> = view.scores.iter().map(|line| &line.build).collect();
    builds.into_iter().filter(|build| !build.is_unknown()).cloned().collect()
}

pub(crate) fn devices(view: &ResultsView) -> Vec<String> {
    let devices: std::collections::BTreeSet<&str> = view.scores.iter().map(|line| line.device.as_str()).collect();
    devices.into_iter().map(str::to_string).collect()
}

pub(crate) fn poison(view: &ResultsView) -> BTreeMap<String, String> {
    view.scores.iter().map(|line| (format!("{}/seed-{}", line.arena, line.seed), line.poison_digest.clone())).collect()
}
