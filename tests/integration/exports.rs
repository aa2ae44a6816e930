//! Exports of a results folder: tables for other programs, TensorBoard's event files, and merged
//! folders of several machines.

use crate::program::{argument, folder, gauntlet, scores};
use crate::report::{copy, mean};
use crate::suite::WORLD;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

fn table(out: &Path, format: &str) -> String {
    let ran = gauntlet(&["table", argument(out), "--format", format]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    ran.stdout
}

#[test]
fn tables_for_other_programs_say_what_the_results_say() {
    let csv = table(&WORLD.out, "csv");
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let header = reader.headers().unwrap().clone();
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    let of =
        |row: &csv::StringRecord, column: &str| row[header.iter().position(|name| name == column).unwrap()].to_string();
    let lines = scores(&WORLD.out.join("results.jsonl"));
    for defense in ["clip", "roclip"] {
        for score in ["top1", "psr", "asr"] {
            let wanted = |row: &&csv::StringRecord| {
                of(row, "arena") == "poisoned" && of(row, "defense") == defense && of(row, "score") == score
            };
            let row = rows.iter().find(wanted).unwrap_or_else(|| panic!("no {score} of {defense} in {csv}"));
            assert!((of(row, "mean").parse::<f64>().unwrap() - mean(&lines, "poisoned", defense, score)).abs() < 1e-12);
            assert_eq!(of(row, "seeds"), "2");
        }
    }
    // Two seeds have a range.
    let of_clip =
        lines.iter().filter(|line| line.arena == "poisoned" && line.defense == "clip" && line.score == "top1");
    let mut values: Vec<f64> = of_clip.map(|line| 100.0 * line.value).collect();
    values.sort_by(f64::total_cmp);
    let [low, high] = [values[0], values[1]].map(|value| format!("{value:.1}"));
    let (markdown, latex) = (table(&WORLD.out, "markdown"), table(&WORLD.out, "latex"));
    assert!(
        markdown.contains("| --- | ---: |") && markdown.contains(&format!("| clip | {low} to {high}<br>")),
        "{markdown}"
    );
    assert!(
        latex.contains("\\toprule") && latex.contains(&low) && latex.contains(&high) && !latex.contains("\\textbf"),
        "two seeds: {latex}"
    );
}

#[test]
fn tensorboard_has_a_run_of_every_trial() {
    let (out, empty) = (folder("tensorboard"), folder("tensorboard-empty"));
    let ran = gauntlet(&["tensorboard", argument(&WORLD.out), "--out", argument(&out)]);
    assert!(ran.code == Some(0) && ran.stdout.contains("8 runs"), "{ran:?}");
    let events = fs::read(out.join("poisoned/roclip/seed-1/events.out.tfevents.0.gauntlet")).unwrap();
    let holds = |name: &str| events.windows(name.len()).any(|part| part == name.as_bytes());
    for name in ["brain.Event:2", "train/loss", "train/logit_scale", "scores/targeted/psr"] {
        assert!(holds(name), "no {name}");
    }
    fs::copy(WORLD.out.join("suite.json"), empty.join("suite.json")).unwrap();
    let ran = gauntlet(&["tensorboard", argument(&empty), "--out", argument(&out)]);
    assert!(ran.code == Some(2) && ran.stderr.contains("has no trial that has started"), "{ran:?}");
}

/// The run as if a machine had been given only this seed.
fn part(seed: u64) -> PathBuf {
    let out = folder(&format!("merge-{seed}"));
    copy(&WORLD.out, &out);
    let mut suite: Value = serde_json::from_str(&fs::read_to_string(out.join("suite.json")).unwrap()).unwrap();
    suite["seeds"] = json!([seed]);
    fs::write(out.join("suite.json"), suite.to_string()).unwrap();
    let results = fs::read_to_string(out.join("results.jsonl")).unwrap();
    let own = results.lines().filter(|line| line.contains(&format!("/seed-{seed}\"")));
    fs::write(out.join("results.jsonl"), own.map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    for trial in ["clean/clip", "clean/roclip", "poisoned/clip", "poisoned/roclip"] {
        fs::remove_dir_all(out.join("trials").join(trial).join(format!("seed-{}", 1 - seed))).unwrap();
    }
    out
}

#[test]
fn the_folders_of_two_machines_make_the_table_of_one() {
    let (one, two, all) = (part(0), part(1), folder("merge").join("all"));
    let merge = |out: &Path| gauntlet(&["merge", argument(&one), argument(&two), "--out", argument(out)]);
    let ran = merge(&all);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(table(&all, "csv"), table(&WORLD.out, "csv"));
    let again = merge(&all);
    assert!(again.code == Some(2) && again.stderr.contains("already exists"), "{again:?}");

    let results = fs::read_to_string(two.join("results.jsonl")).unwrap();
    fs::write(two.join("results.jsonl"), results.replace("seed-1", "seed-0").replace("\"seed\":1", "\"seed\":0"))
        .unwrap();
    let other = merge(&folder("merge-other").join("all"));
    assert!(other.code == Some(2) && !all.with_file_name("other").exists(), "{other:?}");
}
