//! A suite: one TOML file, resolved once into a grid of trials (arenas x defenses x seeds).
//! `suite/settings.rs` overrides single keys, `suite/tier.rs` selects a tier, `suite/check.rs`
//! checks keys and names, `suite/configure.rs` resolves plugins, `suite/grid.rs` lists the trials,
//! `suite/plan.rs` estimates their cost, `suite/rehearsal.rs` finds trials that would fail,
//! `suite/schema.rs` writes the JSON schema for editors.

mod check;
mod configure;
mod grid;
pub mod plan;
pub mod rehearsal;
mod schema;
mod settings;
mod tier;

pub use schema::schema;

use crate::data::{DataConfig, regular};
use crate::error::from_json;
use crate::evaluator::DownstreamConfig;
use crate::model::ModelConfig;
use crate::recipe::{self, Recipe};
use crate::registry::{self, Configured, preset};
use crate::trial::Tier;
use crate::{Attack, Defense, Error, Evaluator, Result};
use plan::Plan;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use settings::set;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A suite file: the keys of its TOML file.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Suite {
    /// Name of the suite; every result line carries it.
    pub name: String,
    /// Seeds. Every defense is trained once per arena and seed.
    pub seeds: Vec<u64>,
    /// `auto` (CUDA if available, else CPU), `cpu`, `cuda` or `cuda:N`.
    #[serde(default = "auto")]
    pub device: String,
    /// CPU threads for the tensor operations of one trial.
    #[serde(default = "one")]
    pub threads: i32,
    /// Share of the data that is held out for testing: of each class if the data has labels, else
    /// of all pairs. Ignored if the data names a separate validation source (`validation`).
    #[serde(default = "a_tenth")]
    #[schemars(range(min = 0.001, max = 0.9))]
    pub heldout: f64,
    /// Maximum size of the canvas cache on disk, in gigabytes (10^9 bytes). If the cache would be
    /// larger, images are decoded each time they are read.
    #[serde(default = "hundred")]
    #[schemars(range(min = 0.0))]
    pub cache_gb: f64,
    /// Label of the undefended defense that the others are compared with.
    #[serde(default = "clip")]
    pub baseline: String,
    /// Minimum increase of an attack's success on the baseline over the clean arena. An arena below
    /// it ranks no defenses.
    #[serde(default = "gate")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub gate: f64,
    /// A defense whose accuracy falls below this share of the baseline's is marked costly.
    #[serde(default = "costly")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub costly: f64,
    /// The last epoch with poison. In later epochs the suite leaves out the edited rows; steps and
    /// schedule stay the same. It shows whether the effect of an attack survives further clean
    /// training. Default: all epochs have poison.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub clean_after: Option<u32>,
    /// `tiny`, `small`, the name of a ResNet or vision transformer of open_clip (`RN50`,
    /// `RN50-quickgelu`, `ViT-B-32`, ..; an unknown name lists them all), or a .json file in
    /// open_clip's format.
    pub model: String,
    /// The accuracy that marks a row as vacuous or costly. Empty: zero-shot accuracy on the suite's
    /// own labelled held-out rows. A label of `[downstream]`: accuracy on that set. `downstream`:
    /// the mean over the downstream sets, corrected for chance; only sets count on which the
    /// undefended baseline without poison scores more than twice chance.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub accuracy: String,
    /// Source of the image-caption pairs.
    pub data: DataConfig,
    /// The classes that attacks target and that captions are searched for, if they are named apart
    /// from the data: `imagenet` or another downstream set by name, with CLIP's class names and
    /// prompts, or a class file (.json). Empty: the data's own labels or class file.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub classes: String,
    /// How every model is trained. `preset` names a preset (`gauntlet describe recipe`); other keys
    /// override its values.
    #[serde(default)]
    pub recipe: Recipe,
    /// Attacks by label. `plugin` names the plugin if the label does not; `preset` names one of its
    /// presets, and other keys override its values.
    pub attacks: Map<String, Value>,
    /// Arenas by name, each with the labels of the attacks that poison the data together. `clean`
    /// (no attack) is always added.
    pub arenas: BTreeMap<String, Vec<String>>,
    /// Defenses by label, in the order of the rows in tables. A control names the defense that it
    /// controls for: `of = "LABEL"` copies the value of every key that both have. With the same
    /// plugin the row is an ablation, and its own keys are the changes. `oracle = true` removes the
    /// poison by the ground truth, as a perfect filter would. `weights =
    /// "mine/{arena}/seed-{seed}/model.safetensors"` measures models that were trained elsewhere on
    /// the exports of these arenas and seeds; each file must have the export's `poison_digest.txt`
    /// next to it.
    pub defenses: Map<String, Value>,
    /// Evaluators by label. Default: every registered evaluator.
    #[serde(default)]
    pub evaluators: Map<String, Value>,
    /// Downstream sets to measure models on, by label: `[downstream.cifar10]` with the `path` of
    /// its folder. `set` names the set if the label does not (`gauntlet describe downstream`).
    #[serde(default)]
    pub downstream: BTreeMap<String, DownstreamConfig>,
    /// A bundle written by `gauntlet poison make`. The poison of every arena and seed is read from
    /// it instead of being made, and must match this suite's data and attacks. Empty: the poison is
    /// made.
    #[serde(default)]
    pub bundle: PathBuf,
    /// Assumptions of the `--dry-run` estimate.
    #[serde(default)]
    pub plan: Plan,
    /// Frozen sizes of the same experiment, by name. Each table overrides keys of the suite;
    /// `--tier NAME` selects one. A table that sets `kind`, `plugin` or `preset` replaces the
    /// suite's table instead of merging with it; `false` removes a table. Results of two tiers are
    /// never compared.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub tiers: Map<String, Value>,
    /// The selected tier. Written by gauntlet; do not set it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<Tier>,
}

/// The plugins and the model of a suite, completed with defaults.
struct Resolved {
    model: ModelConfig,
    attacks: Vec<Configured>,
    defenses: Vec<Configured>,
    evaluators: Vec<Configured>,
}

fn auto() -> String {
    "auto".into()
}
fn one() -> i32 {
    1
}
fn a_tenth() -> f64 {
    0.1
}
fn hundred() -> f64 {
    100.0
}
fn clip() -> String {
    "clip".into()
}
fn gate() -> f64 {
    0.2
}
fn costly() -> f64 {
    0.9
}

/// The value of the key `accuracy` that selects the mean over the downstream sets.
pub const MEAN: &str = "downstream";

impl Suite {
    /// Reads a suite file and applies `settings`, each `dotted.key=value` in TOML's notation (a
    /// bare word is a string).
    pub fn read(path: &Path, settings: &[String]) -> Result<Suite> {
        Suite::read_tier(path, None, settings)
    }

    /// [`read`](Suite::read) at one of the suite's tiers. A setting that results depend on marks
    /// the tier as modified.
    pub fn read_tier(path: &Path, tier: Option<&str>, settings: &[String]) -> Result<Suite> {
        let text = regular::read_to_string(path, regular::WRITTEN).map_err(Error::io(path))?;
        let file = || path.display().to_string();
        let mut table: toml::Table =
            text.parse().map_err(|e: toml::de::Error| Error::invalid(file(), e.to_string()))?;
        tier::pick(&mut table, tier).map_err(|error| error.during(file()))?;
        let mut as_written = table.clone();
        for setting in settings {
            set(&mut table, setting)?;
            if tier::is_place(setting) {
                set(&mut as_written, setting)?;
            }
        }
        if let Some(key) = ["tier", "tiers"].into_iter().find(|key| table.contains_key(*key)) {
            let why = "cannot be set: change the tables [tiers.NAME] of the file; --tier picks one";
            return Err(Error::invalid(format!("key `{key}`"), why).during(file()));
        }
        let mut suite = Suite::of_table(table, path)?;
        if let Some(name) = tier {
            let [keys, all] = suite.frozen()?;
            let modified = Suite::of_table(as_written, path)?.frozen()?[1] != all;
            suite.tier = Some(Tier { name: name.into(), keys, modified });
        }
        Ok(suite)
    }

    fn of_table(table: toml::Table, path: &Path) -> Result<Suite> {
        let file = || path.display().to_string();
        // Through JSON, the form in which plugins read numbers and tables; the error then names the
        // key.
        let mut json = serde_json::to_value(&table).map_err(|e| Error::invalid(file(), e.to_string()))?;
        if let Some(Value::Object(recipe)) = json.get_mut("recipe") {
            let expanded = preset::expand(recipe, &recipe::preset::presets());
            *recipe = expanded.map_err(|error| error.during(format!("{}: table `recipe`", file())))?;
        }
        let suite: Suite = from_json(json, &file())?;
        suite.check().map_err(|error| error.during(file()))?;
        Ok(suite)
    }

    fn resolve(&self) -> Result<Resolved> {
        Ok(Resolved {
            model: ModelConfig::named(&self.model)?,
            attacks: configure::all::<dyn Attack>(&self.attacks)?,
            defenses: configure::all::<dyn Defense>(&self.defenses)?,
            evaluators: self.evaluators()?,
        })
    }

    /// Whether a row is trained without poison, which the ground truth identifies.
    pub fn is_oracle(&self, defense: &str) -> bool {
        self.defenses.get(defense).and_then(|row| row.get("oracle")) == Some(&Value::Bool(true))
    }

    /// Whether a row was trained elsewhere.
    pub fn is_elsewhere(&self, defense: &str) -> bool {
        self.defenses.get(defense).is_some_and(|row| row.get("weights").is_some())
    }

    /// The suite's evaluators; if it names none, every registered evaluator.
    fn evaluators(&self) -> Result<Vec<Configured>> {
        if !self.evaluators.is_empty() {
            return configure::all::<dyn Evaluator>(&self.evaluators);
        }
        let all = registry::all::<dyn Evaluator>()?;
        let all = all.iter().map(|plugin| (plugin.name.to_string(), Value::Object(Map::new()))).collect();
        configure::all::<dyn Evaluator>(&all)
    }
}

/// Resolves `auto` on this machine: `cuda` if available, else `cpu`. Returns every other name
/// unchanged.
pub fn resolve_device(name: &str) -> String {
    match name {
        "auto" if tch::Cuda::is_available() => "cuda".into(),
        "auto" => "cpu".into(),
        named => named.into(),
    }
}
