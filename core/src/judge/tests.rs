//! Verdicts and checks on results that are made up, so that what they must say is known.

use super::check::Outcome;
use super::record::Baseline;
use super::*;
use crate::report::folder::Folder;
use crate::report::sample::score;
use crate::report::{Line, ScoreLine};
use crate::suite::Suite;
use serde_json::json;
use std::path::Path;

fn suite(seeds: u64) -> Suite {
    let suite = json!({
        "name": "s", "seeds": (0..seeds).collect::<Vec<_>>(), "model": "tiny", "data": { "kind": "world" },
        "attacks": { "a": { "plugin": "badnet" } }, "arenas": { "hit": ["a"] },
        "defenses": { "clip": {}, "control": { "of": "mine" }, "mine": {} },
    });
    serde_json::from_value(suite).unwrap()
}

fn line(arena: &str, defense: &str, seed: u64, attack: Option<&str>, value: f64) -> Line {
    let name = if attack.is_some() { "asr" } else { "top1" };
    let (low, high) = ((value - 0.08).max(0.0), (value + 0.08).min(1.0));
    Line::Score(ScoreLine { n: 100, low, high, chance: 0.05, ..score(arena, attack, defense, seed, name, value) })
}

/// Seeds differ by a point or two, in an order of no meaning.
fn jitter(defense: &str, seed: u64) -> f64 {
    (crate::draw::hash(seed, defense, &[]) % 5) as f64 / 100.0 - 0.02
}

/// Results of rows `(defense, accuracy, attack success)`; in the clean arena the attack takes 1%.
fn results(seeds: u64, rows: &[(&str, f64, f64)]) -> Vec<Line> {
    let mut lines = Vec::new();
    for seed in 0..seeds {
        for &(defense, accuracy, success) in rows {
            let moved = jitter(defense, seed);
            lines.push(line("clean", defense, seed, None, accuracy + moved));
            lines.push(line("clean", defense, seed, Some("a"), 0.01));
            lines.push(line("hit", defense, seed, None, accuracy + moved));
            lines.push(line("hit", defense, seed, Some("a"), (success + moved).clamp(0.0, 1.0)));
        }
    }
    lines
}

/// Verdicts on the attack's success: mine and clip, control and clip, mine and its control.
fn verdicts(seeds: u64, rows: [(f64, f64); 3]) -> ([Verdict; 3], Vec<String>) {
    let [clip, control, mine] = rows;
    let (suite, rows) = (suite(seeds), [("clip", clip), ("control", control), ("mine", mine)]);
    let lines = results(seeds, &rows.map(|(defense, (accuracy, success))| (defense, accuracy, success)));
    let board = Board::new(&suite, &lines).unwrap();
    let all = compare(&board, "clip").unwrap();
    let verdict = |defense: &str, against: &str| {
        let is_it = |one: &&Comparison| {
            one.arena == "hit"
                && one.column.score == "asr"
                && (one.defense.as_str(), one.against.as_str()) == (defense, against)
        };
        all.iter().find(is_it).unwrap().verdict
    };
    ([verdict("mine", "clip"), verdict("control", "clip"), verdict("mine", "control")], remarks(&all))
}

#[test]
fn a_verdict_needs_five_seeds_and_a_difference_beyond_them() {
    use Verdict::*;
    let rows = [(0.95, 0.9), (0.94, 0.5), (0.93, 0.1)];
    assert_eq!(verdicts(5, rows).0, [Better; 3]);
    assert_eq!(verdicts(4, rows).0, [TooFewSeeds; 3]);
    assert_eq!(verdicts(5, [(0.95, 0.9), (0.94, 0.9), (0.93, 1.0)]).0[0], Worse);
    let (found, remarks) = verdicts(5, [(0.95, 0.9), (0.94, 0.5), (0.93, 0.5)]);
    assert_eq!(found, [Better, Better, NotDistinguishable]);
    assert_eq!(remarks, ["hit, a asr: mine is better than clip, but cannot be told from its control control"]);
}

#[test]
fn who_may_not_be_judged_is_not() {
    use Verdict::*;
    let good = (0.95, 0.9);
    assert_eq!(verdicts(5, [(0.95, 0.15), (0.94, 0.1), (0.93, 0.02)]).0, [AttackFailed; 3], "a lift of 14 points");
    assert_eq!(verdicts(5, [good, (0.94, 0.5), (0.12, 0.0)]).0, [Vacuous, Better, Vacuous], "accuracy near chance");
    assert_eq!(
        verdicts(5, [good, (0.94, 0.5), (0.80, 0.0)]).0,
        [Costly, Better, Costly],
        "accuracy below 0.9 of clip's"
    );
    let both = verdicts(5, [good, (0.82, 0.5), (0.80, 0.0)]).0;
    assert_eq!(both, [Costly, Costly, Better], "as costly as its control, it may be judged beside it");
    let suite = suite(5);
    let lines: Vec<Line> = results(5, &[("clip", 0.95, 0.9), ("mine", 0.9, 0.1)]);
    let hit = |line: &Line| matches!(line, Line::Score(line) if line.arena == "hit");
    let lines: Vec<Line> = lines.into_iter().filter(hit).collect();
    let unknown = compare(&Board::new(&suite, &lines).unwrap(), "clip").unwrap();
    assert!(unknown.iter().any(|one| one.verdict == GateUnknown), "the clean arena has not run");
}

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

const SOUND: [(&str, f64, f64); 3] = [("clip", 0.95, 0.9), ("control", 0.94, 0.5), ("mine", 0.93, 0.1)];

fn baseline(seeds: u64) -> Result<Baseline> {
    let home = tempfile::tempdir().unwrap();
    Baseline::record(&run(home.path(), suite(seeds), results(seeds, &SOUND)))
}

/// Exit code and what became of the attack's success on `mine`, for a run with other seeds whose results were changed.
fn checked(tolerance: Option<f64>, change: impl Fn(ScoreLine) -> Option<ScoreLine>) -> (u8, Outcome) {
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
    (findings.exit_code(), mine.outcome.clone())
}

fn is_success_of_mine(line: &ScoreLine) -> bool {
    line.arena == "hit" && line.defense == "mine" && line.score == "asr"
}

#[test]
fn a_check_passes_fresh_seeds_and_stops_what_moved_either_way() {
    assert_eq!(checked(None, Some), (0, Outcome::Within));
    let shift = |by: f64| {
        move |line: ScoreLine| {
            let value = if is_success_of_mine(&line) { line.value + by } else { line.value };
            Some(ScoreLine { value, ..line })
        }
    };
    assert_eq!(checked(None, shift(0.3)), (1, Outcome::Moved(Some(false))));
    assert_eq!(checked(None, shift(-0.3)).1, Outcome::Moved(Some(true)));
    assert_eq!(
        checked(Some(0.5), shift(0.3)),
        (0, Outcome::Within),
        "whoever asks for a tolerance of 50 points gets it"
    );
    let wild = |line: ScoreLine| {
        let value = if is_success_of_mine(&line) { (line.seed % 2) as f64 * 0.6 } else { line.value };
        Some(ScoreLine { value, ..line })
    };
    assert!(matches!(checked(Some(0.2), wild), (2, Outcome::CannotTell(_))), "{:?}", checked(Some(0.2), wild));
    assert_eq!(
        checked(None, wild),
        (0, Outcome::Within),
        "it shows nothing, and nobody asked how much it could have shown"
    );
    let missing = |line: ScoreLine| (!is_success_of_mine(&line)).then_some(line);
    assert!(matches!(checked(None, missing), (2, Outcome::CannotTell(_))));
    let one_missing = |line: ScoreLine| (!is_success_of_mine(&line) || line.seed != 103).then_some(line);
    assert_eq!(checked(None, one_missing), (2, Outcome::CannotTell("1 of 5 seeds are missing".into())));
}

#[test]
fn a_check_wants_the_recorded_suite_and_its_poison() {
    assert!(baseline(4).unwrap_err().chain().contains("needs 5 or more"));
    let (recorded, home) = (baseline(5).unwrap(), tempfile::tempdir().unwrap());
    let same = recorded.check(&run(home.path(), suite(5), results(5, &SOUND)), None).unwrap();
    assert!(same.exit_code() == 0 && same.scores.iter().all(|one| one.outcome == Outcome::Same));
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
    assert_eq!((edited("other", "pixels").exit_code(), edited("other", "pixels").other_poison.len()), (1, 10));
    assert_eq!(
        (edited("", "others").exit_code(), edited("", "others").remarks.len()),
        (0, 10),
        "pixels alone are a remark"
    );
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
    assert!(failed.exit_code() == 1 && failed.scores[0].outcome == Outcome::Failed);
    // Nor do the seeds that did not fail speak for it.
    let moved = |line: Line| match line {
        Line::Score(line) => Line::Score(ScoreLine { value: line.value + 1e-9, ..line }),
        other => other,
    };
    let lines = results(5, &SOUND).into_iter().map(moved).collect();
    let failed = recorded.check(&Folder { path: home.path().into(), suite: suite(5), lines }, None).unwrap();
    assert!(failed.exit_code() == 1 && failed.scores[0].outcome == Outcome::Failed);
}

#[test]
fn no_pair_is_judged_twice() {
    let (suite, lines) = (suite(5), results(5, &SOUND));
    let all = compare(&Board::new(&suite, &lines).unwrap(), "mine").unwrap();
    let mut pairs: Vec<_> =
        all.iter().map(|one| (&one.arena, one.column.name(), [&one.defense, &one.against])).collect();
    pairs.iter_mut().for_each(|(_, _, rows)| rows.sort());
    pairs.sort();
    assert!(pairs.windows(2).all(|two| two[0] != two[1]), "{pairs:?}");
    assert_eq!(all.len(), 2 * 2 * 2, "arenas, scores, rows");
}

#[test]
fn who_knows_the_truth_is_no_defense() {
    let mut suite = suite(5);
    suite.defenses["control"] = json!({ "plugin": "clip", "oracle": true });
    let lines = results(5, &[("clip", 0.95, 0.9), ("control", 0.95, 0.0), ("mine", 0.93, 0.1)]);
    let all = compare(&Board::new(&suite, &lines).unwrap(), "clip").unwrap();
    assert!(all.iter().all(|one| one.defense != "control" && one.against != "control") && !all.is_empty());
}

#[test]
fn two_models_are_compared_on_the_same_pictures_only() {
    use crate::evaluator::Cases;
    let (home, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let write = |folder: &Path, first: u32, hits: [bool; 6]| {
        let mut cases = Cases { score: "top1".into(), ..Cases::default() };
        hits.iter().zip(first..).for_each(|(hit, row)| cases.picture(row, 1, 1, *hit));
        Cases::write(folder, &[cases]).unwrap();
    };
    write(home.path(), 0, [true, true, true, true, false, false]);
    write(other.path(), 0, [true, false, false, false, true, false]);
    let pairs = pair::compare(home.path(), other.path()).unwrap();
    assert_eq!((pairs[0].n, pairs[0].both, pairs[0].first, pairs[0].second), (6, 1, 3, 1));
    assert!((pairs[0].p - 0.625).abs() < 1e-9, "two-sided: twice (1 + 4) of 16, not {}", pairs[0].p);
    write(other.path(), 1, [true; 6]);
    assert!(pair::compare(home.path(), other.path()).unwrap_err().chain().contains("other cases"));
    std::fs::remove_file(other.path().join("cases.jsonl")).unwrap();
    assert!(pair::compare(home.path(), other.path()).unwrap_err().chain().contains("has no cases.jsonl"));
}
