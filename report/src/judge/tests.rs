//! Verdicts on made-up results with known outcomes.

use super::*;
use crate::over_seeds;
use crate::sample::{SOUND, judged as suite, results, score};
use gauntlet::evaluator::Unit;
use gauntlet::results::{Line, ScoreLine};
use serde_json::json;

/// Verdicts on the attack's success: mine and clip, control and clip, mine and its control.
fn verdicts(seeds: u64, rows: [(f64, f64); 3]) -> ([Verdict; 3], Vec<String>) {
    let [clip, control, mine] = rows;
    let (suite, rows) = (suite(seeds), [("clip", clip), ("control", control), ("mine", mine)]);
    let lines = results(seeds, &rows.map(|(defense, (accuracy, success))| (defense, accuracy, success)));
    let view = ResultsView::new(&suite, &lines).unwrap();
    let all = compare(&view, "clip").unwrap();
    let verdict = |defense: &str, against: &str| {
        let is_it = |one: &&Comparison| {
            one.arena == "hit"
                && one.column.score == "asr"
                && (one.defense.as_str(), one.against.as_str()) == (defense, against)
        };
        all.iter().find(is_it).unwrap().verdict
    };
    ([verdict("mine", "clip"), verdict("control", "clip"), verdict("mine", "control")], remarks::controls(&all))
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
    assert_eq!(remarks, ["hit, a asr: mine is better than clip, but cannot be distinguished from its control control"]);
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
    assert_eq!(both, [Costly, Costly, Better], "as costly as its control, it may be compared with it");
    let suite = suite(6);
    let lines = results(6, &[("clip", 0.95, 0.9), ("control", 0.94, 0.5), ("mine", 0.12, 0.0)]);
    let unknown = |line| match line {
        Line::Score(line) => Line::Score(ScoreLine { chance: None, ..line }),
        other => other,
    };
    let view = |lines: &[Line]| ResultsView::new(&suite, lines).unwrap().marks("hit", "mine").vacuous;
    assert!(view(&lines) && !view(&lines.into_iter().map(unknown).collect::<Vec<_>>()), "no chance level, no mark");
    let lines: Vec<Line> = results(6, &[("clip", 0.95, 0.9), ("mine", 0.9, 0.1)]);
    let hit = |line: &Line| matches!(line, Line::Score(line) if line.arena == "hit");
    let lines: Vec<Line> = lines.into_iter().filter(hit).collect();
    let unknown = compare(&ResultsView::new(&suite, &lines).unwrap(), "clip").unwrap();
    assert!(unknown.iter().any(|one| one.verdict == GateUnknown), "the clean arena has not run");
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

/// The comparison of `mine` with `clip` in one score of the arena `hit`, with these values seed by
/// seed.
fn found(unit: Unit, rows: [&[f64]; 2]) -> (Comparison, Mean) {
    let suite = suite(rows[0].len() as u64);
    let mut lines = results(suite.seeds.len() as u64, &[("clip", 0.95, 0.9), ("mine", 0.93, 0.1)]);
    for (defense, values) in ["clip", "mine"].into_iter().zip(rows) {
        for (seed, value) in (0..).zip(values) {
            let line = score("hit", Some("a"), defense, seed, "found", *value);
            lines.push(Line::Score(ScoreLine { unit, higher_is_better: Some(true), n: 101, ..line }));
        }
    }
    let view = ResultsView::new(&suite, &lines).unwrap();
    let all = compare(&view, "clip").unwrap();
    let one = all.into_iter().find(|one| one.column.score == "found").unwrap();
    let mean = over_seeds::mean(&view.lines("hit", "mine", &one.column)).unwrap();
    (one, mean)
}

#[test]
fn ranks_that_agree_in_every_seed_leave_room_for_doubt() {
    let (one, mean) = found(Unit::Rank, [&[1.0; 6], &[2.0; 6]]);
    // A step of one place: rounding has a deviation of 1 / sqrt(12), a difference one of 1 /
    // sqrt(6), and its error is sqrt(1 / 36).
    assert!((one.difference.error - 1.0 / 6.0).abs() < 1e-12 && one.difference.p > 0.001, "{one:?}");
    assert!(mean.low > 1.5 && mean.low < 1.9 && mean.high > 2.1 && mean.high < 2.5, "{mean:?}");
    let (_, first) = found(Unit::Rank, [&[1.0; 6], &[1.0; 6]]);
    assert!(first.low == 1.0 && first.high > 1.1, "no place comes before the first: {first:?}");
    let (five, _) = found(Unit::Rank, [&[1.0; 5], &[2.0; 5]]);
    assert_eq!((five.verdict, five.signs), (Verdict::TooFewSeeds, 0.0625));
    // Cosines have no step: only the exact test remains, and corrected it shows nothing.
    let (cosine, _) = found(Unit::Cosine, [&[0.25; 6], &[0.5; 6]]);
    assert_eq!((cosine.difference.p, cosine.verdict), (0.03125, Verdict::NotDistinguishable));
}

#[test]
fn a_verdict_needs_the_exact_test_too() {
    let clip = [0.5; 6];
    // One of six seeds has the other sign: sign flips have p = 0.0625 at best, whatever the result
    // of the t test.
    let (one, _) = found(Unit::Rank, [&clip.map(|_| 100.0), &[150.0, 151.0, 149.0, 150.0, 150.0, 99.9]]);
    let t = holm(&[one.difference.p])[0];
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
fn who_knows_the_truth_is_no_defense() {
    let mut suite = suite(6);
    suite.defenses["control"] = json!({ "plugin": "clip", "oracle": true });
    let lines = results(6, &[("clip", 0.95, 0.9), ("control", 0.95, 0.0), ("mine", 0.93, 0.1)]);
    let all = compare(&ResultsView::new(&suite, &lines).unwrap(), "clip").unwrap();
    assert!(all.iter().all(|one| one.defense != "control" && one.against != "control") && !all.is_empty());
}
