//! Stamped images of `tests/golden/triggers.py`, and the comparison of ours with them.

use gauntlet::golden::Golden;
use gauntlet::registry;
use gauntlet::serde_json::{self, Map, json};
use tch::{Kind, Tensor};

/// A tensor of the golden file.
pub fn golden(name: &str) -> Tensor {
    Golden::of_tests("triggers")[name].copy()
}

/// The same tensor as numbers.
pub fn numbers(name: &str) -> Vec<f32> {
    Vec::try_from(golden(name).to_kind(Kind::Float).flatten(0, -1)).unwrap()
}

/// Panics if a pixel differs by more than `off` from the golden image.
pub fn assert_near(ours: &Tensor, name: &str, off: i64) {
    let wanted = golden(name);
    assert_eq!(ours.size(), wanted.size(), "{name}");
    let difference = (ours.to_kind(Kind::Int64) - wanted.to_kind(Kind::Int64)).abs();
    let most = i64::try_from(difference.max()).unwrap();
    let differ = i64::try_from(difference.gt(0).sum(Kind::Int64)).unwrap();
    println!("{name}: {differ} of {} pixels differ, by at most {most}", difference.numel());
    assert!(most <= off, "{name}: {differ} of {} pixels differ, by up to {most}", difference.numel());
}

/// The attack that a suite gets if it names this preset.
pub fn preset<A: serde::de::DeserializeOwned>(plugin: &str, name: &str) -> A {
    let plugin = registry::find::<dyn gauntlet::Attack>(plugin).unwrap();
    let table = registry::resolve(plugin, &Map::from_iter([("preset".into(), json!(name))])).unwrap();
    serde_json::from_value(table.into()).unwrap()
}
