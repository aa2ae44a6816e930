//! Judging: what the seeds of a suite allow to say of its defenses, and no more. The seed is the unit: a defense is compared with another
//! by the differences that each seed has, whose targets and held-out pictures both shared; all verdicts of a suite are corrected together.
//! docs/statistics.md states models and rules, and how well they hold.
//!
//! `judge/seeds.rs` has the statistics, `judge/rate.rs` the interval of a mean share, `judge/flips.rs` the exact test, `judge/camps.rs` seeds of
//! which some are broken; `judge/pair.rs` the comparison of two trained models, picture by picture, `judge/check.rs` that of
//! a suite with an earlier run of it, `judge/best.rs` what a table may put in bold.

pub mod best;
pub mod camps;
pub mod check;
pub mod flips;
pub mod pair;
pub mod rate;
pub mod record;
pub mod seeds;
#[cfg(test)]
mod tests;

use crate::view::{Column, Gate, ResultsView};
use gauntlet::evaluator::Unit;
use gauntlet::poison::CLEAN;
use gauntlet::results::ScoreLine;
use gauntlet::{Error, Result, Trial};
use seeds::{FOR_INTERVAL, FOR_VERDICT, LEVEL, Mean, holm};
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What may be said of a defense beside another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Better, by the t test, with a chance of 5% that any such verdict of the suite is false, and by the exact sign-flip test.
    Better,
    /// Worse, likewise.
    Worse,
    /// Neither can be said.
    NotDistinguishable,
    /// Fewer than six seeds have both: no verdict.
    TooFewSeeds,
    /// The attack does not work on the undefended baseline: it judges nobody.
    AttackFailed,
    /// The undefended baseline has not run in this arena and the clean one.
    GateUnknown,
    /// One of the two may have learnt nothing: its accuracy may be at most twice chance.
    Vacuous,
    /// The accuracy of one lies well below that of the other, which is a price for robustness: shown, not ranked.
    Costly,
}

/// A defense beside another, in one score of one arena.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// The arena.
    pub arena: String,
    /// The score.
    pub column: Column,
    /// The defense.
    pub defense: String,
    /// What it is compared with.
    pub against: String,
    /// Whether that is a control of the defense.
    pub control: bool,
    /// Its score less the other's, over the seeds that have both.
    pub difference: Mean,
    /// The p value of the t test, corrected for all verdicts of the suite; none where no verdict is sought.
    pub adjusted: Option<f64>,
    /// The p value of the exact sign-flip test, not corrected: with six seeds it is 0.031 at best, which no correction would leave below 0.05.
    pub signs: f64,
    /// What may be said.
    pub verdict: Verdict,
}

/// Compares every defense with `reference` and with its own controls, in every arena and score that ranks. In the clean arena an attack poisons
/// nothing: its scores there are base rates, and no verdict is sought on them.
///
/// # Errors
/// If `reference` is no defense of the suite.
pub fn compare(board: &ResultsView, reference: &str) -> Result<Vec<Comparison>> {
    // What knows the truth is a bound, and no defense.
    let defenses = || board.defenses().filter(|defense| !board.suite.is_oracle(defense));
    let known: Vec<String> = defenses().map(str::to_string).collect();
    if !known.iter().any(|label| label == reference) {
        return Err(Error::Unknown { kind: "defense", name: reference.into(), known });
    }
    let mut comparisons = Vec::new();
    for arena in board.arenas() {
        let judges = |column: &Column| column.ranks() && (arena != CLEAN || column.attack.is_none());
        for column in board.columns(arena).into_iter().filter(judges) {
            for defense in defenses() {
                let others = [reference].into_iter().filter(|other| *other != defense);
                // Its own controls are compared with the reference already.
                let controls = board.controls_of(defense).into_iter();
                let controls = controls.filter(|other| *other != reference && defense != reference);
                let pairs = others.map(|other| (other, false)).chain(controls.map(|other| (other, true)));
                comparisons.extend(pairs.filter_map(|pair| one(board, arena, &column, defense, pair)));
            }
        }
    }
    let tested: Vec<usize> =
        (0..comparisons.len()).filter(|&place| comparisons[place].verdict == Verdict::NotDistinguishable).collect();
    let adjusted = holm(&tested.iter().map(|&place| comparisons[place].difference.p).collect::<Vec<_>>());
    for (place, p) in tested.into_iter().zip(adjusted) {
        let comparison = &mut comparisons[place];
        comparison.adjusted = Some(p);
        let holds = p < LEVEL && comparison.signs < LEVEL;
        comparison.verdict = match (holds, comparison.column.higher_is_better == Some(comparison.difference.mean > 0.0))
        {
            (false, _) => Verdict::NotDistinguishable,
            (true, true) => Verdict::Better,
            (true, false) => Verdict::Worse,
        };
    }
    Ok(comparisons)
}

/// One comparison, its verdict still open (`NotDistinguishable`) where one is sought; none where no seed has both.
fn one(
    board: &ResultsView,
    arena: &str,
    column: &Column,
    defense: &str,
    (against, control): (&str, bool),
) -> Option<Comparison> {
    let (ours, theirs) = (board.lines(arena, defense, column), board.lines(arena, against, column));
    let pairs: Vec<(&ScoreLine, &ScoreLine)> = ours.into_iter().zip(theirs).filter_map(|(a, b)| a.zip(b)).collect();
    let differences: Vec<f64> = pairs.iter().map(|(a, b)| a.value - b.value).collect();
    let least = least_deviation(pairs.iter().flat_map(|(a, b)| [*a, *b])) * 2f64.sqrt(); // both were rounded
    let [from, to] = column.unit.bounds();
    let difference = Mean::of(&differences, least)?.bounded([from - to, to - from]);
    let marks = [defense, against].map(|row| board.marks(arena, row));
    let success = column.attack.is_some();
    let verdict = match board.gate_of_attack(arena, column) {
        Gate::Failed => Verdict::AttackFailed,
        Gate::Unknown => Verdict::GateUnknown,
        Gate::Passed if success && marks.iter().any(|mark| mark.vacuous) => Verdict::Vacuous,
        Gate::Passed if success && board.apart(arena, defense, against) => Verdict::Costly,
        Gate::Passed if difference.seeds < FOR_VERDICT => Verdict::TooFewSeeds,
        Gate::Passed => Verdict::NotDistinguishable,
    };
    Some(Comparison {
        arena: arena.into(),
        column: column.clone(),
        defense: defense.into(),
        against: against.into(),
        control,
        difference,
        adjusted: None,
        signs: flips::sign_flips(&differences),
        verdict,
    })
}

/// The least deviation that values of these lines can be said to have: that of their rounding to the coarsest step among them. What lies within a
/// step is uniform in it, and has its width over the root of 12 as deviation. A share has steps of one case, a rank of one place; a cosine
/// has none, and `Mean::of` leaves cosines that agree to the exact test.
pub fn least_deviation<'a>(lines: impl IntoIterator<Item = &'a ScoreLine>) -> f64 {
    let steps = lines.into_iter().map(|line| line.unit.step(line.n));
    steps.fold(0.0, f64::max) / 12f64.sqrt()
}

/// The mean of a score over the seeds that have run, its interval within what there is; none where none has. Of a share the interval is on
/// either side the wider one of two, Student's t within bounds and that of beta-distributed rates: the one is too narrow near 0 and 1, the other
/// where seeds fall in two camps (docs/statistics.md).
pub fn over_seeds(lines: &[Option<&ScoreLine>]) -> Option<Mean> {
    let lines: Vec<&ScoreLine> = lines.iter().copied().flatten().collect();
    let values: Vec<f64> = lines.iter().map(|line| line.value).collect();
    let unit = lines.first()?.unit;
    let mean = Mean::of(&values, least_deviation(lines.iter().copied()))?.bounded(unit.bounds());
    if unit != Unit::Share || mean.seeds < FOR_INTERVAL {
        return Some(mean);
    }
    let [low, high] = rate::interval(&values, &lines.iter().map(|line| line.n as f64).collect::<Vec<_>>());
    Some(Mean { low: low.min(mean.low), high: high.max(mean.high), ..mean })
}

/// What so many seeds can say at most.
pub fn seeds_say(seeds: usize) -> String {
    let what = match seeds {
        0 => return format!("no seeds: {FOR_VERDICT} give a verdict"),
        1 => "1 seed: what happened once",
        2 => "2 seeds: means and ranges",
        3..FOR_VERDICT => {
            return format!("{seeds} seeds: means, ranges and intervals, no verdict; {FOR_VERDICT} seeds give one");
        }
        _ => return format!("{seeds} seeds: means, intervals and verdicts"),
    };
    format!("{what}, no interval and no verdict; {FOR_INTERVAL} seeds give an interval, {FOR_VERDICT} a verdict")
}

/// What readers overlook in a table, in sentences: a defense that is better than the reference and not than its own control.
pub fn remarks(comparisons: &[Comparison]) -> Vec<String> {
    let better = comparisons.iter().filter(|this| !this.control && this.verdict == Verdict::Better);
    let of = |this: &Comparison, other: &Comparison| {
        other.control && (&other.arena, &other.column, &other.defense) == (&this.arena, &this.column, &this.defense)
    };
    let remark = |(this, control): (&Comparison, &Comparison)| {
        let finding = match control.verdict {
            Verdict::Better => return None,
            Verdict::Worse => format!("worse than its control {}", control.against),
            Verdict::NotDistinguishable => format!("cannot be told from its control {}", control.against),
            _ => format!("was not judged beside its control {}", control.against),
        };
        let (arena, score) = (&this.arena, this.column.name());
        Some(format!("{arena}, {score}: {} is better than {}, but {finding}", this.defense, this.against))
    };
    let pairs =
        better.flat_map(|this| comparisons.iter().filter(move |other| of(this, other)).map(move |other| (this, other)));
    pairs.filter_map(remark).collect()
}

/// A key of a resolved trial in which two differ, with its value in each; `–` where there is none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Differing {
    /// Dotted.
    pub key: String,
    /// Its value in both, as JSON.
    pub values: [String; 2],
}

/// In which keys two resolved trials differ, but for seed and labels.
pub fn differing(first: &Trial, second: &Trial) -> Vec<Differing> {
    let json = |trial: &Trial| serde_json::to_value(trial).expect("plain data");
    let labels = ["seed", "suite", "arena", "defense.label"];
    let all = differing_values(&json(first), &json(second));
    all.into_iter().filter(|differing| !labels.contains(&differing.key.as_str())).collect()
}

/// In which keys two tables differ.
pub fn differing_values(first: &Value, second: &Value) -> Vec<Differing> {
    let flat = |value: &Value| {
        let mut keys = BTreeMap::new();
        flatten(value, String::new(), &mut keys);
        keys
    };
    let (first, second) = (flat(first), flat(second));
    let all: BTreeSet<&String> = first.keys().chain(second.keys()).collect();
    let value = |keys: &BTreeMap<String, String>, key: &String| keys.get(key).cloned().unwrap_or_else(|| "–".into());
    let pair = |key: &String| Differing { key: key.clone(), values: [value(&first, key), value(&second, key)] };
    all.into_iter().map(pair).filter(|pair| pair.values[0] != pair.values[1]).collect()
}

fn flatten(value: &Value, key: String, keys: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(table) => {
            let dot = if key.is_empty() { "" } else { "." };
            table.iter().for_each(|(inner, value)| flatten(value, format!("{key}{dot}{inner}"), keys));
        }
        other => drop(keys.insert(key, other.to_string())),
    }
}

impl Verdict {
    /// As people read it.
    pub fn words(self) -> &'static str {
        match self {
            Verdict::Better => "better",
            Verdict::Worse => "worse",
            Verdict::NotDistinguishable => "not distinguishable",
            Verdict::TooFewSeeds => "no verdict: fewer than 6 seeds",
            Verdict::AttackFailed => "attack failed",
            Verdict::GateUnknown => "gate unknown",
            Verdict::Vacuous => "vacuous",
            Verdict::Costly => "costly",
        }
    }
}
