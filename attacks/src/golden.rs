//! Stamped images of `tests/golden/triggers.py`, and how far ours are from them.

use gauntlet::golden::Golden;
use gauntlet::registry;
use gauntlet::serde_json::{self, Map, json};
use tch::{Kind, Tensor};

/// A tensor of the file.
pub fn golden(name: &str) -> Tensor {
    Golden::of_tests("triggers")[name].copy()
}

/// The same as numbers.
pub fn numbers(name: &str) -> Vec<f32> {
    Vec::try_from(golden(name).to_kind(Kind::Float).flatten(0, -1)).unwrap()
}

/// Fails where a pixel is more than `off` from the golden one.
pub fn assert_near(ours: &Tensor, name: &str, off: i64) {
    let wanted = golden(name);
    assert_eq!(ours.size(), wanted.size(), "{name}");
    let difference = (ours.to_kind(Kind::Int64) - wanted.to_kind(Kind::Int64)).abs();
    let most = i64::try_from(difference.max()).unwrap();
    let differ = i64::try_from(difference.gt(0).sum(Kind::Int64)).unwrap();
    println!("{name}: {differ} of {} pixels differ, by at most {most}", difference.numel());
    assert!(most <= off, "{name}: {differ} of {} pixels differ, by up to {most}", difference.numel());
}

/// An attack as a suite gets it that names this preset.
pub fn preset<A: serde::de::DeserializeOwned>(plugin: &str, name: &str) -> A {
    let plugin = registry::find::<dyn gauntlet::Attack>(plugin).unwrap();
    let table = registry::resolve(plugin, &Map::from_iter([("preset".into(), json!(name))])).unwrap();
    serde_json::from_value(table.into()).unwrap()
}
