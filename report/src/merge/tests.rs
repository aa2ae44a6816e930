//! Joins folders as machines write them.

use super::{Merged, merge};
use crate::folder::Folder;
use crate::sample;
use gauntlet::results::{Line, ScoreLine, write_lines};
use gauntlet::suite::Suite;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A machine that ran the arena `poisoned` on some seeds.
struct Machine {
    suite: Suite,
    digest: &'static str,
    value: f64,
    every: u32,
}

impl Machine {
    fn new(seeds: &[u64], defenses: &[&str]) -> Machine {
        Machine { suite: sample::suite(seeds, defenses), digest: "edits-here", value: 0.5, every: 1 }
    }

    /// Writes its folder.
    fn run(&self, home: &TempDir, name: &str) -> PathBuf {
        let out = home.path().join(name);
        for (defense, seed) in
            self.suite.defenses.keys().flat_map(|label| self.suite.seeds.iter().map(move |seed| (label, *seed)))
        {
            let folder = out.join(format!("trials/poisoned/{defense}/seed-{seed}"));
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("trial.json"), self.trial(defense, seed).to_string()).unwrap();
            std::fs::write(folder.join("model.safetensors"), "weights").unwrap();
            let line = sample::score("poisoned", Some("badnet_x"), defense, seed, "asr", self.value);
            let line = ScoreLine { poison_digest: self.digest.into(), ..line };
            write_lines(&folder.join("scores.jsonl"), &[Line::Score(line)]).unwrap();
        }
        std::fs::write(out.join("suite.json"), serde_json::to_string(&self.suite).unwrap()).unwrap();
        out
    }

    fn trial(&self, defense: &str, seed: u64) -> Value {
        let suite = serde_json::to_value(&self.suite).unwrap();
        json!({
            "suite": "sample", "arena": "poisoned", "seed": seed, "device": "cpu", "threads": 1, "data": suite["data"], "heldout": 0.1,
            "cache_gb": 100.0, "model": gauntlet::model::ModelConfig::named("tiny").unwrap(), "recipe": suite["recipe"], "attacks": [],
            "poisoning": ["badnet_x"], "defense": { "label": defense, "plugin": defense, "config": { "every": self.every } },
            "evaluators": [], "downstream": {},
        })
    }
}

/// Joins two machines' folders, of the same names, into a third.
fn join(first: &Machine, second: &Machine) -> (TempDir, PathBuf, Result<Merged, String>) {
    let home = tempfile::tempdir().unwrap();
    let folders = [first.run(&home, "one"), second.run(&home, "two")];
    let out = home.path().join("all");
    let merged = merge(&folders, &out).map_err(|error| error.chain());
    (home, out, merged)
}

/// Asserts that joining is rejected with all `parts` in the message, and that no file is left
/// behind.
fn refused(first: &Machine, second: &Machine, parts: &[&str]) {
    let (home, _, merged) = join(first, second);
    let why = merged.err().unwrap();
    for part in parts {
        assert!(why.contains(part), "{part:?} is not in: {why}");
    }
    let left = std::fs::read_dir(home.path()).unwrap().count();
    assert_eq!(left, 2, "complete or not at all");
}

fn holds(out: &Path, file: &str) -> bool {
    out.join("trials/poisoned").join(file).exists()
}

#[test]
fn what_one_machine_adds_is_added_and_what_both_ran_is_kept_once() {
    let (first, second) = (Machine::new(&[2, 0], &["clip"]), Machine::new(&[1, 2], &["clip", "roclip"]));
    let (_home, out, merged) = join(&first, &second);
    let merged = merged.unwrap();
    assert_eq!((merged.finished, merged.unfinished, merged.warnings.len()), (5, 0, 0));
    let folder = Folder::read(&out).unwrap();
    assert_eq!(folder.suite.seeds, [0, 1, 2]);
    let trials: Vec<&str> = folder.lines.iter().map(Line::trial).collect();
    let expected = ["clip/seed-0", "clip/seed-1", "roclip/seed-1", "clip/seed-2", "roclip/seed-2"];
    assert_eq!(trials, expected.map(|name| format!("poisoned/{name}")));
    assert!(holds(&out, "roclip/seed-2/trial.json") && !holds(&out, "roclip/seed-2/model.safetensors"));
}

#[test]
fn keys_that_differ_are_named_with_both_folders() {
    let (first, mut second) = (Machine::new(&[0], &["clip"]), Machine::new(&[1], &["clip"]));
    second.suite.recipe.epochs = 99;
    refused(&first, &second, &["key `recipe.epochs`", "99 in", "/one", "/two", "only in seeds, arenas and defenses"]);
    second.suite = first.suite.clone();
    second.suite.defenses["clip"] = json!({ "every": 3 });
    refused(&first, &second, &["key `defenses.clip.every`: is – in", "and 3 in"]);
    // The same suite, resolved differently.
    let mut second = Machine::new(&[1], &["clip"]);
    second.every = 2;
    refused(
        &first,
        &second,
        &["key `defense.config.every`", "two/trials/poisoned/clip/seed-1", "versions of gauntlet"],
    );
}

#[test]
fn other_edits_are_refused_and_other_pixels_are_a_warning() {
    let (first, mut second) = (Machine::new(&[0], &["clip"]), Machine::new(&[0], &["roclip"]));
    second.digest = "others-here";
    refused(
        &first,
        &second,
        &["arena `poisoned`, seed 0", "poisoned/clip/seed-0 in", "/two", "others-here", "run one of the two again"],
    );
    second.digest = "edits-there";
    let merged = join(&first, &second).2.unwrap();
    assert!(
        merged.warnings.len() == 1 && merged.warnings[0].contains("with different pixels"),
        "{:?}",
        merged.warnings
    );
}

#[test]
fn a_trial_with_two_results_is_refused() {
    let (first, mut second) = (Machine::new(&[0], &["clip"]), Machine::new(&[0, 1], &["clip"]));
    second.value = 0.25;
    refused(
        &first,
        &second,
        &[
            "trial poisoned/clip/seed-0 has different scores",
            "badnet_x asr",
            "is 0.5 in",
            "and 0.25 in",
            "/one",
            "/two",
        ],
    );
}
