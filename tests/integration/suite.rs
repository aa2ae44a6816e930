//! Suites through `gauntlet run`: their files, that they continue where they stopped, and that one
//! fault costs one trial.

use crate::program::{
    Ran, argument, clipart_suite, end, folder, gauntlet, scores, signal, start, trial, wait_until, world_suite,
};
use gauntlet::Trial;
use gauntlet::results::ScoreLine;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// A suite of 2 arenas x 2 defenses x 2 seeds, and the folder of one run; `report.rs` reads it,
/// too.
pub static WORLD: LazyLock<World> = LazyLock::new(|| {
    let home = folder("suite");
    let suite = world_suite(&home, 3, "[0, 1]", "clip = {}\nroclip = { pool = 100 }");
    let world = World { suite, out: home.join("out"), home };
    let ran = world.run(&world.out, &[]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    world
});

pub struct World {
    suite: PathBuf,
    pub out: PathBuf,
    pub home: PathBuf,
}

impl World {
    fn arguments<'a>(&'a self, out: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
        [&["run", argument(&self.suite), "--out", argument(out)], more].concat()
    }

    fn run(&self, out: &Path, more: &[&str]) -> Ran {
        gauntlet(&self.arguments(out, more))
    }

    fn scores(&self) -> Vec<ScoreLine> {
        scores(&self.out.join("results.jsonl"))
    }
}

/// The scores of a trial, in order: `attack/score`, or the score alone.
fn measured<'a>(lines: &'a [ScoreLine], trial: &str) -> Vec<String> {
    let of_trial = lines.iter().filter(|line| line.trial == trial);
    let name = |line: &'a ScoreLine| line.attack.iter().chain([&line.score]).cloned().collect::<Vec<_>>().join("/");
    of_trial.map(name).collect()
}

/// The poison that was read in each arena and seed.
fn digests(lines: &[ScoreLine]) -> BTreeMap<(&str, u64), BTreeSet<&str>> {
    let mut digests = BTreeMap::<_, BTreeSet<&str>>::new();
    for line in lines {
        digests.entry((line.arena.as_str(), line.seed)).or_default().insert(&line.poison_digest);
    }
    digests
}

#[test]
fn every_trial_gives_its_lines() {
    let lines = WORLD.scores();
    let success = ["targeted/psr", "targeted/returned", "targeted/psr-3", "targeted/psr-5"];
    let success = [&success[..], &["badnet/asr", "badnet/stamped-top1"]].concat();
    let matches =
        ["poison-matched-adversarial", "clean-matched-right", "distinct-matches", "captions-matched", "matched-rows"];
    let retrieval = ["image-to-text", "text-to-image"]
        .map(|way| ["r1", "r5", "r10", "rank"].map(|score| format!("{way}-{score}")))
        .concat();
    let accuracy: Vec<&str> = retrieval.iter().map(String::as_str).chain(["top1", "top5"]).collect();
    for seed in [0, 1] {
        let of = |trial: &str| measured(&lines, &format!("{trial}/seed-{seed}"));
        assert_eq!(of("clean/clip"), [&success[..], &accuracy].concat());
        assert_eq!(
            of("clean/roclip"),
            [&success[..], &matches[1..], &accuracy].concat(),
            "no poison, no matches of it"
        );
        assert_eq!(of("poisoned/clip"), [&success[..], &accuracy].concat());
        assert_eq!(of("poisoned/roclip"), [&success[..], &matches, &accuracy].concat());
    }
    let all = fs::read_to_string(WORLD.out.join("results.jsonl")).unwrap();
    assert_eq!(all.lines().count(), lines.len() + 16, "and every trial one line of cost and one of rows");
    assert!(lines.iter().all(|line| line.dataset == "world" && line.suite == "small"));
    let guess =
        |line: &&ScoreLine| line.score == "top1" && line.chance.is_some_and(|chance| chance > 0.1 && chance < 0.5);
    assert_eq!(lines.iter().filter(guess).count(), 8);
    assert!(lines.iter().all(|line| line.low <= line.value && line.value <= line.high && line.n > 0), "{lines:?}");
}

#[test]
fn defenses_share_their_poison_and_seeds_do_not() {
    let lines = WORLD.scores();
    let digests = digests(&lines);
    assert!(digests.len() == 4 && digests.values().all(|read| read.len() == 1), "{digests:?}");
    assert_ne!(digests[&("poisoned", 0)], digests[&("poisoned", 1)]);
    assert_ne!(digests[&("poisoned", 0)], digests[&("clean", 0)]);
}

#[test]
fn finished_trials_are_kept_and_another_suite_is_refused() {
    let written = || {
        let trials = WORLD.scores().into_iter().map(|line| line.trial).collect::<BTreeSet<_>>();
        let folders = trials.iter().map(|trial| WORLD.out.join("trials").join(trial));
        folders
            .map(|folder| fs::metadata(folder.join("model.safetensors")).unwrap().modified().unwrap())
            .collect::<Vec<_>>()
    };
    let (before, results) = (written(), fs::read(WORLD.out.join("results.jsonl")).unwrap());
    let again = WORLD.run(&WORLD.out, &[]);
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    assert!(again.stdout.contains("arena poisoned") && !again.stderr.contains("finished"), "{again:?}");
    assert!(written() == before && fs::read(WORLD.out.join("results.jsonl")).unwrap() == results);

    let other = WORLD.run(&WORLD.out, &["--set", "recipe.epochs=4"]);
    assert_eq!(other.code, Some(2), "{other:?}");
    assert!(other.stderr.contains("trial.json: holds another trial"), "{}", other.stderr);
    assert!(written() == before && fs::read(WORLD.out.join("results.jsonl")).unwrap() == results);
}

#[test]
fn a_dry_run_runs_nothing() {
    let nowhere = WORLD.home.join("nowhere");
    let ran = WORLD.run(&nowhere, &["--dry-run", "--only", "poisoned/roclip"]);
    let (trials, cost) = ran.stdout.split_once("\n\n").unwrap();
    let lines: Vec<Vec<&str>> = trials.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[..2], [["poisoned/roclip/seed-0", "New"], ["poisoned/roclip/seed-1", "New"]]);
    assert!(trials.ends_with("2 of 2 trials to run; a job array with one trial per task: 0-1"), "{trials}");
    assert!(cost.starts_with("8 trials, 2 of them to run: 261 pairs to train on") && cost.contains("no rate is known"));
    assert!(!nowhere.exists());
    let ran = WORLD.run(&WORLD.out, &["--dry-run"]);
    assert_eq!(ran.stdout.matches("Finished").count(), 8, "{}", ran.stdout);
    assert!(
        ran.stdout.contains("0 of them to run") && ran.stdout.contains("measured: 8 finished trials"),
        "{}",
        ran.stdout
    );
}

/// Regression: both faults were reported one after the other, the second in each trial alone; a dry
/// run found neither.
#[test]
fn a_dry_run_tells_everything_that_would_fail() {
    let dry = |settings: &[&str]| {
        let settings = settings.iter().flat_map(|setting| ["--set", *setting]);
        let run = ["run", "suites/clipart.toml", "--out", "no/such/folder", "--dry-run"];
        let ran = gauntlet(&run.into_iter().chain(settings).collect::<Vec<_>>());
        let output: Vec<String> =
            ran.stderr.lines().filter_map(|line| line.strip_prefix("would fail: ")).map(String::from).collect();
        assert_eq!(ran.code, Some(if output.is_empty() { 0 } else { 2 }), "{}", ran.stderr);
        output
    };
    assert_eq!(dry(&[]), [] as [String; 0]);
    let output = dry(&[
        "attacks.targeted.targets=32",
        "recipe.batch=64",
        "recipe.warmup_steps=60",
        "downstream.cifar10.path=no/such/set",
        "recipe.init=suites/clipart.toml",
        "attacks.other={ plugin = 'badclip', weights = 'no/such/weights', model = 'tiny' }",
        "defenses.roclip.first=11",
    ]);
    for (number, parts) in [
        &["table `downstream.cifar10`", "no/such/set"][..],
        &["key `recipe.init`", "suites/clipart.toml: is neither a safetensors file nor"],
        &["attack `other`", "no/such/weights"],
        &["attack `targeted`: key `targets`: is 32, but only 25 images are held out (seed 0)"],
        &["key `warmup_steps`: is 60, but the whole training has only 20 steps (4 times, from clean/"],
    ]
    .iter()
    .enumerate()
    {
        assert!(
            parts.iter().all(|part| output[number].contains(part)),
            "{parts:?} is not line {number} of {output:#?}"
        );
    }
    assert_eq!(output.len(), 5, "{output:#?}");
    let output = dry(&["defenses.roclip.first=11"]);
    let named =
        |defense: &str| output.iter().any(|line| line.contains(defense) && line.contains("no epoch of 10 matches"));
    assert!(output.len() == 2 && named("defense `roclip`") && named("defense `exposure-control`"), "{output:#?}");
    assert!(dry(&["data.class_file=no/such/file.json"])[0].contains("no/such/file.json"));
}

#[test]
fn loader_workers_change_no_score() {
    let out = WORLD.home.join("workers");
    let ran = WORLD.run(&out, &["--workers", "4", "--only", "seed-0"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let with_one: Vec<ScoreLine> = WORLD.scores().into_iter().filter(|line| line.seed == 0).collect();
    assert_eq!(scores(&out.join("results.jsonl")), with_one);
}

#[test]
fn after_ctrl_c_the_same_command_finishes_with_the_same_scores() {
    let out = WORLD.home.join("interrupted");
    let child = start(&WORLD.arguments(&out, &["--jobs", "1"]));
    wait_until("a second trial trains", || out.join("trials/clean/roclip/seed-0/metrics.jsonl").exists());
    signal(&child, "INT");
    let ran = end(child);
    assert_eq!(ran.code, Some(130), "{}", ran.stderr);
    assert!(ran.stderr.contains("interrupted; the same command resumes") && !ran.stderr.contains("failed"), "{ran:?}");
    let started = fs::read_to_string(out.join("trials/clean/roclip/seed-0/stderr.log")).unwrap();
    assert!(started.is_empty() || started.contains("interrupted"), "{started}");
    let states = WORLD.run(&out, &["--dry-run"]).stdout;
    assert!(states.contains("clean/clip/seed-0") && states.contains("Finished") && states.contains("New"), "{states}");

    let ran = WORLD.run(&out, &[]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(scores(&out.join("results.jsonl")), WORLD.scores());
}

#[test]
fn a_trial_that_fails_is_shown_with_its_reason_and_stops_no_other() {
    let out = WORLD.home.join("failed");
    let ran = WORLD.run(&out, &["--only", "seed-0", "--set", "defenses.roclip.pool=100000"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    for name in ["clean/roclip/seed-0", "poisoned/roclip/seed-0"] {
        let shown = format!("failed: {name}\nexit status: 2: the last lines of");
        assert!(ran.stderr.contains(&shown), "{shown:?} is not in: {}", ran.stderr);
    }
    assert!(ran.stderr.contains("defense `roclip`, key `pool`: makes 100000 captions"), "{}", ran.stderr);
    let lines = scores(&out.join("results.jsonl"));
    let finished: BTreeSet<&str> = lines.iter().map(|line| line.trial.as_str()).collect();
    assert_eq!(finished, BTreeSet::from(["clean/clip/seed-0", "poisoned/clip/seed-0"]));
    assert!(ran.stdout.contains("arena poisoned"), "the table shows the existing results: {}", ran.stdout);
}

#[test]
fn a_loss_that_is_not_finite_stops_the_trial_and_names_step_and_rows() {
    let out = WORLD.home.join("infinite");
    let ran = WORLD.run(&out, &["--only", "clean/clip/seed-0", "--set", "recipe.learning_rate=1e30"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("failed: clean/clip/seed-0\n"), "{}", ran.stderr);
    assert!(ran.stderr.contains("the loss is NaN at epoch 1, step 2; "), "{}", ran.stderr);
    assert_eq!(ran.stderr.matches("world/000").count(), 32, "every row of the batch: {}", ran.stderr);
}

/// JSON readers that round the last digit would reject a trial's own `trial.json`, or resume it
/// with other numbers.
#[test]
fn a_resolved_trial_is_read_back_to_the_last_bit() {
    let mut resolved = trial(&WORLD.suite, &[], "clean/clip/seed-0");
    for number in 1..2000 {
        resolved.recipe.learning_rate = f64::from(number) / 3.1e6;
        let text = serde_json::to_string(&resolved).unwrap();
        let read: Trial = serde_json::from_str(&text).unwrap();
        assert_eq!(read.recipe.learning_rate, resolved.recipe.learning_rate);
    }
}

#[test]
fn clip_art_goes_from_tar_shards_to_the_table() {
    let home = folder("clipart");
    let suite = clipart_suite(&home, "clip = {}\nroclip = { pool = 50, first = 1 }");
    let out = home.join("out");
    let ran = gauntlet(&["run", argument(&suite), "--out", argument(&out)]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(ran.stdout.contains("arena poisoned (targeted + badnet)"), "{}", ran.stdout);
    let lines = scores(&out.join("results.jsonl"));
    let of_clip = measured(&lines, "poisoned/clip/seed-0");
    assert_eq!(of_clip[..3], ["targeted/psr", "targeted/returned", "targeted/psr-3"]);
    assert_eq!((of_clip.len(), measured(&lines, "poisoned/roclip/seed-0").len()), (16, 21));
    assert!(lines.iter().all(|line| line.dataset == "webdataset"));
    let digests = digests(&lines);
    assert!(digests.len() == 2 && digests.values().all(|read| read.len() == 1), "{digests:?}");
}
