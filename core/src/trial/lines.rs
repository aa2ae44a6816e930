//! The result lines of a trial.

use super::Trial;
use crate::Result;
use crate::build::BuiltBy;
use crate::data::files::read_whole_lines;
use crate::data::{BadRow, DataConfig, Dataset};
use crate::evaluator::{Definition, Downstream, EvalContext, Score};
use crate::registry::Origin;
use crate::results::{Cost, DataLine, LibraryLine, Line, ScoreLine, SetLine};
use crate::train::Trained;
use std::path::Path;
use tch::Device;

impl Line {
    /// A score of a trial.
    pub fn score(
        trial: &Trial,
        evaluator: &str,
        score: Score,
        definition: &Definition,
        ctx: &EvalContext,
        device: &str,
    ) -> Line {
        let own = match &trial.arena.data {
            DataConfig::World(_) => "world",
            DataConfig::Webdataset(_) => "webdataset",
            DataConfig::Csv(_) => "csv",
            DataConfig::Labelled(_) => "labelled",
        };
        let prepared = ctx.attacks.iter().find(|prepared| Some(&prepared.label) == score.attack.as_ref());
        Line::Score(ScoreLine {
            adapted_to: prepared.map(|prepared| prepared.attack.adapted_to()).unwrap_or_default(),
            suite: trial.arena.suite.clone(),
            trial: trial.name(),
            arena: trial.arena.name.clone(),
            attack: score.attack,
            defense: trial.defense.label.clone(),
            seed: trial.arena.seed,
            evaluator: evaluator.to_string(),
            score: score.score.to_string(),
            downstream: score.dataset.is_some(),
            dataset: score.dataset.unwrap_or_else(|| own.to_string()),
            value: score.value,
            unit: definition.unit,
            role: definition.role,
            version: definition.version,
            n: score.n,
            low: score.interval[0],
            high: score.interval[1],
            higher_is_better: definition.higher_is_better,
            chance: score.chance,
            poison_digest: ctx.poison.digest.clone(),
            precision: trial.recipe.precision,
            device: device.to_string(),
            tier: trial
                .tier
                .as_ref()
                .map(|tier| tier.of_data(&ctx.data.index.digest, ctx.downstream))
                .unwrap_or_default(),
            build: BuiltBy::this(),
        })
    }
}

impl SetLine {
    /// A set of a trial.
    pub fn new(trial: &Trial, downstream: &Downstream) -> SetLine {
        let set = &downstream.set;
        SetLine {
            suite: trial.arena.suite.clone(),
            trial: trial.name(),
            dataset: downstream.label.clone(),
            set: set.name.to_string(),
            classes: set.classes.len(),
            fit: set.fit.len(),
            test: set.test.len(),
            notes: set.notes.clone(),
        }
    }
}

impl DataLine {
    /// Statistics of a trial's rows; `folder` is the trial's own, in which training lists images
    /// that could not be decoded.
    pub fn new(trial: &Trial, data: &Dataset, leaked: usize, folder: &Path) -> Result<DataLine> {
        let met: Vec<BadRow> = read_whole_lines(&folder.join("bad_rows.jsonl"))?;
        Ok(DataLine { suite: trial.arena.suite.clone(), trial: trial.name(), rows: data.tally(&met), leaked })
    }
}

impl LibraryLine {
    /// A library of a trial.
    pub fn new(trial: &Trial, library: &Origin) -> LibraryLine {
        LibraryLine { suite: trial.arena.suite.clone(), trial: trial.name(), library: library.clone() }
    }
}

impl Cost {
    /// Cost of a trial in this process.
    pub fn measured(
        trial: &Trial,
        prepare_seconds: f64,
        trained: &Trained,
        evaluate_seconds: f64,
        device: Device,
    ) -> Result<Cost> {
        let BuiltBy { gauntlet, commit, dirty, sources } = BuiltBy::this();
        Ok(Cost {
            suite: trial.arena.suite.clone(),
            trial: trial.name(),
            prepare_seconds,
            train_seconds: trained.seconds,
            evaluate_seconds,
            cpu_seconds: cpu_seconds(),
            samples: trained.samples,
            inference_samples: trained.inference_samples,
            undefended_samples: trained.undefended.samples,
            undefended_seconds: trained.undefended.seconds,
            samples_per_second: if trained.seconds > 0.0 { trained.rows as f64 / trained.seconds } else { 0.0 },
            peak_memory: peak_memory(),
            peak_device_memory: gauntlet_torch::peak_device_memory(device)?,
            device: gauntlet_torch::device_name(device)?,
            precision: trial.recipe.precision,
            tf32: gauntlet_torch::allows_tf32()?,
            threads: trial.threads,
            gauntlet,
            commit,
            dirty,
            sources,
            builds: trained.builds.max(1),
        })
    }
}

/// `VmHWM` of this process in bytes; 0 if the system does not report it.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// User and system seconds of this process, from the kernel's clock of 100 ticks a second; 0 if the
/// system does not report them.
pub fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    after_name.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}
