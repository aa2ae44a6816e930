//! Protection of a folder of results: from another suite, a suite that has lost a part, and two
//! runs at a time (`cluster.rs` has more of those).

use crate::program::{Ran, argument, end, folder, gauntlet, scores, signal, start, trial, wait_until, world_suite};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::LazyLock;

/// A suite with two seeds, run to its end. Tests copy its folder.
static RUN: LazyLock<(PathBuf, PathBuf)> = LazyLock::new(|| {
    let home = folder("out");
    let suite = world_suite(&home, 1, "[0, 1]", "clip = {}");
    let out = home.join("run");
    let ran = run(&suite, &out, &[]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    (suite, out)
});

fn run(suite: &Path, out: &Path, more: &[&str]) -> Ran {
    gauntlet(&[&["run", argument(suite), "--out", argument(out)], more].concat())
}

/// A copy of that folder.
fn copied(name: &str) -> PathBuf {
    let to = RUN.1.with_file_name(name);
    copy(&RUN.1, &to);
    to
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let inner = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &inner),
            false => assert!(fs::copy(entry.path(), inner).is_ok()),
        }
    }
}

/// Files that a rejected run must not change.
fn written(out: &Path) -> [Vec<u8>; 2] {
    ["suite.json", "results.jsonl"].map(|file| fs::read(out.join(file)).unwrap())
}

fn trials(out: &Path) -> BTreeSet<String> {
    scores(&out.join("results.jsonl")).into_iter().map(|line| line.trial).collect()
}

fn refused(ran: &Ran, parts: &[&str]) {
    assert_eq!(ran.code, Some(2), "{ran:?}");
    for part in parts {
        assert!(ran.stderr.contains(part), "{part:?} is not in: {}", ran.stderr);
    }
}

#[test]
fn a_suite_that_would_lose_what_lies_there_is_refused_and_nothing_is_changed() {
    let (suite, out) = (&RUN.0, copied("kept"));
    let before = written(&out);
    let cases: [(&str, &[&str]); 4] = [
        (
            "name=other",
            &[
                "kept: contains suite `small` (seeds 0, 1; arenas clean, poisoned; defenses clip)",
                "but this is suite `other`",
            ],
        ),
        (
            "seeds=[0]",
            &["contains results of clean/clip/seed-1, poisoned/clip/seed-1", "it ran there with seeds 0, 1;", "--only"],
        ),
        ("arenas={ other = ['badnet'] }", &["contains results of poisoned/clip/seed-0, poisoned/clip/seed-1"]),
        ("recipe.epochs=2", &["trial.json: holds another trial"]),
    ];
    for (setting, parts) in cases {
        for dry in [&["--dry-run"][..], &[]] {
            let ran = run(suite, &out, &[&["--set", setting], dry].concat());
            refused(&ran, &[parts, &["choose another --out"]].concat());
            assert!(written(&out) == before, "{setting} {dry:?}");
        }
    }
    // The trials alone suffice: other files may have been deleted.
    for gone in ["results.jsonl", "suite.json"] {
        fs::remove_file(out.join(gone)).unwrap();
        refused(&run(suite, &out, &["--set", "seeds=[0]", "--dry-run"]), &["contains results of clean/clip/seed-1"]);
    }
}

#[test]
fn a_suite_goes_on_with_more_seeds_and_says_so() {
    let out = copied("more");
    let ran = run(&RUN.0, &out, &["--set", "seeds=[0, 1, 2]", "--only", "clean/clip/seed-2"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("note: suite `small` continues in ")
            && ran.stderr.contains("`seeds` is [0,1,2], was [0,1]"),
        "{ran:?}"
    );
    let more = trials(&RUN.1).into_iter().chain(["clean/clip/seed-2".into()]).collect();
    assert_eq!(trials(&out), more);
    let same = run(&RUN.0, &out, &["--set", "seeds=[0, 1, 2]", "--only", "seed-0"]);
    assert!(same.code == Some(0) && !same.stderr.contains("note"), "{same:?}");
}

/// If folders of trials are deleted to free space, the results of trials that do not run again are
/// kept.
#[test]
fn results_stay_when_their_trials_folders_are_gone() {
    let out = copied("gone");
    fs::remove_dir_all(out.join("trials")).unwrap();
    let ran = run(&RUN.0, &out, &["--only", "clean/clip/seed-1"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("note: ") && ran.stderr.contains("their folders under `trials` are missing"),
        "{ran:?}"
    );
    assert_eq!(scores(&out.join("results.jsonl")), scores(&RUN.1.join("results.jsonl")));
}

/// Starts a run that takes a while, and waits until it trains.
fn busy(suite: &Path, out: &Path) -> Child {
    let more = ["--set", "recipe.epochs=400", "--only", "clean/clip/seed-0"];
    let child = start(&[&["run", argument(suite), "--out", argument(out)], &more[..]].concat());
    wait_until("a trial trains", || out.join("trials/clean/clip/seed-0/checkpoint.safetensors").exists());
    child
}

#[test]
fn a_second_run_leaves_a_trial_to_the_first_and_goes_on_with_it_at_once_when_that_is_killed() {
    let (suite, out) = (&RUN.0, RUN.1.with_file_name("twice"));
    let mut first = busy(suite, &out);
    let more = ["--set", "recipe.epochs=400", "--only", "clean/clip/seed-0"];
    let second = run(suite, &out, &more);
    let who = format!("other runs have 1 more trials (clean/clip/seed-0 by process {} on ", first.id());
    assert!(second.code == Some(0) && second.stderr.contains(&who), "{second:?}");
    // Another process cannot run one of its trials either.
    let trial = out.join("trials/clean/clip/seed-0/trial.json");
    let one = ["trial", argument(&trial), "--out", argument(trial.parent().unwrap())];
    refused(&gauntlet(&one), &["seed-0: process ", " works in it, and both would write the same files"]);
    let dry = run(suite, &out, &[&more[..], &["--dry-run"]].concat());
    assert!(dry.code == Some(0) && dry.stdout.contains("Started"), "looking is free: {dry:?}");

    first.kill().unwrap();
    first.wait().unwrap();
    // Its trial stops by itself, with a checkpoint, and the next run waits for that.
    let lines = || fs::read_to_string(trial.with_file_name("metrics.jsonl")).unwrap().lines().count();
    let third = start(&[&["run", argument(suite), "--out", argument(&out)], &more[..]].concat());
    wait_until("it has the trial", || trial.with_file_name("lease-00002").exists());
    let before = lines();
    wait_until("it trains", || lines() > before);
    signal(&third, "INT");
    let ran = end(third);
    assert_eq!(ran.code, Some(130), "{ran:?}");
}

#[test]
fn a_trial_has_its_folder_to_itself() {
    let home = folder("out-trial");
    let suite = world_suite(&home, 400, "[0]", "clip = {}");
    let json = home.join("trial.json");
    fs::write(&json, serde_json::to_string(&trial(&suite, &[], "clean/clip/seed-0")).unwrap()).unwrap();
    let arguments = ["trial", argument(&json), "--out", argument(&home.join("one"))].map(str::to_string);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut first = start(&arguments);
    wait_until("it trains", || home.join("one/checkpoint.safetensors").exists());
    refused(&gauntlet(&arguments), &["error: --out: ", &format!("one: process {} on ", first.id()), " works in it"]);
    first.kill().unwrap();
    first.wait().unwrap();
}
