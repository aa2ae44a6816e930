//! `compare`, `check` and `plan` on runs of a small suite.

use crate::program::{argument, folder, gauntlet, world_suite};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// A run of five seeds of two defenses, and another of the same.
fn runs(name: &str) -> (PathBuf, PathBuf, PathBuf) {
    let home = folder(name);
    let suite = world_suite(&home, 1, "[0, 1, 2, 3, 4]", "clip = {}\nidle = { plugin = 'augmentation-control' }");
    let out = home.join("out");
    let ran = gauntlet(&[
        "run",
        argument(&suite),
        "--out",
        argument(&out),
        "--only",
        "poisoned/clip",
        "--only",
        "clean/clip",
    ]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    (home, suite, out)
}

#[test]
fn a_run_is_recorded_once_it_is_whole_and_checked_against_itself() {
    let (home, suite, out) = runs("judge");
    let baseline = home.join("baseline.json");
    let record = || gauntlet(&["check", argument(&out), "--record", argument(&baseline)]);
    let ran = record();
    assert!(ran.code == Some(2) && ran.stderr.contains("clean/idle/seed-0 has no scores"), "{ran:?}");
    let ran = gauntlet(&["run", argument(&suite), "--out", argument(&out)]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let ran = record();
    assert!(ran.code == Some(0) && ran.stdout.contains("scores of 5 seeds"), "{ran:?}");

    let (junit, markdown) = (home.join("junit.xml"), home.join("summary.md"));
    let check = |out: &Path| {
        let files = ["--junit", argument(&junit), "--markdown", argument(&markdown)];
        gauntlet(&[&["check", argument(out), "--against", argument(&baseline)][..], &files].concat())
    };
    let ran = check(&out);
    assert!(ran.code == Some(0) && ran.stdout.contains("nothing has moved"), "{ran:?}");
    let xml = fs::read_to_string(&junit).unwrap();
    assert!(xml.contains("failures=\"0\"") && xml.contains("poisoned clip badnet asr"), "{xml}");

    // Every accuracy of one row drops to zero. Without the trials' folders the lines are those of
    // the file.
    fs::rename(out.join("trials"), home.join("trials")).unwrap();
    let results = out.join("results.jsonl");
    let lines = fs::read_to_string(&results).unwrap();
    let broken = lines.lines().map(|line| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        if line["score"] == "top1" && line["trial"].as_str().unwrap().starts_with("poisoned/clip/") {
            line["value"] = 0.into();
        }
        format!("{line}\n")
    });
    fs::write(&results, broken.collect::<String>()).unwrap();
    let ran = check(&out);
    assert!(ran.code == Some(1) && ran.stdout.contains("REGRESSION"), "{ran:?}");
    let first = ran.stdout.lines().find(|line| line.contains("top1")).unwrap();
    assert!(first.contains("poisoned clip top1") && first.contains("MOVED, for the worse"), "{}", ran.stdout);
    assert!(fs::read_to_string(&junit).unwrap().contains("<failure message="), "the service gets it");
    assert!(fs::read_to_string(&markdown).unwrap().contains("| poisoned clip top1 |"));

    // A score that one row lacks is neither equal nor moved.
    let without = |line: &&str| !(line.contains("\"top1\"") && line.contains("\"poisoned/clip/"));
    fs::write(&results, lines.lines().filter(without).map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    let ran = check(&out);
    assert!(ran.code == Some(3) && ran.stdout.contains("could not tell: "), "{ran:?}");
}

#[test]
fn rows_and_models_are_compared_and_what_they_differ_in_is_said() {
    let (_, _, out) = runs("compare");
    let ran = gauntlet(&["compare", argument(&out), "--baseline", "clipp"]);
    assert!(ran.code == Some(2) && ran.stderr.contains("did you mean `clip`"), "{ran:?}");
    let ran = gauntlet(&["compare", argument(&out), "--models", "poisoned/clip/seed-0", "clean/clip/seed-0"]);
    assert!(ran.code == Some(0) && ran.stdout.contains("badnet asr") && ran.stdout.contains("McNemar"), "{ran:?}");
    let ran = gauntlet(&["compare", argument(&out), "--models", "poisoned/clip/seed-0", "poisoned/clip/seed-1"]);
    assert!(ran.code == Some(2) && ran.stderr.contains("measured on other cases"), "{ran:?}");
    let ran = gauntlet(&["compare", argument(out.parent().unwrap())]);
    assert!(ran.code == Some(2) && ran.stderr.contains("contains no suite.json"), "{ran:?}");
}

#[test]
fn a_plan_says_what_a_suite_costs_and_can_tell() {
    let suite = Path::new(env!("CARGO_MANIFEST_DIR")).join("suites/smoke.toml");
    let ran = gauntlet(&["plan", argument(&suite), "--set", "seeds=[0, 1, 2]", "--steps", "1"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    for part in [
        "2 arenas x 3 defenses x 3 seeds = 18 trials",
        " roclip ",
        "3 seeds: means, ranges and intervals, no verdict; 6 seeds give one",
    ] {
        assert!(ran.stdout.contains(part), "{part:?} is not in {}", ran.stdout);
    }
    let rate = ran.stdout.lines().find(|line| line.starts_with(" clip")).unwrap().split_whitespace().nth(1).unwrap();
    assert!(rate.parse::<f64>().unwrap() > 0.0, "{}", ran.stdout);
}
