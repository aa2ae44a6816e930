//! Precision and clipping in a whole trial: they change the training and are recorded; a setting
//! that is off has no effect.

use crate::program::{argument, folder, gauntlet, scores, trial, world_suite};
use gauntlet::data::files::read_safetensors;
use gauntlet::recipe::Precision;
use gauntlet::results::{Line, read_lines};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tch::Tensor;

/// Trains with these settings; returns the folder.
fn train(home: &Path, suite: &Path, name: &str, settings: &[&str]) -> PathBuf {
    let trial = trial(suite, settings, "poisoned/roclip/seed-0");
    let (file, out) = (home.join(format!("{name}.json")), home.join(name));
    std::fs::write(&file, serde_json::to_string(&trial).unwrap()).unwrap();
    let ran = gauntlet(&["trial", argument(&file), "--out", argument(&out), "--store", argument(&home.join("store"))]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    out
}

fn weights(out: &Path) -> BTreeMap<String, Tensor> {
    read_safetensors(&out.join("model.safetensors")).unwrap().0
}

#[test]
fn bf16_and_clipping_change_the_training_and_are_recorded() {
    let home = folder("precision");
    let suite = world_suite(&home, 2, "[0]", "clip = {}\nroclip = { pool = 100, text_tower = 'zero-gradient' }");
    let plain = train(&home, &suite, "plain", &[]);
    let bf16 = train(&home, &suite, "bf16", &["recipe.precision=bf16"]);
    let again = train(&home, &suite, "again", &["recipe.precision=bf16"]);
    let clipped = train(&home, &suite, "clipped", &["recipe.clip_norm=0.5"]);
    let unclipped = train(&home, &suite, "unclipped", &["recipe.clip_norm=1e6"]);

    assert_eq!(weights(&bf16), weights(&again), "bf16 is as reproducible as fp32");
    assert_eq!(weights(&plain), weights(&unclipped), "a norm that is not reached clips nothing");
    assert_ne!(weights(&plain), weights(&clipped));
    let (fp32, bf16_weights) = (weights(&plain), weights(&bf16));
    assert_ne!(fp32, bf16_weights);
    assert!(bf16_weights.values().all(|tensor| tensor.kind() != tch::Kind::BFloat16), "weights stay in 32 bits");

    for (out, precision) in [(&plain, Precision::Fp32), (&bf16, Precision::Bf16)] {
        let lines = read_lines(&out.join("scores.jsonl")).unwrap();
        let Some(Line::Cost(cost)) = lines.last() else { panic!("the last line tells the cost") };
        assert_eq!((cost.precision, cost.device.as_str(), cost.tf32), (precision, "cpu", false));
        assert_eq!(cost.peak_device_memory, None, "there is none on the CPU");
        let scores = scores(&out.join("scores.jsonl"));
        assert!(scores.iter().all(|line| line.precision == precision && line.device == "cpu"));
    }
}

#[test]
fn mistakes_are_refused() {
    let home = folder("precision-mistakes");
    let suite = world_suite(&home, 2, "[0]", "clip = {}");
    let out = home.join("out");
    for (setting, expected) in [("recipe.precision=fp16", "bf16"), ("recipe.clip_norm=-1.0", "clip_norm")] {
        let ran = gauntlet(&["run", argument(&suite), "--out", argument(&out), "--set", setting]);
        assert!(ran.code == Some(2) && ran.stderr.contains(expected), "{}", ran.stderr);
    }
    for command in [&["run", argument(&suite)][..], &["bench", "pool"]] {
        let ran = gauntlet(&[command, &["--device", "abacus"]].concat());
        assert!(ran.code == Some(2), "{}", ran.stderr);
    }
}
