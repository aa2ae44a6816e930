//! The main job, small: undefended, the attacks of `suites/smoke.toml` succeed; RoCLIP stops them
//! and still learns.

use crate::program::{argument, folder, gauntlet, scores};
use gauntlet::results::ScoreLine;

#[test]
fn attacks_succeed_on_clip_and_roclip_stops_them() {
    let out = folder("smoke");
    let ran = gauntlet(&["run", "suites/smoke.toml", "--out", argument(&out)]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    println!("{}", ran.stdout);
    let lines = scores(&out.join("results.jsonl"));
    let mean = |arena: &str, defense: &str, score: &str| {
        let wanted = |line: &&ScoreLine| line.arena == arena && line.defense == defense && line.score == score;
        let values: Vec<f64> = lines.iter().filter(wanted).map(|line| line.value).collect();
        assert!(!values.is_empty(), "{arena}/{defense} has no {score}");
        values.iter().sum::<f64>() / values.len() as f64
    };
    assert!(mean("poisoned", "clip", "psr") >= 0.8 && mean("poisoned", "clip", "asr") >= 0.5, "the attacks succeed");
    assert!(mean("poisoned", "roclip", "psr") <= 0.3 && mean("poisoned", "roclip", "asr") <= 0.3, "RoCLIP stops them");
    let chance = lines[0].chance.unwrap();
    for line in &lines {
        let ScoreLine { trial, score, value, arena, .. } = line;
        assert!(score != "top1" || *value > 3.0 * chance, "{trial} learns next to nothing: {value}");
        let base_rate = arena == "clean" && (score == "psr" || score == "asr");
        assert!(!base_rate || *value <= 0.25, "{trial}: a base rate of {value}");
    }

    // The stored record is of this suite without changes. This test does not check whether one seed
    // has moved on this processor.
    let ran = gauntlet(&["check", argument(&out), "--against", "suites/smoke.baseline.json"]);
    assert!(ran.stdout.contains(" scores "), "{}", ran.stderr);
}
