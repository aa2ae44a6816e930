//! A suite: one TOML file, resolved once into a grid of trials (arenas x defenses x seeds).
//! `suite/settings.rs` changes single keys, `suite/tier.rs` picks a size of it, `suite/check.rs`
//! looks at its keys and names, `suite/configure.rs` resolves its plugins, `suite/grid.rs` lays out
//! the trials, `suite/plan.rs` estimates what they cost, `suite/rehearsal.rs` finds what would
//! fail, `suite/schema.rs` tells editors what such a file may hold.

mod check;
mod configure;
mod grid;
pub mod plan;
pub mod rehearsal;
mod schema;
mod settings;
mod tier;

pub use schema::schema;

use crate::data::DataConfig;
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

/// A suite as written: the keys of its TOML file.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Suite {
    /// Name of the suite, in every line of its results.
    pub name: String,
    /// Seeds: each is a training of every defense in every arena.
    pub seeds: Vec<u64>,
    /// `auto` (CUDA where there is one), `cpu`, `cuda` or `cuda:N`.
    #[serde(default = "auto")]
    pub device: String,
    /// CPU threads of a trial's tensor operations.
    #[serde(default = "one")]
    pub threads: i32,
    /// Share that is held out to be tested on: of every class where there are labels, else of all
    /// pairs. A source of its own (`validation`) takes its place.
    #[serde(default = "a_tenth")]
    #[schemars(range(min = 0.001, max = 0.9))]
    pub heldout: f64,
    /// Gigabytes (10^9 bytes) that the canvas cache may take on disk; where it would take more,
    /// images are decoded each time.
    #[serde(default = "hundred")]
    #[schemars(range(min = 0.0))]
    pub cache_gb: f64,
    /// Label of the defense that the others are compared with: the undefended one.
    #[serde(default = "clip")]
    pub baseline: String,
    /// An attack must raise its success on the baseline by this much over the clean arena, or its
    /// arena ranks no defense.
    #[serde(default = "gate")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub gate: f64,
    /// A defense whose accuracy falls below this share of the baseline's is marked costly.
    #[serde(default = "costly")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub costly: f64,
    /// The last epoch with poison, to see whether what an attack has taught outlives further clean
    /// training: in the epochs after it the suite leaves the edited rows out, steps and schedule
    /// staying as they are. Default: all epochs have poison.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub clean_after: Option<u32>,
    /// `tiny`, `small`, a ResNet or a vision transformer of open_clip's by its name (`RN50`, `RN50-quickgelu`,
    /// `ViT-B-32`, ..; a wrong name lists them all), or a .json file in open_clip's form.
    pub model: String,
    /// What counts as a model's accuracy, by which rows are marked vacuous or costly. Empty:
    /// zero-shot accuracy on the suite's own labelled held-out rows. A label of `[downstream]`:
    /// that set. `downstream`: the mean over all of them, corrected for chance, over those on which
    /// the undefended baseline without poison beats twice chance.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub accuracy: String,
    /// Where the pairs come from.
    pub data: DataConfig,
    /// The classes that attacks aim at and captions are searched for, where they are named apart
    /// from the data: `imagenet` or another downstream set by name, with CLIP's class names and
    /// prompts, or a class file (.json). Empty: the data's own labels or class file.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub classes: String,
    /// How every model is trained; its own key `preset` names a preset (`gauntlet describe
    /// recipe`), beside which keys override.
    #[serde(default)]
    pub recipe: Recipe,
    /// Attacks by label; `plugin` names the plugin where the label does not, `preset` one of its
    /// presets, beside which keys override.
    pub attacks: Map<String, Value>,
    /// Arenas by name: labels of the attacks that poison the data together. `clean` (no attack) is always added.
    pub arenas: BTreeMap<String, Vec<String>>,
    /// Defenses by label, in the order of the table's rows. A control names the defense that it
    /// controls for: `of = "LABEL"` takes over every value that both have; of the same plugin it is
    /// an ablation, and sets the keys that it changes. `oracle = true` drops the poison by the
    /// truth: what a perfect filter would leave. `weights =
    /// "mine/{arena}/seed-{seed}/model.safetensors"` measures what was trained elsewhere on the
    /// exports of these arenas and seeds; beside each file lies the export's `poison_digest.txt`.
    pub defenses: Map<String, Value>,
    /// What is measured, by label; by default everything there is.
    #[serde(default)]
    pub evaluators: Map<String, Value>,
    /// Downstream sets that models are measured on, by label: `[downstream.cifar10]` with the
    /// `path` of its folder; `set` names the set where the label does not (`gauntlet describe
    /// downstream`).
    #[serde(default)]
    pub downstream: BTreeMap<String, DownstreamConfig>,
    /// A bundle, as `gauntlet poison make` leaves it: the poison of every arena and seed is read
    /// from there instead of being made, and must be that of this suite's data and attacks. Empty:
    /// it is made.
    #[serde(default)]
    pub bundle: PathBuf,
    /// What `--dry-run` estimates with.
    #[serde(default)]
    pub plan: Plan,
    /// Frozen sizes of the same experiment, by name: each table overrides keys of the suite, and
    /// `--tier NAME` picks one. A table that names its own `kind`, `plugin` or `preset` replaces
    /// the one below; `false` leaves a table out. Results of two tiers are never compared.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub tiers: Map<String, Value>,
    /// The tier that was picked: written by gauntlet, not by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<Tier>,
}

/// The plugins and the model of a suite, defaults filled in.
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

/// The value of the key `accuracy` for the mean over its downstream sets.
pub const MEAN: &str = "downstream";

impl Suite {
    /// Reads a suite file and applies `settings`, each `dotted.key=value` in TOML's notation (a bare word is a string).
    pub fn read(path: &Path, settings: &[String]) -> Result<Suite> {
        Suite::read_tier(path, None, settings)
    }

    /// The same at one of its tiers. A setting that changes what results depend on marks the tier as modified.
    pub fn read_tier(path: &Path, tier: Option<&str>, settings: &[String]) -> Result<Suite> {
        let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
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
        // Through JSON, whose numbers and tables are the plugins' own; the error then names the key.
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

    /// Whether a row is trained without poison, by the truth.
    pub fn is_oracle(&self, defense: &str) -> bool {
        self.defenses.get(defense).and_then(|row| row.get("oracle")) == Some(&Value::Bool(true))
    }

    /// Whether a row was trained elsewhere.
    pub fn is_elsewhere(&self, defense: &str) -> bool {
        self.defenses.get(defense).is_some_and(|row| row.get("weights").is_some())
    }

    /// What the suite names, or everything there is.
    fn evaluators(&self) -> Result<Vec<Configured>> {
        if !self.evaluators.is_empty() {
            return configure::all::<dyn Evaluator>(&self.evaluators);
        }
        let all = registry::all::<dyn Evaluator>()?;
        let all = all.iter().map(|plugin| (plugin.name.to_string(), Value::Object(Map::new()))).collect();
        configure::all::<dyn Evaluator>(&all)
    }
}

/// What `auto` means on this machine: `cuda` where there is one, else `cpu`. Every other name is left as it is.
pub fn resolve_device(name: &str) -> String {
    match name {
        "auto" if tch::Cuda::is_available() => "cuda".into(),
        "auto" => "cpu".into(),
        named => named.into(),
    }
}
