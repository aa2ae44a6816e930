//! A suite: one TOML file, resolved once into a grid of trials (arenas x defenses x seeds). `suite/configure.rs` resolves its plugins,
//! `suite/plan.rs` reckons what they cost, `suite/rehearsal.rs` finds what would fail, `suite/schema.rs` tells editors
//! what such a file may hold.

mod configure;
pub mod plan;
pub mod rehearsal;
mod schema;

pub use schema::schema;

use crate::data::DataConfig;
use crate::defense::Undefended;
use crate::error::from_json;
use crate::evaluator::DownstreamConfig;
use crate::model::ModelConfig;
use crate::plugin::{self, preset};
use crate::train::{self, Recipe};
use crate::trial::{Configured, Trial};
use crate::{Attack, Defense, Error, Evaluator, Result};
use plan::Plan;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
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
    /// Share of every class that is held out to be tested on.
    #[serde(default = "a_tenth")]
    #[schemars(range(min = 0.001, max = 0.9))]
    pub heldout: f64,
    /// Gigabytes (10^9 bytes) that the canvas cache may take on disk; where it would take more, pictures are decoded each time.
    #[serde(default = "hundred")]
    #[schemars(range(min = 0.0))]
    pub cache_gb: f64,
    /// Label of the defense that the others are compared with: the undefended one.
    #[serde(default = "clip")]
    pub baseline: String,
    /// An attack must raise its success on the baseline by this much over the clean arena, or its arena ranks no defense.
    #[serde(default = "gate")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub gate: f64,
    /// A defense whose accuracy falls below this share of the baseline's is marked costly.
    #[serde(default = "costly")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub costly: f64,
    /// The last epoch with poison, to see whether what an attack has taught outlives further clean training: in the epochs after it the suite
    /// leaves the edited rows out, steps and schedule staying as they are. Default: all epochs have poison.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub clean_after: Option<u32>,
    /// `tiny`, `small`, a ResNet or a vision transformer of open_clip's by its name (`RN50`, `RN50-quickgelu`,
    /// `ViT-B-32`, ..; a wrong name lists them all), or a .json file in open_clip's form.
    pub model: String,
    /// Where the pairs come from.
    pub data: DataConfig,
    /// How every model is trained; its own key `preset` names a preset (`gauntlet describe recipe`), beside which keys override.
    #[serde(default)]
    pub recipe: Recipe,
    /// Attacks by label; `plugin` names the plugin where the label does not, `preset` one of its presets, beside which keys override.
    pub attacks: Map<String, Value>,
    /// Arenas by name: labels of the attacks that poison the data together. `clean` (no attack) is always added.
    pub arenas: BTreeMap<String, Vec<String>>,
    /// Defenses by label, in the order of the table's rows. A control names the defense that it controls for: `of = "LABEL"` takes
    /// over every value that both have; of the same plugin it is an ablation, and sets the keys that it changes. `oracle = true` drops the
    /// poison by the truth: what a perfect filter would leave.
    pub defenses: Map<String, Value>,
    /// What is measured, by label; by default everything there is.
    #[serde(default)]
    pub evaluators: Map<String, Value>,
    /// Downstream sets that models are measured on, by label: `[downstream.cifar10]` with the `path` of its folder; `set` names the
    /// set where the label does not (`gauntlet describe downstream`).
    #[serde(default)]
    pub downstream: BTreeMap<String, DownstreamConfig>,
    /// A bundle, as `gauntlet poison make` leaves it: the poison of every arena and seed is read from there instead of being made, and must be
    /// that of this suite's data and attacks. Empty: it is made.
    #[serde(default)]
    pub bundle: PathBuf,
    /// What `--dry-run` reckons with.
    #[serde(default)]
    pub plan: Plan,
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

/// The arena that every suite has: the same goals, no edits. Gives the base rates.
pub const CLEAN: &str = "clean";

impl Suite {
    /// Reads a suite file and applies `settings`, each `dotted.key=value` in TOML's notation (a bare word is a string).
    pub fn read(path: &Path, settings: &[String]) -> Result<Suite> {
        let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
        let file = || path.display().to_string();
        let mut table: toml::Table =
            text.parse().map_err(|e: toml::de::Error| Error::invalid(file(), e.to_string()))?;
        for setting in settings {
            set(&mut table, setting)?;
        }
        // Through JSON, whose numbers and tables are the plugins' own; the error then names the key.
        let mut json = serde_json::to_value(&table).map_err(|e| Error::invalid(file(), e.to_string()))?;
        if let Some(Value::Object(recipe)) = json.get_mut("recipe") {
            let expanded = preset::expand(recipe, &train::preset::presets());
            *recipe = expanded.map_err(|error| error.during(format!("{}: table `recipe`", file())))?;
        }
        let suite: Suite = from_json(json, &file())?;
        suite.check().map_err(|error| error.during(file()))?;
        Ok(suite)
    }

    fn check(&self) -> Result<()> {
        let wrong = |key: &str, why: &str| Err(Error::invalid(format!("key `{key}`"), why));
        let mut seeds = self.seeds.clone();
        seeds.sort_unstable();
        seeds.dedup();
        match () {
            () if self.seeds.is_empty() => wrong("seeds", "needs one seed at least"),
            () if seeds.len() < self.seeds.len() => wrong("seeds", "names a seed twice"),
            () if self.threads < 1 => wrong("threads", "must be at least 1"),
            () if !(0.001..=0.9).contains(&self.heldout) => wrong("heldout", "must lie within 0.001 and 0.9"),
            () if self.cache_gb.is_nan() || self.cache_gb < 0.0 => wrong("cache_gb", "must be 0 or more"),
            () if self.arenas.contains_key(CLEAN) => wrong("arenas", "`clean` is always there and has no attacks"),
            () if self.recipe.batch < 2 => wrong("recipe.batch", "must be at least 2: a loss of one pair says nothing"),
            () if self.recipe.learning_rate.is_nan() || self.recipe.learning_rate <= 0.0 => {
                wrong("recipe.learning_rate", "must be greater than 0")
            }
            () if !self.recipe.betas.iter().all(|beta| (0.0..1.0).contains(beta)) => {
                wrong("recipe.betas", "must lie within 0 and 1, 1 left out")
            }
            () if self.recipe.clip_norm.is_nan() || self.recipe.clip_norm < 0.0 => {
                wrong("recipe.clip_norm", "must be 0 or greater")
            }
            () if self.recipe.epochs < 1 => wrong("recipe.epochs", "must be at least 1"),
            () if self.clean_after.is_some_and(|last| !(1..self.recipe.epochs).contains(&last)) => {
                wrong("clean_after", "must be at least 1 and less than `recipe.epochs`, for clean epochs to follow")
            }
            () if self.is_oracle(&self.baseline) => {
                wrong("baseline", "is an oracle: it knows the truth, and is no defense")
            }
            () => self.check_names(),
        }
    }

    fn check_names(&self) -> Result<()> {
        let known: Vec<String> = self.attacks.keys().cloned().collect();
        for (arena, attacks) in &self.arenas {
            if let Some(name) = attacks.iter().find(|name| !known.contains(name)) {
                let unknown = Error::Unknown { kind: "attack", name: name.clone(), known };
                return Err(unknown.during(format!("arena `{arena}`")));
            }
        }
        let known: Vec<String> = self.defenses.keys().cloned().collect();
        if !known.contains(&self.baseline) {
            let unknown = Error::Unknown { kind: "defense", name: self.baseline.clone(), known };
            return Err(unknown.during("key `baseline`"));
        }
        let twice = self
            .arenas
            .iter()
            .find(|(_, attacks)| attacks.iter().enumerate().any(|(place, attack)| attacks[..place].contains(attack)));
        if let Some((arena, _)) = twice {
            return Err(Error::invalid(format!("arena `{arena}`"), "names an attack twice"));
        }
        let labels = self.defenses.keys().chain(self.attacks.keys()).chain(self.arenas.keys());
        let bad = labels.chain(self.downstream.keys()).find(|name| !is_label(name));
        bad.map_or(Ok(()), |name| {
            Err(Error::invalid(
                format!("label `{name}`"),
                "letters, digits, dash, dot and underscore only: it names a folder; `plugin = \"...\"` names the plugin",
            ))
        })
    }

    /// Every trial of the suite, seed by seed, so that the first seed's table is complete first.
    pub fn trials(&self) -> Result<Vec<Trial>> {
        let model = ModelConfig::named(&self.model)?;
        let attacks = configure::all::<dyn Attack>(&self.attacks)?;
        let defenses = configure::all::<dyn Defense>(&self.defenses)?;
        let evaluators = self.evaluators()?;
        let device = resolve_device(&self.device);
        let clean = (CLEAN.to_string(), Vec::new());
        // Who needs the undefended model comes after whoever leaves it.
        let mut turns = Vec::new();
        for defense in defenses {
            let waits = defense.build::<dyn Defense>()?.needs().undefended != Undefended::Unused;
            turns.push((waits, defense));
        }
        turns.sort_by_key(|(waits, _)| *waits);
        let mut trials = Vec::new();
        for &seed in &self.seeds {
            for (arena, poisoning) in std::iter::once((&clean.0, &clean.1)).chain(&self.arenas) {
                for (_, defense) in &turns {
                    let plugins = attacks.iter().chain([defense]).chain(&evaluators);
                    trials.push(Trial {
                        libraries: plugin::library::used(plugins),
                        suite: self.name.clone(),
                        arena: arena.clone(),
                        seed,
                        device: device.clone(),
                        threads: self.threads,
                        data: self.data.clone(),
                        heldout: self.heldout,
                        cache_gb: self.cache_gb,
                        model: model.clone(),
                        recipe: self.recipe.clone(),
                        attacks: attacks.clone(),
                        poisoning: poisoning.clone(),
                        defense: defense.clone(),
                        clean_after: if self.is_oracle(&defense.label) { Some(0) } else { self.clean_after },
                        evaluators: evaluators.clone(),
                        downstream: self.downstream.clone(),
                        bundle: self.bundle.clone(),
                    });
                }
            }
        }
        trials.first().map_or(Ok(()), Trial::check)?;
        trials.iter().try_for_each(|trial| trial.bundled().map(drop))?;
        Ok(trials)
    }

    /// Whether a row is trained without poison, by the truth.
    pub fn is_oracle(&self, defense: &str) -> bool {
        self.defenses.get(defense).and_then(|row| row.get("oracle")) == Some(&Value::Bool(true))
    }

    /// What the suite names, or everything there is.
    fn evaluators(&self) -> Result<Vec<Configured>> {
        if !self.evaluators.is_empty() {
            return configure::all::<dyn Evaluator>(&self.evaluators);
        }
        let all = plugin::all::<dyn Evaluator>()?;
        let all = all.iter().map(|plugin| (plugin.name.to_string(), Value::Object(Map::new()))).collect();
        configure::all::<dyn Evaluator>(&all)
    }

    /// What a person should know before the suite runs: controls that control for none of its defenses.
    pub fn warnings(&self) -> Result<Vec<String>> {
        configure::stray_controls::<dyn Defense>(&self.defenses)
    }
}

/// Whether a name may become that of a folder.
pub(crate) fn is_label(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    !name.is_empty() && name.chars().all(allowed) && !name.starts_with('.')
}

/// What `auto` means on this machine: `cuda` where there is one, else `cpu`. Every other name is left as it is.
pub fn resolve_device(name: &str) -> String {
    match name {
        "auto" if tch::Cuda::is_available() => "cuda".into(),
        "auto" => "cpu".into(),
        named => named.into(),
    }
}

/// Applies one `dotted.key=value`.
fn set(table: &mut toml::Table, setting: &str) -> Result<()> {
    let wrong = |why: String| Error::invalid(format!("--set {setting}"), why);
    let (key, text) = setting.split_once('=').ok_or_else(|| wrong("must read key=value".into()))?;
    let parsed: Result<toml::Table, _> = format!("value = {text}").parse();
    let value =
        parsed.ok().and_then(|mut table| table.remove("value")).unwrap_or_else(|| toml::Value::String(text.into()));
    let mut parts: Vec<&str> = key.trim().split('.').collect();
    let last = parts.pop().filter(|part| !part.is_empty()).ok_or_else(|| wrong("names no key".into()))?;
    let mut place = table;
    for part in parts {
        let inner = place.entry(part).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        place = inner.as_table_mut().ok_or_else(|| wrong(format!("`{part}` is not a table")))?;
    }
    place.insert(last.to_string(), value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::set;

    #[test]
    fn settings_reach_nested_keys_and_bare_words_are_strings() {
        let mut table: toml::Table = "[recipe]\nepochs = 3".parse().expect("TOML");
        set(&mut table, "recipe.epochs=5").expect("a number");
        set(&mut table, "data.path=some/folder").expect("a bare word");
        assert_eq!(table["recipe"]["epochs"].as_integer(), Some(5));
        assert_eq!(table["data"]["path"].as_str(), Some("some/folder"));
        assert!(set(&mut table, "recipe.epochs.deeper=1").is_err());
    }
}
