//! Checks of made-up results with known outcomes.

use super::*;
use crate::sample::{SOUND, judged as suite, results};
use gauntlet::results::{Line, ScoreLine};
use std::path::Path;

/// The folder of a run with these results; every trial has finished.
fn run(home: &Path, suite: Suite, lines: Vec<Line>) -> Folder {
    let folder = Folder { path: home.into(), suite, lines };
    for (arena, defense, seed) in folder.grid() {
        let trial = folder.trial_folder(arena, defense, seed);
        std::fs::create_dir_all(&trial).unwrap();
        std::fs::write(trial.join("scores.jsonl"), "").unwrap();
        std::fs::write(trial.join("trial.json"), "").unwrap();
    }
    folder
}

fn baseline(seeds: u64) -> Result<Baseline> {
    let home = tempfile::tempdir().unwrap();
    Baseline::record(&run(home.path(), suite(seeds), results(seeds, &SOUND)))
}

/// The answer, and what became of the attack's success on `mine`, for a run with other seeds whose results were changed.
fn checked(tolerance: Option<f64>, change: impl Fn(ScoreLine) -> Option<ScoreLine>) -> (Answer, Outcome) {
    let home = tempfile::tempdir().unwrap();
    let fresh = |line: Line| match line {
        // The same jitter in another order: other seeds.
        Line::Score(line) => change(ScoreLine { seed: (line.seed + 2) % 5 + 100, ..line }).map(Line::Score),
        other => Some(other),
    };
    let lines = results(5, &SOUND).into_iter().filter_map(fresh).collect();
    let folder = run(home.path(), Suite { seeds: (100..105).collect(), ..suite(5) }, lines);
    let findings = baseline(5).unwrap().check(&folder, tolerance).unwrap();
    let mine = findings.scores.iter().find(|one| one.recorded.key.name() == "hit mine a asr").unwrap();
    (findings.answer(), mine.outcome.clone())
}

fn is_success_of_mine(line: &ScoreLine) -> bool {
    line.arena == "hit" && line.defense == "mine" && line.score == "asr"
}

#[test]
fn a_check_passes_fresh_seeds_and_stops_what_moved_either_way() {
    assert_eq!(checked(None, Some), (Answer::NothingMoved, Outcome::Within));
    let shift = |by: f64| {
        move |line: ScoreLine| {
            let value = if is_success_of_mine(&line) { line.value + by } else { line.value };
            Some(ScoreLine { value, ..line })
        }
    };
    assert_eq!(checked(None, shift(0.3)), (Answer::Moved, Outcome::Moved(Some(false))));
    assert_eq!(checked(None, shift(-0.3)).1, Outcome::Moved(Some(true)));
    assert_eq!(
        checked(Some(0.5), shift(0.3)),
        (Answer::NothingMoved, Outcome::Within),
        "a tolerance of 50 points is accepted"
    );
    let wild = |line: ScoreLine| {
        let value = if is_success_of_mine(&line) { (line.seed % 2) as f64 * 0.6 } else { line.value };
        Some(ScoreLine { value, ..line })
    };
    assert!(
        matches!(checked(Some(0.2), wild), (Answer::CannotTell, Outcome::CannotTell(_))),
        "{:?}",
        checked(Some(0.2), wild)
    );
    assert_eq!(
        checked(None, wild),
        (Answer::NothingMoved, Outcome::Within),
        "it shows nothing, and no detectable change was asked for"
    );
    let missing = |line: ScoreLine| (!is_success_of_mine(&line)).then_some(line);
    assert!(matches!(checked(None, missing), (Answer::CannotTell, Outcome::CannotTell(_))));
    let one_missing = |line: ScoreLine| (!is_success_of_mine(&line) || line.seed != 103).then_some(line);
    assert_eq!(
        checked(None, one_missing),
        (Answer::CannotTell, Outcome::CannotTell("1 of 5 seeds are missing".into()))
    );
}

#[test]
fn a_check_wants_the_recorded_suite_and_its_poison() {
    assert!(baseline(4).unwrap_err().chain().contains("needs 5 or more"));
    let (recorded, home) = (baseline(5).unwrap(), tempfile::tempdir().unwrap());
    let same = recorded.check(&run(home.path(), suite(5), results(5, &SOUND)), None).unwrap();
    assert!(same.answer() == Answer::NothingMoved && same.scores.iter().all(|one| one.outcome == Outcome::Same));
    let edited = |edits: &str, pixels: &str| {
        let change = |line: Line| match line {
            Line::Score(line) => {
                Line::Score(ScoreLine { poison_digest: format!("{edits}{}{}-{pixels}", line.arena, line.seed), ..line })
            }
            other => other,
        };
        let lines = results(5, &SOUND).into_iter().map(change).collect();
        recorded.check(&run(home.path(), suite(5), lines), None).unwrap()
    };
    assert_eq!((edited("other", "pixels").answer(), edited("other", "pixels").other_poison.len()), (Answer::Moved, 10));
    assert_eq!(
        (edited("", "others").answer(), edited("", "others").remarks.len()),
        (Answer::NothingMoved, 10),
        "pixels alone are a remark"
    );
    let redefined = |line: Line| match line {
        Line::Score(line) if line.score == "asr" => Line::Score(ScoreLine { version: 2, ..line }),
        other => other,
    };
    let lines = results(5, &SOUND).into_iter().map(redefined).collect();
    let refusal = recorded.check(&run(home.path(), suite(5), lines), None).unwrap_err().chain();
    assert!(refusal.contains("by version 1 of its definition, and this run has version 2"), "{refusal}");
    let other = Suite { heldout: 0.2, ..suite(5) };
    let refusal = recorded.check(&run(home.path(), other, results(5, &SOUND)), None).unwrap_err().chain();
    assert!(refusal.contains("`heldout`: 0.2, recorded 0.1"), "{refusal}");
    let trial = home.path().join("trials/hit/mine/seed-3");
    std::fs::remove_file(trial.join("scores.jsonl")).unwrap();
    std::fs::write(trial.join("stderr.log"), format!("{}\n", Error::Interrupted)).unwrap();
    let folder = Folder { path: home.path().into(), suite: suite(5), lines: results(5, &SOUND) };
    assert_ne!(recorded.check(&folder, None).unwrap().scores[0].outcome, Outcome::Failed, "stopped, not failed");
    std::fs::write(trial.join("stderr.log"), "error: it broke").unwrap();
    let failed =
        recorded.check(&Folder { path: home.path().into(), suite: suite(5), lines: results(5, &SOUND) }, None).unwrap();
    assert!(failed.answer() == Answer::Moved && failed.scores[0].outcome == Outcome::Failed);
    // Nor do the seeds that did not fail speak for it.
    let moved = |line: Line| match line {
        Line::Score(line) => Line::Score(ScoreLine { value: line.value + 1e-9, ..line }),
        other => other,
    };
    let lines = results(5, &SOUND).into_iter().map(moved).collect();
    let failed = recorded.check(&Folder { path: home.path().into(), suite: suite(5), lines }, None).unwrap();
    assert!(failed.answer() == Answer::Moved && failed.scores[0].outcome == Outcome::Failed);
}

#[test]
fn a_check_takes_ranks_that_agree_for_no_certainty() {
    let ranks = |value: f64| {
        let place = move |line: Line| match line {
            Line::Score(line) if is_success_of_mine(&line) => {
                let (unit, low, high) = (Unit::Rank, value, value);
                Line::Score(ScoreLine { unit, value, low, high, ..line })
            }
            other => other,
        };
        results(5, &SOUND).into_iter().map(place).collect::<Vec<_>>()
    };
    let home = tempfile::tempdir().unwrap();
    let recorded = Baseline::record(&run(home.path(), suite(5), ranks(3.0))).unwrap();
    let findings = recorded.check(&run(home.path(), suite(5), ranks(3.5)), None).unwrap();
    let mine = findings.scores.iter().find(|one| one.recorded.unit == Unit::Rank).unwrap();
    let change = mine.change.unwrap();
    assert!((change.error - (1.0f64 / 12.0 * 0.4).sqrt()).abs() < 1e-12, "{change:?}");
    assert!(mine.recorded.detectable > 0.5 && change.p > 0.01, "rounding changes half a place: {mine:?}");
}
