//! Files that a program of November 2026 wrote (`tests/fixtures/frozen`): results, finished trials
//! and a bundle. The current program still reads them, and accepts the trials as its own.

use crate::program::{Ran, argument, folder, gauntlet, scores};
use gauntlet::Trial;
use gauntlet::results::{Line, ScoreLine, read_lines};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

fn frozen(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/frozen").join(path)
}

/// The trials in the folder.
const TRIALS: [&str; 4] = ["clean/clip", "clean/roclip", "poisoned/clip", "poisoned/roclip"];

fn succeeded(ran: Ran) -> String {
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    ran.stdout
}

/// A copy of the folder of a run.
fn copied(name: &str) -> PathBuf {
    let out = folder(name).join("out");
    copy(&frozen("out"), &out);
    out
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

fn trial_json(out: &Path, trial: &str) -> PathBuf {
    out.join("trials").join(trial).join("seed-0/trial.json")
}

#[test]
fn tables_and_reports_are_made_of_old_results() {
    let out = copied("frozen-report");
    let table = succeeded(gauntlet(&["table", argument(&out)]));
    assert!(table.contains("arena poisoned (targeted + badnet)") && table.contains("roclip"), "{table}");
    let page = out.join("report.html");
    succeeded(gauntlet(&["report", argument(&out), "--html", argument(&page)]));
    assert!(fs::read_to_string(page).unwrap().contains("roclip"));
    assert!(scores(&out.join("results.jsonl")).iter().all(|line| line.build.is_unknown()), "no build is recorded");
}

/// Lines as they were before scores had roles, which a reader adds.
fn without_roles(lines: Vec<Line>) -> Vec<Line> {
    let strip = |line| match line {
        Line::Score(score) => Line::Score(ScoreLine { role: None, ..score }),
        other => other,
    };
    lines.into_iter().map(strip).collect()
}

#[test]
fn an_old_run_goes_on_and_trains_no_finished_trial_again() {
    let out = copied("frozen-run");
    let files = || TRIALS.map(|trial| fs::read(trial_json(&out, trial)).unwrap());
    let lines = || without_roles(read_lines(&out.join("results.jsonl")).unwrap());
    let (before, results) = (files(), lines());
    let suite = frozen("suite.toml");
    let ran = gauntlet(&["run", argument(&suite), "--out", argument(&out)]);
    assert!(!ran.stderr.contains("finished") && !ran.stderr.contains("continues in"), "{}", ran.stderr);
    succeeded(ran);
    assert_eq!(files(), before);
    assert_eq!(lines(), results);
    for trial in TRIALS {
        assert!(!trial_json(&out, trial).with_file_name("model.safetensors").exists(), "{trial} was trained again");
    }
}

/// The hash of this text is in the checkpoint of every trial that was interrupted, and in the keys
/// of undefended models.
#[test]
fn an_old_trial_is_hashed_as_it_was() {
    for trial in TRIALS {
        let path = trial_json(&frozen("out"), trial);
        let read = Trial::read(&path).unwrap();
        assert_eq!(serde_json::to_string_pretty(&read).unwrap(), fs::read_to_string(&path).unwrap());
        assert_eq!(read.arena.size, 32, "it follows from the model");
    }
}

#[test]
fn an_old_trial_is_replayed_and_says_which_build_did_it() {
    let (out, old) = (folder("frozen-trial").join("out"), trial_json(&frozen("out"), "poisoned/roclip"));
    let replay = ["trial", argument(&old), "--out", argument(&out)];
    let printed = succeeded(gauntlet(&replay));
    let identity = |line: &ScoreLine| {
        // Another machine's rounding may change pixels, which the second half of the digest covers.
        let edits = line.poison_digest.split('-').next().unwrap().to_string();
        (
            line.trial.clone(),
            line.attack.clone(),
            line.score.clone(),
            line.n,
            line.chance.map(|chance| chance.to_string()),
            edits,
        )
    };
    let (now, before) = (scores(&out.join("scores.jsonl")), scores(&old.with_file_name("scores.jsonl")));
    assert_eq!(now.iter().map(identity).collect::<Vec<_>>(), before.iter().map(identity).collect::<Vec<_>>());
    assert!(now.iter().all(|line| line.build.gauntlet == env!("CARGO_PKG_VERSION") && !line.build.sources.is_empty()));

    // The same trial of another build is the same trial.
    let path = out.join("trial.json");
    let mut manifest: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(manifest["build"]["sources"], now[0].build.sources.as_str());
    manifest["build"]["sources"] = "others".into();
    manifest["build"]["commit"] = "another".into();
    fs::write(&path, manifest.to_string()).unwrap();
    assert_eq!(succeeded(gauntlet(&replay)), printed);
    manifest["recipe"]["learning_rate"] = 0.003.into();
    fs::write(&path, manifest.to_string()).unwrap();
    let refused = gauntlet(&replay);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.stderr.contains("holds another trial (there `\"learning_rate\": 0.003,`"), "{}", refused.stderr);
}

#[test]
fn an_old_bundle_is_read_and_made_again() {
    let bundle = frozen("bundle");
    let said = succeeded(gauntlet(&["poison", "verify", argument(&bundle)]));
    assert!(said.contains("same: digest 17e57aad12a5279d-66a7b2706003cccf"), "{said}");
    let out = folder("frozen-bundle").join("out");
    let (suite, setting) = (frozen("suite.toml"), format!("bundle={}", argument(&bundle)));
    let only = ["--only", "poisoned/clip", "--set", &setting];
    succeeded(gauntlet(&[&["run", argument(&suite), "--out", argument(&out)], &only[..]].concat()));
    assert_eq!(scores(&out.join("results.jsonl"))[0].poison_digest, "17e57aad12a5279d-66a7b2706003cccf");
}
