//! What every registered plugin must hold, whoever wrote it: a new plugin is tested by being registered, once its name is added
//! to [`NAMES`].

use crate::program::{trial, world_suite};
use gauntlet::data::world::World;
use gauntlet::data::{DataConfig, Dataset};
use gauntlet::plugin::{self, Plugin, Role};
use gauntlet::poison::{Poison, Threat};
use gauntlet::progress::Silent;
use gauntlet::tch::{Kind, Tensor};
use gauntlet::train::Machine;
use gauntlet::trial::Configured;
use gauntlet::{Attack, Defense, Evaluator};
use serde_json::{Map, Value, json};
use std::collections::HashSet;
use std::sync::atomic::AtomicBool;

/// The plugins that ship, by role: one that is missing was dropped by the linker.
const NAMES: [&[&str]; 3] = [
    &["badnet", "blended", "multi-trigger", "nashville", "sig", "stripes", "targeted", "wanet"],
    &["augmentation-control", "clip", "exposure-control", "roclip"],
    &[
        "attack-success",
        "downstream-attack-success",
        "downstream-zero-shot",
        "linear-probe",
        "pool-matches",
        "retrieval",
        "trajectory",
        "zero-shot",
    ],
];

fn plugins<T: Role + ?Sized>() -> Vec<&'static Plugin<T>> {
    gauntlet_attacks::link();
    gauntlet_defenses::link();
    gauntlet_evaluators::link();
    plugin::all::<T>().unwrap()
}

fn defaults<T: ?Sized>(plugin: &Plugin<T>) -> Map<String, Value> {
    serde_json::from_str(&(plugin.defaults)()).unwrap()
}

/// A plugin as a suite that sets nothing would have it.
fn configured<T: ?Sized>(plugin: &Plugin<T>) -> Configured {
    Configured { label: plugin.name.into(), plugin: plugin.name.into(), config: defaults(plugin) }
}

#[test]
fn every_plugin_that_ships_is_registered_under_a_name_of_its_own() {
    fn names<T: Role + ?Sized>() -> Vec<&'static str> {
        plugins::<T>().iter().map(|plugin| plugin.name).collect()
    }
    let names = [names::<dyn Attack>(), names::<dyn Defense>(), names::<dyn Evaluator>()];
    assert_eq!(names, NAMES);
    // `gauntlet describe NAME` takes these, too.
    let parts = ["suite", "recipe", "downstream", "world", "webdataset", "csv"];
    let all: Vec<&str> = names.iter().flatten().copied().chain(parts).collect();
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len(), "a name means one thing: {all:?}");
}

#[test]
fn every_plugin_tells_what_it_is_and_what_its_fields_mean() {
    fn check<T: Role + ?Sized>() {
        for plugin in plugins::<T>() {
            let (name, summary) = (plugin.name, plugin.summary);
            let word = |word: &str| {
                word.starts_with(|c: char| c.is_ascii_lowercase())
                    && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
            };
            assert!(name.split('-').all(word), "`{name}` is not kebab-case");
            assert!((10..150).contains(&summary.len()) && !summary.contains('\n'), "{name}: not a line: {summary:?}");
            let schema: Value = serde_json::from_str(&(plugin.schema)()).unwrap();
            let helpless = helpless(&schema, name);
            assert!(helpless.is_empty(), "without a doc comment: {helpless:?}");
            let documented: Vec<&String> = schema["properties"].as_object().into_iter().flat_map(Map::keys).collect();
            assert_eq!(documented, defaults(plugin).keys().collect::<Vec<_>>(), "{name}: schema and defaults differ");
        }
    }
    check::<dyn Attack>();
    check::<dyn Defense>();
    check::<dyn Evaluator>();
}

/// Fields and choices without a description, anywhere in a schema.
fn helpless(schema: &Value, place: &str) -> Vec<String> {
    let Some(object) = schema.as_object() else {
        return schema.as_array().into_iter().flatten().flat_map(|inner| helpless(inner, place)).collect();
    };
    let lacks = |value: &Value| value["description"].as_str().is_none_or(|help| help.trim().is_empty());
    let fields = schema["properties"].as_object().into_iter().flatten();
    let choices = schema["oneOf"].as_array().into_iter().flatten().filter(|choice| choice["const"].is_string());
    let fields = fields.filter(|(_, field)| lacks(field)).map(|(key, _)| format!("{place}/{key}"));
    let choices = choices.filter(|choice| lacks(choice)).map(|choice| format!("{place}/{}", choice["const"]));
    let inner = object.iter().flat_map(|(key, inner)| helpless(inner, &format!("{place}/{key}")));
    fields.chain(choices).chain(inner).collect()
}

#[test]
fn defaults_round_trip_and_a_typo_is_refused_with_a_guess() {
    fn check<T: Role + ?Sized>() {
        for plugin in plugins::<T>() {
            let (name, full) = (plugin.name, defaults(plugin));
            assert_eq!(plugin::resolve(plugin, &Map::new()).unwrap(), full, "{name}: defaults");
            assert_eq!(plugin::resolve(plugin, &full).unwrap(), full, "{name}: a resolved trial replays");
            for (key, value) in &full {
                let typo = format!("{}x{}", &key[..key.len() - 1], &key[key.len() - 1..]);
                let error = plugin::resolve(plugin, &Map::from_iter([(typo.clone(), value.clone())])).unwrap_err();
                let message = error.chain();
                let known = full.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
                for part in [T::KIND, name, &typo, &format!("did you mean `{key}`?"), &format!("(there are: {known})")]
                {
                    assert!(message.contains(part), "{part:?} is not in: {message}");
                }
            }
            let with_typo = Map::from_iter(full.into_iter().chain([("no-such-key".to_string(), json!(1))]));
            let refused = (plugin.build)(&Value::Object(with_typo).to_string()).err();
            let message = refused.unwrap_or_else(|| panic!("{name} lacks deny_unknown_fields")).chain();
            assert!(message.contains(name) && message.contains("no-such-key"), "{message}");
        }
    }
    check::<dyn Attack>();
    check::<dyn Defense>();
    check::<dyn Evaluator>();
}

/// Poison of one attack and seed, made in a fresh store.
fn poison(data: &Dataset, attack: &Configured, seed: u64) -> (Threat, Poison) {
    let (store, attacks) = (tempfile::tempdir().unwrap(), std::slice::from_ref(attack));
    let split = data.split(0.1, seed).unwrap();
    let mut threats = Threat::all(attacks, data, &split, seed).unwrap();
    let poison = Poison::open(store.path(), data, &split, seed, attacks, &threats).unwrap();
    (threats.remove(0), poison)
}

#[test]
fn every_attack_is_a_function_of_its_seed() {
    let store = tempfile::tempdir().unwrap();
    // Large enough for the least rate that an attack has as its default to poison something.
    let world = DataConfig::World(World { pairs: 3000, ..World::default() });
    let data = Dataset::open(&world, 32, u64::MAX, store.path(), &Silent).unwrap();
    for attack in plugins::<dyn Attack>() {
        let name = attack.name;
        let config = configured(attack);
        let [(threat, first), (same_threat, same), (_, other)] = [0, 0, 1].map(|seed| poison(&data, &config, seed));
        assert_eq!(threat.goal, same_threat.goal, "{name}: one seed, two goals");
        assert_eq!((&first.edits, &first.digest), (&same.edits, &same.digest), "{name}: one seed, two poisons");
        assert!(!first.edits.is_empty(), "{name} makes no edit");
        assert_ne!(first.edits, other.edits, "{name}: two seeds, the same edits");
        assert_ne!(first.digest, other.digest, "{name}: two seeds, the same digest");

        let canvas = data.canvas.gather(&[3, 1, 4]).unwrap();
        let stamp = |canvas: &Tensor, keys: &[u64]| threat.attack.stamp(canvas, keys).unwrap();
        let stamped = stamp(&canvas, &[10, 11, 12]);
        assert_eq!((stamped.size(), stamped.kind()), (canvas.size(), Kind::Uint8), "{name}: pictures in, pictures out");
        assert!(stamped.equal(&stamp(&canvas, &[10, 11, 12])), "{name}: the same keys, another stamp");
        assert!(canvas.equal(&data.canvas.gather(&[3, 1, 4]).unwrap()), "{name} stamps the picture that it was given");
        let alone = stamp(&canvas.narrow(0, 2, 1), &[12]);
        assert!(stamped.narrow(0, 2, 1).equal(&alone), "{name}: a stamp depends on the pictures beside it");
    }
}

#[test]
fn every_defense_survives_two_steps_and_repeats_them_bit_for_bit() {
    let home = tempfile::tempdir().unwrap();
    let defenses = plugins::<dyn Defense>();
    let tables: String = defenses.iter().map(|defense| format!("{} = {{}}\n", defense.name)).collect();
    let suite = world_suite(home.path(), 2, "[0]", &tables);
    for defense in defenses {
        let name = defense.name;
        // One step in each of two epochs: a plain one, and one of those that come every second time.
        let trial = trial(&suite, &["recipe.batch=200", "recipe.warmup_steps=1"], &format!("poisoned/{name}/seed-0"));
        let stop = AtomicBool::new(false);
        let machine = Machine { workers: 1, progress: &Silent, stop: &stop };
        let weights = ["once", "twice"].map(|run| {
            let folder = home.path().join(name).join(run);
            let lines = trial.run(&folder, &home.path().join("store"), &machine).unwrap();
            assert!(lines.len() > 5, "{name} gives {} lines", lines.len());
            std::fs::read(folder.join("model.safetensors")).unwrap()
        });
        assert!(weights[0] == weights[1], "{name}: the same trial, other weights");
    }
}

#[test]
fn every_score_has_one_definition() {
    let mut scores = HashSet::new();
    for plugin in plugins::<dyn Evaluator>() {
        let definitions = (plugin.build)(&(plugin.defaults)()).unwrap().definitions();
        assert!(!definitions.is_empty(), "{} measures nothing", plugin.name);
        for definition in definitions {
            assert!(definition.definition.len() > 20, "what is `{}` of {}?", definition.score, plugin.name);
            assert!(scores.insert(definition.score), "`{}` is defined twice", definition.score);
        }
    }
}
