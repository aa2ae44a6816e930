//! Verdicts and checks on results that are made up, so that what they must say is known.

use super::check::Outcome;
use super::record::Baseline;
use super::*;
use crate::folder::Folder;
use crate::sample::score;
use gauntlet::results::{Line, ScoreLine};
use gauntlet::suite::Suite;
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
    (gauntlet::draw::hash(seed, defense, &[]) % 5) as f64 / 100.0 - 0.02
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
    let board = ResultsView::new(&suite, &lines).unwrap();
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
fn a_verdict_needs_six_seeds_and_a_difference_beyond_them() {
    use Verdict::*;
    let rows = [(0.95, 0.9), (0.94, 0.5), (0.93, 0.1)];
    assert_eq!(verdicts(6, rows).0, [Better; 3]);
    assert_eq!(verdicts(5, rows).0, [TooFewSeeds; 3]);
    assert!(TooFewSeeds.words().ends_with(&format!("fewer than {FOR_VERDICT} seeds")));
    assert_eq!(verdicts(6, [(0.95, 0.8), (0.94, 0.8), (0.93, 0.95)]).0[0], Worse);
    let (found, remarks) = verdicts(6, [(0.95, 0.9), (0.94, 0.5), (0.93, 0.5)]);
    assert_eq!(found, [Better, Better, NotDistinguishable]);
    assert_eq!(remarks, ["hit, a asr: mine is better than clip, but cannot be told from its control control"]);
}

#[test]
fn who_may_not_be_judged_is_not() {
    use Verdict::*;
    let good = (0.95, 0.9);
    assert_eq!(verdicts(6, [(0.95, 0.15), (0.94, 0.1), (0.93, 0.02)]).0, [AttackFailed; 3], "a lift of 14 points");
    assert_eq!(verdicts(6, [good, (0.94, 0.5), (0.12, 0.0)]).0, [Vacuous, Better, Vacuous], "accuracy near chance");
    assert_eq!(
        verdicts(6, [good, (0.94, 0.5), (0.80, 0.0)]).0,
        [Costly, Better, Costly],
        "accuracy below 0.9 of clip's"
    );
    let both = verdicts(6, [good, (0.82, 0.5), (0.80, 0.0)]).0;
    assert_eq!(both, [Costly, Costly, Better], "as costly as its control, it may be judged beside it");
    let suite = suite(6);
    let lines: Vec<Line> = results(6, &[("clip", 0.95, 0.9), ("mine", 0.9, 0.1)]);
    let hit = |line: &Line| matches!(line, Line::Score(line) if line.arena == "hit");
    let lines: Vec<Line> = lines.into_iter().filter(hit).collect();
    let unknown = compare(&ResultsView::new(&suite, &lines).unwrap(), "clip").unwrap();
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
    let all = compare(&ResultsView::new(&suite, &lines).unwrap(), "mine").unwrap();
    let mut pairs: Vec<_> =
        all.iter().map(|one| (&one.arena, one.column.name(), [&one.defense, &one.against])).collect();
    pairs.iter_mut().for_each(|(_, _, rows)| rows.sort());
    pairs.sort();
    assert!(pairs.windows(2).all(|two| two[0] != two[1]), "{pairs:?}");
    assert_eq!(all.len(), (2 + 1) * 2, "both scores of the poisoned arena and the clean one's accuracy, rows");
}

/// What `mine` is found to be beside `clip` in one score of the arena `hit`, whose values are these, seed by seed.
fn found(unit: Unit, rows: [&[f64]; 2]) -> (Comparison, Mean) {
    let suite = suite(rows[0].len() as u64);
    let mut lines = results(suite.seeds.len() as u64, &[("clip", 0.95, 0.9), ("mine", 0.93, 0.1)]);
    for (defense, values) in ["clip", "mine"].into_iter().zip(rows) {
        for (seed, value) in (0..).zip(values) {
            let line = score("hit", Some("a"), defense, seed, "found", *value);
            lines.push(Line::Score(ScoreLine { unit, higher_is_better: Some(true), n: 101, ..line }));
        }
    }
    let board = ResultsView::new(&suite, &lines).unwrap();
    let all = compare(&board, "clip").unwrap();
    let one = all.into_iter().find(|one| one.column.score == "found").unwrap();
    let mean = over_seeds(&board.lines("hit", "mine", &one.column)).unwrap();
    (one, mean)
}

#[test]
fn ranks_that_agree_in_every_seed_leave_room_for_doubt() {
    let (one, mean) = found(Unit::Rank, [&[1.0; 6], &[2.0; 6]]);
    // A step of one place: rounding has a deviation of 1 / sqrt(12), that of a difference 1 / sqrt(6), its error is sqrt(1 / 36).
    assert!((one.difference.error - 1.0 / 6.0).abs() < 1e-12 && one.difference.p > 0.001, "{one:?}");
    assert!(mean.low > 1.5 && mean.low < 1.9 && mean.high > 2.1 && mean.high < 2.5, "{mean:?}");
    let (_, first) = found(Unit::Rank, [&[1.0; 6], &[1.0; 6]]);
    assert!(first.low == 1.0 && first.high > 1.1, "no place comes before the first: {first:?}");
    let (five, _) = found(Unit::Rank, [&[1.0; 5], &[2.0; 5]]);
    assert_eq!((five.verdict, five.signs), (Verdict::TooFewSeeds, 0.0625));
    // Cosines have no step: nothing but the exact test is left, and corrected it shows nothing.
    let (cosine, _) = found(Unit::Cosine, [&[0.25; 6], &[0.5; 6]]);
    assert_eq!((cosine.difference.p, cosine.verdict), (0.03125, Verdict::NotDistinguishable));
}

#[test]
fn a_verdict_needs_the_exact_test_too() {
    let clip = [0.5; 6];
    // One of six seeds points the other way: sign flips have p = 0.0625 at best, whatever the t test says.
    let (one, _) = found(Unit::Rank, [&clip.map(|_| 100.0), &[150.0, 151.0, 149.0, 150.0, 150.0, 99.9]]);
    let t = seeds::holm(&[one.difference.p])[0];
    assert!(t < LEVEL && one.signs > LEVEL && one.verdict == Verdict::NotDistinguishable, "{one:?}");
    let (one, _) = found(Unit::Rank, [&clip.map(|_| 100.0), &[150.0, 151.0, 149.0, 150.0, 150.0, 140.0]]);
    assert!(one.signs == 0.03125 && one.verdict == Verdict::Better, "{one:?}");
}

#[test]
fn the_clean_arena_judges_no_attack_and_its_base_rates_crowd_out_no_verdict() {
    let (suite, lines) = (suite(6), results(6, &SOUND));
    let all = compare(&ResultsView::new(&suite, &lines).unwrap(), "clip").unwrap();
    let clean: Vec<&Comparison> = all.iter().filter(|one| one.arena == "clean").collect();
    assert!(clean.iter().all(|one| one.column.accuracy && one.adjusted.is_some()) && clean.len() == 3, "{clean:?}");
    let tested: Vec<f64> = all.iter().filter(|one| one.adjusted.is_some()).map(|one| one.difference.p).collect();
    assert_eq!(tested.len(), 9, "three pairs: accuracy in two arenas, the attack in one");
    let least = tested.iter().copied().fold(1.0, f64::min);
    let adjusted = all.iter().filter_map(|one| one.adjusted).fold(1.0, f64::min);
    assert!((adjusted - 9.0 * least).abs() < 1e-12, "corrected for what is sought and nothing else");
}

#[test]
fn an_attack_that_fails_judges_nobody_by_what_it_leaves_either() {
    let suite = suite(6);
    let mut lines = results(6, &[("clip", 0.95, 0.15), ("mine", 0.93, 0.02)]);
    for (seed, defense) in (0..6).flat_map(|seed| [(seed, "clip"), (seed, "mine")]) {
        let value = if defense == "clip" { 0.5 } else { 0.9 } + seed as f64 / 100.0;
        let line = score("hit", Some("a"), defense, seed, "returned", value);
        lines.push(Line::Score(ScoreLine { higher_is_better: Some(true), ..line }));
    }
    let all = compare(&ResultsView::new(&suite, &lines).unwrap(), "clip").unwrap();
    let returned = all.iter().find(|one| one.column.score == "returned").unwrap();
    assert_eq!(returned.verdict, Verdict::AttackFailed, "its success is lifted by 14 points only");
}

#[test]
fn fewer_seeds_are_told_what_they_can_say() {
    assert_eq!(seeds_say(3), "3 seeds: means, ranges and intervals, no verdict; 6 seeds give one");
    assert!(seeds_say(2).contains("2 seeds: means and ranges, no interval and no verdict"), "{}", seeds_say(2));
    assert!(seeds_say(1).starts_with("1 seed: what happened once") && seeds_say(6).ends_with("verdicts"));
}

#[test]
fn shares_that_agree_at_the_border_have_an_interval_that_could_be_and_others_are_no_narrower_than_t() {
    let of = |values: &[f64]| {
        let line =
            |(seed, value): (u64, &f64)| ScoreLine { n: 32, ..score("hit", Some("a"), "clip", seed, "asr", *value) };
        let lines: Vec<ScoreLine> = (0..).zip(values).map(line).collect();
        over_seeds(&lines.iter().map(Some).collect::<Vec<_>>()).unwrap()
    };
    let whole = of(&[1.0; 8]);
    assert!(whole.high == 1.0 && (0.85..0.9).contains(&whole.low), "{whole:?}");
    // RoCLIP's badnet of docs/results.md: two camps. Student's t would begin at -0.12.
    let camps = of(&[0.03125, 0.0, 0.03125, 0.0, 0.90625, 0.0, 0.0625, 0.65625]);
    assert!(camps.low > 0.0 && camps.low < 0.1 && camps.high > 0.5 && camps.high < 0.7, "{camps:?}");
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
    assert!(mine.recorded.sees > 0.5 && change.p > 0.01, "half a place is what rounding does: {mine:?}");
}

#[test]
fn who_knows_the_truth_is_no_defense() {
    let mut suite = suite(6);
    suite.defenses["control"] = json!({ "plugin": "clip", "oracle": true });
    let lines = results(6, &[("clip", 0.95, 0.9), ("control", 0.95, 0.0), ("mine", 0.93, 0.1)]);
    let all = compare(&ResultsView::new(&suite, &lines).unwrap(), "clip").unwrap();
    assert!(all.iter().all(|one| one.defense != "control" && one.against != "control") && !all.is_empty());
}

#[test]
fn two_models_are_compared_on_the_same_pictures_only() {
    use gauntlet::evaluator::Predictions;
    let (home, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let write = |folder: &Path, first: u32, hits: [bool; 6]| {
        let mut cases = Predictions { score: "top1".into(), ..Predictions::default() };
        hits.iter().zip(first..).for_each(|(hit, row)| cases.picture(row, 1, 1, *hit));
        Predictions::write(folder, &[cases]).unwrap();
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
