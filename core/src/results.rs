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
    /// What one trial cost; the only lines that differ from run to run.
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
    /// data, of which it is the held-out part.
    pub dataset: String,
    /// Whether `dataset` is a downstream set.
    #[serde(default)]
    pub downstream: bool,
    /// The number.
    pub value: f64,
    /// What kind of number it is.
    #[serde(default)]
    pub unit: Unit,
    /// What tables and verdicts take it for; left out for most.
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
    /// Which way is better for the defender; none for a diagnostic.
    pub higher_is_better: Option<bool>,
    /// What a guess scores: of accuracy, the share of the commonest class; of a mean per class and
    /// of an attack's success, one class of all; of a rank, the middle one. Where an evaluator
    /// tells none: the share of the zero-shot test's commonest class.
    pub chance: f64,
    /// Identity of the poison, in two halves joined by a dash. The first is a hash of what was read
    /// and what was done to it: keys, captions, labels and image sizes of all rows of the data,
    /// which rows are held out, the resolved configuration of the arena's attacks, and every edit.
    /// The second is a hash of the poisoned rows' pixels. Clean pixels are in neither: two data
    /// sets of the same captions, labels and sizes have one digest.
    pub poison_digest: String,
    /// What the towers computed in while they trained.
    pub precision: Precision,
    /// `cpu`, or the model of the GPU.
    pub device: String,
    /// The tier of the suite, and a hash of its keys and the data: lines of two tiers are never
    /// compared. Left out where there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub tier: String,
    /// The build that measured it; left out in lines that an earlier one wrote.
    #[serde(default, skip_serializing_if = "BuiltBy::is_unknown")]
    pub build: BuiltBy,
}

/// A downstream set as one trial read it: what a reader of its scores must know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetLine {
    /// Name of the suite.
    pub suite: String,
    /// Arena, defense and seed, joined by slashes.
    pub trial: String,
    /// Its label, as `dataset` of the scores has it.
    pub dataset: String,
    /// Which set it is (`gauntlet data list`).
    pub set: String,
    /// Its classes.
    pub classes: usize,
    /// Images of the train split.
    pub fit: usize,
    /// Images of the test split.
    pub test: usize,
    /// A choice among variants, a class left out, a part that is not there.
    pub notes: Vec<String>,
}

/// The rows of the pairs as one trial read them. `found` less `kept` is what `lost` adds up to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataLine {
    /// Name of the suite.
    pub suite: String,
    /// Arena, defense and seed, joined by slashes.
    pub trial: String,
    /// What became of them.
    pub rows: Tally,
    /// Rows that would be held out if their images were not trained on, too: they are in neither part.
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

/// What one trial cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cost {
    /// Name of the suite.
    pub suite: String,
    /// Arena, defense and seed, joined by slashes.
    pub trial: String,
    /// Wall seconds of opening data and poison.
    pub prepare_seconds: f64,
    /// Wall seconds of training, over all the times it was resumed.
    pub train_seconds: f64,
    /// Wall seconds of evaluation.
    pub evaluate_seconds: f64,
    /// CPU seconds of this process, all threads.
    pub cpu_seconds: f64,
    /// Rows a second in training; idle epochs have none.
    pub samples_per_second: f64,
    /// Rows that went through the model in training, each view of a row counted.
    #[serde(default)]
    pub samples: u64,
    /// Rows that the defense had embedded to look at them.
    #[serde(default, rename = "looked_at")]
    pub inference_samples: u64,
    /// Rows that the undefended model was trained on, where the defense needs it; its training is
    /// shared, its price is not.
    #[serde(default)]
    pub undefended_samples: u64,
    /// Wall seconds of that training.
    #[serde(default)]
    pub undefended_seconds: f64,
    /// Most memory the process ever held, in bytes.
    pub peak_memory: u64,
    /// Most bytes that tensors held on the GPU; none on the CPU.
    pub peak_device_memory: Option<u64>,
    /// `cpu`, or the model of the GPU.
    pub device: String,
    /// What the towers computed in while they trained.
    pub precision: Precision,
    /// Whether 32-bit matrix products and convolutions on the GPU could be cut to TF32.
    pub tf32: bool,
    /// Threads of tensor operations.
    pub threads: i32,
    /// Version of gauntlet; empty in lines that an earlier one wrote.
    #[serde(default)]
    pub gauntlet: String,
    /// The commit that it was built from; empty where it was built outside git.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub commit: String,
    /// Whether its sources differed from that commit.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dirty: bool,
    /// Hash of its sources and of the versions of what it was built on; empty where it does not say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sources: String,
    /// Builds of gauntlet that trained it, where it went on from a checkpoint that another one had
    /// left: no build alone trains the same again. Left out where it was one.
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
    /// The trial that it is about: arena, defense and seed.
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

    /// The version of gauntlet and its sources, in words: two of one version may still be two builds.
    pub fn version(&self) -> String {
        self.built_by().version()
    }

    /// The same with the commit, for a reader who wants to run it again.
    pub fn build(&self) -> String {
        self.built_by().in_words()
    }
}

/// Writes lines to a file, all or nothing.
pub fn write_lines(path: &Path, lines: &[Line]) -> Result<()> {
    files::write_lines(path, lines)
}

/// Reads a file of lines. A score of an earlier version, which wrote no role, has that of its
/// definition where this program has one of its name.
pub fn read_lines(path: &Path) -> Result<Vec<Line>> {
    let mut lines: Vec<Line> = files::read_lines(path)?;
    let roles: HashMap<&str, Option<ScoreRole>> =
        definitions()?.into_iter().map(|(_, definition)| (definition.score, definition.role)).collect();
    for line in &mut lines {
        if let Line::Score(line) = line {
            line.role = line.role.or_else(|| roles.get(line.score.as_str()).copied().flatten());
        }
    }
    Ok(lines)
}
