//! Results: scores, rows, downstream sets and costs as JSON lines. `trial/lines.rs` builds them.

use crate::Result;
use crate::build::BuiltBy;
use crate::data::files;
use crate::data::rows::Tally;
use crate::evaluator::{ScoreRole, Unit, definitions};
use crate::recipe::Precision;
use crate::registry::Origin;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::Path;

/// A line of `results.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Line {
    /// One score of one trial.
    Score(ScoreLine),
    /// A downstream set as one trial read it.
    Set(SetLine),
    /// The rows of the pairs as one trial read them: found, kept and lost.
    Data(DataLine),
    /// A library that plugins of one trial were loaded from.
    Library(LibraryLine),
    /// Cost of one trial; these lines alone differ from run to run.
    Cost(Cost),
}

/// One score of one trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScoreLine {
    /// Name of the suite.
    pub suite: String,
    /// Arena, defense and seed, joined by slashes.
    pub trial: String,
    /// Name of the arena.
    pub arena: String,
    /// Label of the attack that the score is about.
    pub attack: Option<String>,
    /// The defense whose public configuration that attack was given; empty, and left out, for most.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub adapted_to: String,
    /// Label of the defense.
    pub defense: String,
    /// The seed.
    pub seed: u64,
    /// Label of the evaluator.
    pub evaluator: String,
    /// Name of the score; `gauntlet describe EVALUATOR` has its definition.
    pub score: String,
    /// Data set it was measured on: the label of a downstream set, or the kind of the trial's own
    /// data, for its held-out rows.
    pub dataset: String,
    /// Whether `dataset` is a downstream set.
    #[serde(default)]
    pub downstream: bool,
    /// The number.
    pub value: f64,
    /// Unit of the number.
    #[serde(default)]
    pub unit: Unit,
    /// Use of the score in tables and verdicts; left out for most scores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<ScoreRole>,
    /// Version of its definition; left out for the first. Two versions are never compared.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub version: u32,
    /// Cases it was counted over.
    pub n: usize,
    /// Lower end of the 95% interval over those cases.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Direction that is better for the defender; `None` for a diagnostic.
    pub higher_is_better: Option<bool>,
    /// Chance level: for accuracy, the share of the most common class; for a mean per class and for
    /// an attack's success, one divided by the number of classes; for a rank, the middle rank. Left
    /// out if the evaluator states none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chance: Option<f64>,
    /// Identity of the poison: two hashes joined by a dash. The first covers keys, captions, labels
    /// and image sizes of all rows of the data, the held-out rows, the resolved configuration of
    /// the arena's attacks, and every edit. The second covers the pixels of the poisoned rows.
    /// Neither covers clean pixels: two data sets with equal captions, labels and sizes have the
    /// same digest.
    pub poison_digest: String,
    /// Precision of the towers in training.
    pub precision: Precision,
    /// `cpu`, or the model of the GPU.
    pub device: String,
    /// The tier of the suite, and a hash of its keys and the data: lines of two tiers are never
    /// compared. Left out if the suite has no tier.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub tier: String,
    /// The build that measured it; missing in lines of earlier versions.
    #[serde(default, skip_serializing_if = "BuiltBy::is_unknown")]
    pub build: BuiltBy,
}

/// A downstream set as one trial read it, for readers of its scores.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetLine {
    /// Name of the suite.
    pub suite: String,
    /// Arena, defense and seed, joined by slashes.
    pub trial: String,
    /// Its label, as `dataset` of the scores has it.
    pub dataset: String,
    /// Name of the set (`gauntlet data list`).
    pub set: String,
    /// Number of its classes.
    pub classes: usize,
    /// Images of the train split.
    pub fit: usize,
    /// Images of the test split.
    pub test: usize,
    /// A variant that was selected, a class that was left out, a part that is missing.
    pub notes: Vec<String>,
}

/// The rows of the pairs as one trial read them. The counts in `lost` add up to `found` minus
/// `kept`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataLine {
    /// Name of the suite.
    pub suite: String,
    /// Arena, defense and seed, joined by slashes.
    pub trial: String,
    /// Counts of found, kept and lost rows.
    pub rows: Tally,
    /// Rows that would be held out, but whose images are also trained on: they are in neither part.
    #[serde(default, skip_serializing_if = "is_none")]
    pub leaked: usize,
}

fn is_none(count: &usize) -> bool {
    *count == 0
}

/// A library that plugins of one trial were loaded from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LibraryLine {
    /// Name of the suite.
    pub suite: String,
    /// Arena, defense and seed, joined by slashes.
    pub trial: String,
    /// The library.
    pub library: Origin,
}

/// Cost of one trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cost {
    /// Name of the suite.
    pub suite: String,
    /// Arena, defense and seed, joined by slashes.
    pub trial: String,
    /// Wall seconds to open data and poison.
    pub prepare_seconds: f64,
    /// Wall seconds of training, over all resumes.
    pub train_seconds: f64,
    /// Wall seconds of evaluation.
    pub evaluate_seconds: f64,
    /// CPU seconds of this process, all threads.
    pub cpu_seconds: f64,
    /// Rows per second in training; epochs that train nothing are not counted.
    pub samples_per_second: f64,
    /// Rows passed through the model in training; each view of a row counts.
    #[serde(default)]
    pub samples: u64,
    /// Rows that the defense embedded without training on them.
    #[serde(default, rename = "looked_at")]
    pub inference_samples: u64,
    /// Rows that the undefended model was trained on, if the defense needs it. The training is
    /// shared, but each trial counts its full cost.
    #[serde(default)]
    pub undefended_samples: u64,
    /// Wall seconds of that training.
    #[serde(default)]
    pub undefended_seconds: f64,
    /// Peak memory of the process, in bytes.
    pub peak_memory: u64,
    /// Peak memory of tensors on the GPU, in bytes; `None` on the CPU.
    pub peak_device_memory: Option<u64>,
    /// `cpu`, or the model of the GPU.
    pub device: String,
    /// Precision of the towers in training.
    pub precision: Precision,
    /// Whether 32-bit matrix products and convolutions on the GPU may use TF32.
    pub tf32: bool,
    /// Threads of tensor operations.
    pub threads: i32,
    /// Version of gauntlet; empty in lines of earlier versions.
    #[serde(default)]
    pub gauntlet: String,
    /// The commit that it was built from; empty if it was built outside git.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub commit: String,
    /// Whether its sources differed from that commit.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dirty: bool,
    /// Hash of its sources and of its dependencies' versions; empty if unknown.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sources: String,
    /// Number of builds of gauntlet that trained it. More than one if a build resumed another's
    /// checkpoint: then no single build reproduces the training. Left out if it is 1.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub builds: usize,
}

/// For serde: what most lines hold, and what they leave out.
fn one<T: From<u8>>() -> T {
    T::from(1)
}

fn is_one<T: From<u8> + PartialEq>(number: &T) -> bool {
    *number == T::from(1)
}

impl Line {
    /// The trial of the line: arena, defense and seed.
    pub fn trial(&self) -> &str {
        match self {
            Line::Score(line) => &line.trial,
            Line::Set(line) => &line.trial,
            Line::Data(line) => &line.trial,
            Line::Library(line) => &line.trial,
            Line::Cost(line) => &line.trial,
        }
    }
}

impl Cost {
    /// The build that measured it.
    pub fn built_by(&self) -> BuiltBy {
        let Cost { gauntlet, commit, dirty, sources, .. } = self.clone();
        BuiltBy { gauntlet, commit, dirty, sources }
    }

    /// Version of gauntlet and hash of its sources, as text: two builds may have the same version.
    pub fn version(&self) -> String {
        self.built_by().version()
    }

    /// Version, sources and commit as text, for a reader who wants to run it again.
    pub fn build(&self) -> String {
        self.built_by().in_words()
    }
}

/// Writes lines to a file, atomically.
pub fn write_lines(path: &Path, lines: &[Line]) -> Result<()> {
    files::write_lines(path, lines)
}

/// Reads a file of lines. A score of an earlier version has neither role nor build; it gets the role
/// of the definition of the same name, if there is one.
pub fn read_lines(path: &Path) -> Result<Vec<Line>> {
    let mut lines: Vec<Line> = files::read_lines(path)?;
    let mut earlier: Vec<&mut ScoreLine> = lines.iter_mut().filter_map(of_earlier_version).collect();
    if !earlier.is_empty() {
        let roles: HashMap<&str, Option<ScoreRole>> =
            definitions()?.into_iter().map(|(_, definition)| (definition.score, definition.role)).collect();
        earlier.iter_mut().for_each(|line| line.role = roles.get(line.score.as_str()).copied().flatten());
    }
    Ok(lines)
}

/// A score line whose role was not recorded. Today a line without a role is a diagnostic.
fn of_earlier_version(line: &mut Line) -> Option<&mut ScoreLine> {
    match line {
        Line::Score(line) if line.role.is_none() && line.build.is_unknown() => Some(line),
        _ => None,
    }
}
