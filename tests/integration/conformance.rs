//! The requirements of every registered plugin: `gauntlet::conformance`, called as by a plugin
//! author. A new plugin is tested once it is registered and its name is added to [`NAMES`].

use gauntlet::conformance::Conformance;
use gauntlet::model::{Clip, ModelConfig};
use gauntlet::registry::{self, Plugin, Role};
use gauntlet::tch::Device;
use gauntlet::{Attack, Defense, Evaluator};
use serde_json::{Map, Value, json};
use std::collections::HashSet;
use std::path::Path;

/// The plugins that ship, by role: if one is missing, the linker dropped it.
const NAMES: [&[&str]; 3] = [
    &[
        "badclip",
        "badnet",
        "blended",
        "dual-key",
        "mm-poison",
        "multi-trigger",
        "nashville",
        "precomputed",
        "roclip-adaptive",
        "sig",
        "stripes",
        "targeted",
        "text-trigger",
        "wanet",
    ],
    &[
        "augmentation-control",
        "cleanclip",
        "clip",
        "clip-score",
        "dao",
        "exposure-control",
        "fine-tune",
        "local-outlier",
        "roclip",
        "safeclip",
        "strip",
    ],
    &[
        "attack-success",
        "downstream-attack-success",
        "downstream-zero-shot",
        "filtering",
        "linear-probe",
        "pool-matches",
        "rejection",
        "retrieval",
        "trajectory",
        "zero-shot",
    ],
];

fn plugins<T: Role + ?Sized>() -> Vec<&'static Plugin<T>> {
    gauntlet_attacks::link();
    gauntlet_defenses::link();
    gauntlet_evaluators::link();
    registry::all::<T>().unwrap()
}

/// The checks, and the settings that plugins need in addition to their defaults.
fn conformance() -> Conformance {
    assert!(!plugins::<dyn Attack>().is_empty());
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/precomputed");
    let weights =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("surrogate-{:?}.safetensors", std::thread::current().id()));
    Clip::new(&ModelConfig::named("tiny").unwrap(), 0, Device::Cpu).unwrap().weights.save(&weights).unwrap();
    let surrogate = json!({ "weights": weights, "model": "tiny", "size": 8, "samples": 64, "epochs": 1 });
    let precomputed = json!({ "folder": folder, "target": "blorn" });
    let tuning = json!({ "clean_pairs": 0.5, "epochs": 3, "warmup_steps": 2 });
    Conformance::default()
        .with("precomputed", precomputed)
        .with("badclip", surrogate)
        .with("fine-tune", tuning.clone())
        .with("cleanclip", tuning)
}

const NOTHING: [String; 0] = [];

#[test]
fn every_plugin_that_ships_is_registered_under_a_name_of_its_own() {
    fn names<T: Role + ?Sized>() -> Vec<&'static str> {
        plugins::<T>().iter().map(|plugin| plugin.name).collect()
    }
    let names = [names::<dyn Attack>(), names::<dyn Defense>(), names::<dyn Evaluator>()];
    assert_eq!(names, NAMES);
    // `gauntlet describe NAME` also accepts these.
    let parts = ["suite", "recipe", "downstream", "world", "webdataset", "csv"];
    let all: Vec<&str> = names.iter().flatten().copied().chain(parts).collect();
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len(), "a name means one thing: {all:?}");
}

#[test]
fn every_plugin_tells_what_it_is_and_what_its_fields_mean() {
    assert_eq!(conformance().words(), NOTHING);
}

#[test]
fn defaults_round_trip_and_a_key_that_does_not_exist_is_refused() {
    assert_eq!(conformance().configurations(), NOTHING);
}

#[test]
fn every_preset_is_complete_and_says_its_sources() {
    assert_eq!(conformance().presets(), NOTHING);
    let presets = |defense: &Plugin<dyn Defense>| registry::presets(defense).len();
    assert_eq!(plugins::<dyn Defense>().into_iter().map(presets).sum::<usize>(), 2, "and RoCLIP has two");
}

#[test]
fn every_attack_is_a_function_of_its_seed() {
    assert_eq!(conformance().attacks(), NOTHING);
}

#[test]
fn every_defense_trains_and_repeats_its_steps_bit_for_bit() {
    assert_eq!(conformance().defenses(), NOTHING);
}

#[test]
fn every_evaluator_measures_what_it_defines() {
    assert_eq!(conformance().evaluators(), NOTHING);
}

#[test]
fn a_typo_is_refused_with_a_guess() {
    fn check<T: Role + ?Sized>() {
        for plugin in plugins::<T>() {
            let full: Map<String, Value> = serde_json::from_str(&(plugin.defaults)()).unwrap();
            for (key, value) in &full {
                let typo = format!("{}x{}", &key[..key.len() - 1], &key[key.len() - 1..]);
                let error = registry::resolve(plugin, &Map::from_iter([(typo.clone(), value.clone())])).unwrap_err();
                let message = error.chain();
                let schema: Value = serde_json::from_str(&(plugin.schema)()).unwrap();
                let keys = schema["properties"].as_object().unwrap().keys();
                let known = keys.map(String::as_str).collect::<Vec<_>>().join(", ");
                let (guess, there) = (format!("did you mean `{key}`?"), format!("(there are: {known})"));
                for part in [T::KIND, plugin.name, &typo, &guess, &there] {
                    assert!(message.contains(part), "{part:?} is not in: {message}");
                }
            }
        }
    }
    check::<dyn Attack>();
    check::<dyn Defense>();
    check::<dyn Evaluator>();
}
