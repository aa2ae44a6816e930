//! A small suite and its score lines, for tests of what is made of results.

use gauntlet::evaluator::Unit;
use gauntlet::recipe::Precision;
use gauntlet::results::ScoreLine;
use gauntlet::suite::Suite;
use serde_json::{Map, Value, json};

/// Arena `poisoned`, by the attack `badnet_x`.
pub fn suite(seeds: &[u64], defenses: &[&str]) -> Suite {
    let defenses: Map<String, Value> = defenses.iter().map(|label| (label.to_string(), json!({}))).collect();
    let suite = json!({
        "name": "sample", "seeds": seeds, "model": "tiny", "data": { "kind": "world" },
        "attacks": { "badnet_x": { "plugin": "badnet" } }, "arenas": { "poisoned": ["badnet_x"] }, "defenses": defenses,
    });
    serde_json::from_value(suite).unwrap()
}

/// One score: of `top1` greater is better, of all others less.
pub fn score(arena: &str, attack: Option<&str>, defense: &str, seed: u64, score: &str, value: f64) -> ScoreLine {
    ScoreLine {
        suite: "sample".into(),
        trial: format!("{arena}/{defense}/seed-{seed}"),
        arena: arena.into(),
        attack: attack.map(str::to_string),
        adapted_to: String::new(),
        defense: defense.into(),
        seed,
        evaluator: "e".into(),
        score: score.into(),
        dataset: "world".into(),
        downstream: false,
        value,
        unit: Unit::Share,
        n: 1000,
        low: value - 0.02,
        high: value + 0.02,
        higher_is_better: Some(score == "top1"),
        chance: 0.1,
        poison_digest: format!("{arena}{seed}-pixels"),
        precision: Precision::Fp32,
        device: "cpu".into(),
        tier: String::new(),
        build: Default::default(),
    }
}
