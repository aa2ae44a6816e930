//! A small suite and its score lines, for tests.

use gauntlet::evaluator::{ScoreRole, Unit};
use gauntlet::recipe::Precision;
use gauntlet::results::{Line, ScoreLine};
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
        role: (score == "top1").then_some(ScoreRole::Accuracy),
        version: 1,
        n: 1000,
        low: value - 0.02,
        high: value + 0.02,
        higher_is_better: Some(score == "top1"),
        chance: Some(0.1),
        poison_digest: format!("{arena}{seed}-pixels"),
        precision: Precision::Fp32,
        device: "cpu".into(),
        tier: String::new(),
        build: Default::default(),
    }
}

/// `mine` with `clip` and its own control, by attack `a` in the arena `hit`.
pub fn judged(seeds: u64) -> Suite {
    let suite = json!({
        "name": "s", "seeds": (0..seeds).collect::<Vec<_>>(), "model": "tiny", "data": { "kind": "world" },
        "attacks": { "a": { "plugin": "badnet" } }, "arenas": { "hit": ["a"] },
        "defenses": { "clip": {}, "control": { "of": "mine" }, "mine": {} },
    });
    serde_json::from_value(suite).unwrap()
}

/// A line of accuracy, or of the attack's success.
fn line(arena: &str, defense: &str, seed: u64, attack: Option<&str>, value: f64) -> Line {
    let name = if attack.is_some() { "asr" } else { "top1" };
    let (low, high) = ((value - 0.08).max(0.0), (value + 0.08).min(1.0));
    Line::Score(ScoreLine { n: 100, low, high, chance: Some(0.05), ..score(arena, attack, defense, seed, name, value) })
}

/// Jitter of the seeds: a point or two, in an arbitrary order.
fn jitter(defense: &str, seed: u64) -> f64 {
    (gauntlet::draw::hash(seed, defense, &[]) % 5) as f64 / 100.0 - 0.02
}

/// Results of rows `(defense, accuracy, attack success)`; in the clean arena the attack takes 1%.
pub fn results(seeds: u64, rows: &[(&str, f64, f64)]) -> Vec<Line> {
    let mut lines = Vec::new();
    for seed in 0..seeds {
        for &(defense, accuracy, success) in rows {
            let moved = jitter(defense, seed);
            lines.push(line("clean", defense, seed, None, accuracy + moved));
            lines.push(line("clean", defense, seed, Some("a"), 0.01));
            lines.push(line("hit", defense, seed, None, accuracy + moved));
            lines.push(line("hit", defense, seed, Some("a"), (success + moved).clamp(0.0, 1.0)));
        }
    }
    lines
}

/// Rows of which `mine` is better than its control, and that better than `clip`.
pub const SOUND: [(&str, f64, f64); 3] = [("clip", 0.95, 0.9), ("control", 0.94, 0.5), ("mine", 0.93, 0.1)];
