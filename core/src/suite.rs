//! A suite: one TOML file, resolved once into a grid of trials (arenas x defenses x seeds). `suite/configure.rs` resolves its plugins,
//! `suite/tier.rs` picks a size of it, `suite/plan.rs` reckons what they cost, `suite/rehearsal.rs` finds what would fail, `suite/schema.rs` tells
//! editors what such a file may hold.

mod configure;
pub mod plan;
pub mod rehearsal;
mod schema;
mod tier;

pub use schema::schema;

use crate::data::DataConfig;
use crate::defense::Undefended;
use crate::error::from_json;
use crate::evaluator::DownstreamConfig;
use crate::model::ModelConfig;
use crate::poison::{Arena, CLEAN};
use crate::recipe::{self, Recipe};
use crate::registry::{self, Configured, is_label, origin, preset};
use crate::trial::{self, Tier, Trial};
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
    /// Share that is held out to be tested on: of every class where there are labels, else of all pairs. A source of its own (`validation`) takes
    /// its place.
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
    /// What counts as a model's accuracy, by which rows are marked vacuous or costly. Empty: zero-shot accuracy on the suite's own labelled
    /// held-out rows. A label of `[downstream]`: that set. `downstream`: the mean over all of them, corrected for chance, over those
    /// on which the undefended baseline without poison beats twice chance.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub accuracy: String,
    /// Where the pairs come from.
    pub data: DataConfig,
    /// The classes that attacks aim at and captions are searched for, where they are named apart from the data: `imagenet` or another
    /// downstream set by name, with CLIP's class names and prompts, or a class file (.json). Empty: the data's own labels or class file.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub classes: String,
    /// How every model is trained; its own key `preset` names a preset (`gauntlet describe recipe`), beside which keys override.
    #[serde(default)]
    pub recipe: Recipe,
    /// Attacks by label; `plugin` names the plugin where the label does not, `preset` one of its presets, beside which keys override.
    pub attacks: Map<String, Value>,
    /// Arenas by name: labels of the attacks that poison the data together. `clean` (no attack) is always added.
    pub arenas: BTreeMap<String, Vec<String>>,
    /// Defenses by label, in the order of the table's rows. A control names the defense that it controls for: `of = "LABEL"` takes
    /// over every value that both have; of the same plugin it is an ablation, and sets the keys that it changes. `oracle = true` drops the
    /// poison by the truth: what a perfect filter would leave. `weights = "mine/{arena}/seed-{seed}/model.safetensors"` measures what was trained
    /// elsewhere on the exports of these arenas and seeds; beside each file lies the export's `poison_digest.txt`.
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
    /// Frozen sizes of the same experiment, by name: each table overrides keys of the suite, and `--tier NAME` picks one. A table that names
    /// its own `kind`, `plugin` or `preset` replaces the one below; `false` leaves a table out. Results of two tiers are never compared.
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

/// The evaluator that measures downstream sets.
pub const MEASURED_BY: &str = "downstream-zero-shot";

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
        if !self.accuracy.is_empty() && self.downstream.is_empty() {
            let set = if self.accuracy == MEAN { "LABEL" } else { &self.accuracy };
            let why = format!(
                "is `{}`, and the suite has no downstream set: add a table [downstream.{set}] with its path",
                self.accuracy
            );
            return Err(Error::invalid("key `accuracy`", why));
        }
        let known: Vec<String> = self.downstream.keys().map(String::clone).chain([MEAN.into()]).collect();
        if !self.accuracy.is_empty() && !known.contains(&self.accuracy) {
            let unknown = Error::Unknown { kind: "table [downstream.LABEL]", name: self.accuracy.clone(), known };
            return Err(unknown.during("key `accuracy`"));
        }
        let measures = |(label, table): (&String, &Value)| {
            table.get("plugin").and_then(Value::as_str).unwrap_or(label) == MEASURED_BY
        };
        if !self.accuracy.is_empty() && !self.evaluators.is_empty() && !self.evaluators.iter().any(measures) {
            let why = format!("is measured by `{}`, which `[evaluators]` does not name", MEASURED_BY);
            return Err(Error::invalid("key `accuracy`", why));
        }
        for (label, table) in &self.defenses {
            let pattern = table.get("weights").and_then(Value::as_str).unwrap_or_default();
            let rest = pattern.replace("{arena}", "").replace("{seed}", "");
            if rest.contains(['{', '}']) {
                let why = format!("`{pattern}`: only {{arena}} and {{seed}} stand for something");
                return Err(Error::invalid(format!("key `defenses.{label}.weights`"), why));
            }
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
        let Resolved { model, attacks, defenses, evaluators } = self.resolve()?;
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
                    let weights = self.weights(&defense.label, arena, seed).unwrap_or_default();
                    // What is not there yet is told by `warnings`, and left out.
                    if !weights.as_os_str().is_empty() && !weights.is_file() {
                        continue;
                    }
                    let weights_blake3 =
                        if weights.as_os_str().is_empty() { String::new() } else { trial::hash_of(&weights)? };
                    let plugins = attacks.iter().chain([defense]).chain(&evaluators);
                    trials.push(Trial {
                        libraries: origin::used(plugins),
                        arena: Arena {
                            suite: self.name.clone(),
                            name: arena.clone(),
                            seed,
                            data: self.data.clone(),
                            classes: self.classes.clone(),
                            size: model.vision_cfg.image_size as u32,
                            heldout: self.heldout,
                            cache_gb: self.cache_gb,
                            attacks: attacks.clone(),
                            poisoning: poisoning.clone(),
                            libraries: origin::used(&attacks),
                        },
                        device: device.clone(),
                        threads: self.threads,
                        tier: self.tier.clone(),
                        model: model.clone(),
                        recipe: self.recipe.clone(),
                        defense: defense.clone(),
                        clean_after: if self.is_oracle(&defense.label) { Some(0) } else { self.clean_after },
                        evaluators: evaluators.clone(),
                        downstream: self.downstream.clone(),
                        bundle: self.bundle.clone(),
                        weights,
                        weights_blake3,
                    });
                }
            }
        }
        if trials.is_empty() {
            return Err(Error::invalid(
                "defenses",
                "no weights of those that were trained elsewhere are there, and there is nothing else",
            ));
        }
        trials.first().map_or(Ok(()), Trial::check)?;
        trials.iter().try_for_each(|trial| trial.bundled().map(drop))?;
        Ok(trials)
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

    /// Where the weights of a row lie that was trained elsewhere.
    fn weights(&self, defense: &str, arena: &str, seed: u64) -> Option<PathBuf> {
        let pattern = self.defenses.get(defense)?.get("weights")?.as_str()?;
        Some(pattern.replace("{arena}", arena).replace("{seed}", &seed.to_string()).into())
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

    /// What a person should know before the suite runs: controls that control for none of its defenses.
    pub fn warnings(&self) -> Result<Vec<String>> {
        let mut warnings = configure::stray_controls::<dyn Defense>(&self.defenses)?;
        let arenas = || std::iter::once(CLEAN).chain(self.arenas.keys().map(String::as_str));
        for defense in self.defenses.keys().filter(|defense| self.is_elsewhere(defense)) {
            let files = self.seeds.iter().flat_map(|seed| arenas().map(|arena| self.weights(defense, arena, *seed)));
            let missing: Vec<PathBuf> = files.flatten().filter(|file| !file.is_file()).collect();
            if let Some(first) = missing.first() {
                let (count, all) = (missing.len(), self.seeds.len() * (self.arenas.len() + 1));
                warnings.push(format!(
                    "defense `{defense}`: {count} of its {all} files of weights are not there, the first {}; their trials are left out",
                    first.display()
                ));
            }
        }
        Ok(warnings)
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

/// Applies one `dotted.key=value`.
fn set(table: &mut toml::Table, setting: &str) -> Result<()> {
    let wrong = |why: String| Error::invalid(format!("--set {setting}"), why);
    let (key, text) = setting.split_once('=').ok_or_else(|| wrong("must read key=value".into()))?;
    let parsed: Result<toml::Table, _> = format!("value = {text}").parse();
    let value =
        parsed.ok().and_then(|mut table| table.remove("value")).unwrap_or_else(|| toml::Value::String(text.into()));
    let mut parts = path(key.trim());
    let last = parts.pop().filter(|part| !part.is_empty()).ok_or_else(|| wrong("names no key".into()))?;
    let mut place = table;
    for part in parts {
        let inner = place.entry(&part).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        place = inner.as_table_mut().ok_or_else(|| wrong(format!("`{part}` is not a table")))?;
    }
    place.insert(last, value);
    Ok(())
}

/// The parts of a dotted key, some of them perhaps in quotes, which TOML needs around all that is no letter, digit, dash or underscore.
fn path(key: &str) -> Vec<String> {
    let parsed: Result<toml::Table, _> = format!("{key} = 0").parse();
    let Ok(mut table) = parsed else { return key.split('.').map(str::to_string).collect() };
    let mut parts = Vec::new();
    while let Some((part, inner)) = table.into_iter().next() {
        parts.push(part);
        table = if let toml::Value::Table(inner) = inner { inner } else { toml::Table::new() };
    }
    parts
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
        set(&mut table, "downstream.\"a.b/c\".path=folder").expect("a key in quotes");
        assert_eq!(table["downstream"]["a.b/c"]["path"].as_str(), Some("folder"));
        set(&mut table, "attacks.mine/frame.size=3").expect("a key that TOML would have in quotes");
        assert_eq!(table["attacks"]["mine/frame"]["size"].as_integer(), Some(3));
    }
}
