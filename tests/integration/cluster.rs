//! Several runs of a suite in one folder, as on several machines: which one does what, and what
//! happens if one dies, freezes or wakes up again.

use crate::program::{Ran, argument, end, folder, gauntlet, scores, signal, wait_until, world_suite};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Seconds of silence after which a run counts as dead.
const LEASE: &str = "10";

/// Starts a run with this silence; its standard error goes to a file in `out`'s folder.
fn start(suite: &Path, out: &Path, more: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gauntlet"));
    command.args(["run", argument(suite), "--out", argument(out)]).args(more);
    command.env("GAUNTLET_LEASE", LEASE).env("OMP_WAIT_POLICY", "passive").current_dir(env!("CARGO_MANIFEST_DIR"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn run(suite: &Path, out: &Path, more: &[&str]) -> Ran {
    end(start(suite, out, more))
}

/// The steps that a trial's attempt logged, each as epoch and step.
fn steps(attempt: &Path) -> Vec<(u64, u64)> {
    let text = fs::read_to_string(attempt.join("metrics.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    lines.map(|line| (line["epoch"].as_u64().unwrap(), line["step"].as_u64().unwrap())).collect()
}

fn assert_once(attempt: &Path) {
    let steps = steps(attempt);
    let distinct: BTreeSet<_> = steps.iter().collect();
    assert!(!steps.is_empty() && distinct.len() == steps.len(), "{}: {steps:?}", attempt.display());
}

/// The process that a run started for a trial, as its lease names it.
fn child_of(trial: &Path) -> String {
    let lease: serde_json::Value = serde_json::from_slice(&fs::read(trial.join("lease-00001")).unwrap()).unwrap();
    lease["processes"][1]["pid"].to_string()
}

fn trials(out: &Path) -> BTreeSet<String> {
    scores(&out.join("results.jsonl")).into_iter().map(|line| line.trial).collect()
}

fn names(seeds: u32, defenses: &[&str]) -> BTreeSet<String> {
    let of = |arena: &'static str, seed: u32| defenses.iter().map(move |d| format!("{arena}/{d}/seed-{seed}"));
    (0..seeds).flat_map(|seed| of("clean", seed).chain(of("poisoned", seed)).collect::<Vec<_>>()).collect()
}

#[test]
fn three_runs_at_once_train_each_trial_once_and_lose_no_line() {
    let home = folder("cluster-three");
    // The reference model of `clip-score` is trained by one and waited for by the others.
    let defenses = "clip = {}\nclip-score = {}\nsafeclip = { warm_up = 1 }";
    let suite = world_suite(&home, 3, "[0, 1]", defenses);
    let out = home.join("out");
    let runs: Vec<Child> = (0..3).map(|_| start(&suite, &out, &["--jobs", "2", "--wait"])).collect();
    let runs: Vec<Ran> = runs.into_iter().map(end).collect();
    let all = names(2, &["clip", "clip-score", "safeclip"]);
    let mut finished = Vec::new();
    for ran in &runs {
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        finished.extend(ran.stderr.lines().filter_map(|line| line.strip_prefix("finished ")?.split(' ').next()));
    }
    finished.sort_unstable();
    assert_eq!(finished, all.iter().map(String::as_str).collect::<Vec<_>>(), "each trial was finished by one run");
    assert_eq!(trials(&out), all);
    let whole: Vec<_> = scores(&out.join("results.jsonl"));
    for name in &all {
        let folder = out.join("trials").join(name);
        assert_once(&folder);
        assert!(!folder.join("checkpoint.safetensors").exists(), "{name} is tidy");
    }
    // The same as one run alone, whoever trained what.
    let alone = home.join("alone");
    assert_eq!(run(&suite, &alone, &[]).code, Some(0));
    assert_eq!(scores(&alone.join("results.jsonl")), whole);
    let made = |kind: &str| {
        let entries = fs::read_dir(out.join("store")).unwrap().map(|entry| entry.unwrap().file_name());
        entries.filter(|name| name.to_str().unwrap().starts_with(kind)).count()
    };
    assert_eq!((made("index-"), made("poison-"), made(".part-")), (1, 4, 0));
}

#[test]
fn a_frozen_run_is_taken_over_and_publishes_nothing_when_it_wakes_up() {
    let home = folder("cluster-frozen");
    let suite = world_suite(&home, 120, "[0]", "clip = {}");
    let (out, only) = (home.join("out"), ["--only", "clean"]);
    let first = start(&suite, &out, &only);
    let leased = out.join("trials/clean/clip/seed-0");
    wait_until("it trains", || leased.join("checkpoint.safetensors").exists());
    // A frozen machine: the run and its child.
    let child = child_of(&leased);
    let both = |name: &str| {
        signal(&first, name);
        assert!(Command::new("kill").args(["-s", name, &child]).status().unwrap().success());
    };
    both("STOP");
    let other = run(&suite, &out, &only);
    assert_eq!(other.code, Some(0), "{}", other.stderr);
    assert!(other.stderr.contains("other runs have 1 more trials (clean/clip/seed-0 by process "), "{}", other.stderr);
    let second = run(&suite, &out, &[&only[..], &["--wait"]].concat());
    assert_eq!(second.code, Some(0), "{}", second.stderr);
    assert!(second.stderr.contains("taken over from a silent run: clean/clip/seed-0"), "{}", second.stderr);
    let attempt = leased.join("attempt-00002");
    let published = fs::read(attempt.join("scores.jsonl")).unwrap();
    assert_once(&attempt);

    both("CONT");
    let first = end(first);
    assert_eq!(first.code, Some(0), "{}", first.stderr);
    assert!(first.stderr.contains("given up clean/clip/seed-0: another run has taken it over"), "{}", first.stderr);
    assert!(!leased.join("scores.jsonl").exists(), "its child was killed");
    assert_eq!(fs::read(attempt.join("scores.jsonl")).unwrap(), published);
    // Even if it had finished, only the newest attempt counts.
    fs::write(leased.join("scores.jsonl"), "of the frozen one\n").unwrap();
    assert_eq!(gauntlet(&["table", argument(&out)]).code, Some(0));
    assert_eq!(scores(&out.join("results.jsonl")).len(), scores(&attempt.join("scores.jsonl")).len());
}

#[test]
fn tasks_of_an_array_share_a_suite_and_shards_divide_it() {
    let home = folder("cluster-array");
    let suite = world_suite(&home, 1, "[0, 1]", "clip = {}");
    let out = home.join("out");
    let dry = run(&suite, &out, &["--dry-run"]);
    assert!(dry.stdout.contains("4 of 4 trials to run; a job array with one trial per task: 0-3"), "{}", dry.stdout);
    for done in 1..=5 {
        let task = run(&suite, &out, &["--at-most", "1", "--jobs", "1"]);
        assert_eq!((task.code, trials(&out).len()), (Some(0), 4.min(done)), "{}", task.stderr);
    }
    let parts = [1, 2, 3].map(|part| home.join(format!("part-{part}")));
    for (part, number) in parts.iter().zip(1..) {
        assert_eq!(run(&suite, part, &["--shard", &format!("{number}/3")]).code, Some(0));
    }
    assert_eq!(parts.each_ref().map(|part| trials(part).len()), [2, 1, 1]);
    let merged = home.join("merged");
    let from: Vec<&str> = parts.iter().map(|part| argument(part)).collect();
    assert_eq!(gauntlet(&[&["merge"], &from[..], &["--out", argument(&merged)]].concat()).code, Some(0));
    assert_eq!(scores(&merged.join("results.jsonl")), scores(&out.join("results.jsonl")));
}

#[test]
fn a_node_s_own_store_gives_the_same_scores_and_keeps_nothing_that_others_need() {
    let home = folder("cluster-local");
    let suite = world_suite(&home, 2, "[0]", "clip = {}\nclip-score = {}");
    let (out, local): (PathBuf, PathBuf) = (home.join("out"), home.join("local"));
    let with = run(&suite, &out, &["--store", argument(&local)]);
    assert_eq!(with.code, Some(0), "{}", with.stderr);
    let kinds = |store: &Path| -> BTreeSet<String> {
        let entries = fs::read_dir(store).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        entries.map(|name| name.split('-').next().unwrap().to_string()).collect()
    };
    assert!(kinds(&local).is_superset(&["index", "canvas", "poison"].map(String::from).into()), "{:?}", kinds(&local));
    assert!(kinds(&out.join("store")).contains("undefended") && !kinds(&out.join("store")).contains("poison"));
    let without = home.join("without");
    assert_eq!(run(&suite, &without, &[]).code, Some(0));
    assert_eq!(scores(&out.join("results.jsonl")), scores(&without.join("results.jsonl")));
}

/// `srun torchrun` passes on one SIGTERM twice, some milliseconds apart.
#[test]
fn two_terminations_within_the_grace_are_one_and_leave_a_checkpoint() {
    let home = folder("cluster-term");
    let suite = world_suite(&home, 400, "[0]", "clip = {}");
    let (out, only) = (home.join("out"), ["--only", "clean"]);
    let first = start(&suite, &out, &[&only[..], &["--set", "recipe.checkpoint_steps=0"]].concat());
    let trial = out.join("trials/clean/clip/seed-0");
    wait_until("it trains", || trial.join("metrics.jsonl").exists());
    let _ = fs::remove_file(trial.join("checkpoint.safetensors"));
    let child = child_of(&trial);
    for _ in 0..2 {
        signal(&first, "TERM");
        assert!(Command::new("kill").args(["-s", "TERM", &child]).status().unwrap().success());
        std::thread::sleep(std::time::Duration::from_millis(12));
    }
    let ran = end(first);
    assert_eq!(ran.code, Some(130), "{}", ran.stderr);
    assert!(trial.join("checkpoint.safetensors").exists());
}
