//! A trial as stored in `trial.json`: one flat table that includes the arena's keys. The form is
//! fixed: existing trials are stored in it, checkpoints and shared models contain its hash, and
//! other programs read it.

use super::check::is_empty;
use super::{Tier, Trial};
use crate::build::BuiltBy;
use crate::data::DataConfig;
use crate::evaluator::DownstreamConfig;
use crate::model::ModelConfig;
use crate::poison::Arena;
use crate::recipe::Recipe;
use crate::registry::{Configured, Origin, origin};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The order of the keys is part of the hash.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Written {
    suite: String,
    arena: String,
    seed: u64,
    device: String,
    threads: i32,
    data: DataConfig,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    classes: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tier: Option<Tier>,
    heldout: f64,
    cache_gb: f64,
    model: ModelConfig,
    recipe: Recipe,
    attacks: Vec<Configured>,
    poisoning: Vec<String>,
    defense: Configured,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    clean_after: Option<u32>,
    evaluators: Vec<Configured>,
    downstream: BTreeMap<String, DownstreamConfig>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    libraries: Vec<Origin>,
    #[serde(default, skip_serializing_if = "is_empty")]
    bundle: PathBuf,
    #[serde(default, skip_serializing_if = "is_empty")]
    weights: PathBuf,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    weights_blake3: String,
    /// The build that wrote the file. Not part of the trial's identity: another build writes the
    /// same trial.
    #[serde(default, skip_serializing_if = "BuiltBy::is_unknown")]
    build: BuiltBy,
}

impl Written {
    /// The stored form of a trial, with the build that writes it.
    pub fn by(build: BuiltBy, trial: &Trial) -> Written {
        Written { build, ..trial.clone().into() }
    }
}

impl From<Written> for Trial {
    fn from(written: Written) -> Trial {
        let arena = Arena {
            suite: written.suite,
            name: written.arena,
            seed: written.seed,
            data: written.data,
            classes: written.classes,
            size: written.model.vision_cfg.image_size as u32,
            heldout: written.heldout,
            cache_gb: written.cache_gb,
            libraries: origin::among(&written.attacks, &written.libraries),
            attacks: written.attacks,
            poisoning: written.poisoning,
        };
        Trial {
            arena,
            device: written.device,
            threads: written.threads,
            tier: written.tier,
            model: written.model,
            recipe: written.recipe,
            defense: written.defense,
            clean_after: written.clean_after,
            evaluators: written.evaluators,
            downstream: written.downstream,
            libraries: written.libraries,
            bundle: written.bundle,
            weights: written.weights,
            weights_blake3: written.weights_blake3,
        }
    }
}

impl From<Trial> for Written {
    fn from(trial: Trial) -> Written {
        Written {
            suite: trial.arena.suite,
            arena: trial.arena.name,
            seed: trial.arena.seed,
            device: trial.device,
            threads: trial.threads,
            data: trial.arena.data,
            classes: trial.arena.classes,
            tier: trial.tier,
            heldout: trial.arena.heldout,
            cache_gb: trial.arena.cache_gb,
            model: trial.model,
            recipe: trial.recipe,
            attacks: trial.arena.attacks,
            poisoning: trial.arena.poisoning,
            defense: trial.defense,
            clean_after: trial.clean_after,
            evaluators: trial.evaluators,
            downstream: trial.downstream,
            libraries: trial.libraries,
            bundle: trial.bundle,
            weights: trial.weights,
            weights_blake3: trial.weights_blake3,
            build: BuiltBy::default(),
        }
    }
}
