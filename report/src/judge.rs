//! Verdicts: the differences between a suite's defenses that its seeds support. The seed is the
//! unit: two defenses are compared by the difference within each seed, because both share the
//! seed's targets and held-out images. All verdicts of a suite are corrected together.
//! docs/statistics.md states models and rules, and how well they hold.
//!
//! `judge/remarks.rs` writes remarks that readers of a table may miss; `judge/best.rs` decides what
//! a table may put in bold.

pub mod best;
pub mod remarks;
#[cfg(test)]
mod tests;

use crate::column::Column;
use crate::over_seeds::least_deviation;
use crate::statistics::flips::sign_flips;
use crate::statistics::seeds::{FOR_VERDICT, LEVEL, Mean, holm};
use crate::view::{Gate, ResultsView};
use gauntlet::poison::CLEAN;
use gauntlet::results::ScoreLine;
use gauntlet::{Error, Result};
use serde::Serialize;

/// The verdict on a defense compared with another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Better, by the t test, corrected so that any such verdict of the suite is false with a
    /// chance of 5%, and by the exact sign-flip test.
    Better,
    /// Worse, by the same tests.
    Worse,
    /// Neither better nor worse.
    NotDistinguishable,
    /// Fewer than six seeds have both: no verdict.
    TooFewSeeds,
    /// The attack does not work on the undefended baseline, so it gives no verdicts.
    AttackFailed,
    /// The undefended baseline has not run in both this arena and the clean one.
    GateUnknown,
    /// One of the two may have learnt nothing: its accuracy may be at most twice chance.
    Vacuous,
    /// The accuracy of one is far below that of the other: a price for robustness, which is shown
    /// but not ranked.
    Costly,
}

/// A defense compared with another, in one score of one arena.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// The arena.
    pub arena: String,
    /// The score.
    pub column: Column,
    /// The defense.
    pub defense: String,
    /// The other defense.
    pub against: String,
    /// Whether the other defense is a control of this one.
    pub control: bool,
    /// Its score minus the other's, over the seeds that both have.
    pub difference: Mean,
    /// The p value of the t test, corrected for all verdicts of the suite; `None` if no verdict is
    /// made.
    pub adjusted: Option<f64>,
    /// The p value of the exact sign-flip test, not corrected: with six seeds it is 0.031 at best,
    /// which no correction would leave below 0.05.
    pub signs: f64,
    /// The verdict.
    pub verdict: Verdict,
}

/// Compares every defense with `reference` and with its own controls, in every arena and score that
/// ranks. In the clean arena an attack poisons nothing: its scores there are base rates, and get no
/// verdict.
///
/// # Errors
/// If `reference` is no defense of the suite.
pub fn compare(view: &ResultsView, reference: &str) -> Result<Vec<Comparison>> {
    // An oracle is a bound, and no defense.
    let defenses = || view.defenses().filter(|defense| !view.suite.is_oracle(defense));
    let known: Vec<String> = defenses().map(str::to_string).collect();
    if !known.iter().any(|label| label == reference) {
        return Err(Error::Unknown { kind: "defense", name: reference.into(), known });
    }
    let mut comparisons = Vec::new();
    for arena in view.arenas() {
        let judges = |column: &Column| column.ranks() && (arena != CLEAN || column.attack.is_none());
        for column in view.columns(arena).into_iter().filter(judges) {
            for defense in defenses() {
                let others = [reference].into_iter().filter(|other| *other != defense);
                // The reference's own controls are already compared with it.
                let controls = view.controls_of(defense).into_iter();
                let controls = controls.filter(|other| *other != reference && defense != reference);
                let pairs = others.map(|other| (other, false)).chain(controls.map(|other| (other, true)));
                comparisons.extend(pairs.filter_map(|pair| one(view, arena, &column, defense, pair)));
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

/// One comparison. Its verdict is a placeholder (`NotDistinguishable`) until the tests are
/// corrected; `None` if no seed has both.
fn one(
    view: &ResultsView,
    arena: &str,
    column: &Column,
    defense: &str,
    (against, control): (&str, bool),
) -> Option<Comparison> {
    let (ours, theirs) = (view.lines(arena, defense, column), view.lines(arena, against, column));
    let pairs: Vec<(&ScoreLine, &ScoreLine)> = ours.into_iter().zip(theirs).filter_map(|(a, b)| a.zip(b)).collect();
    let differences: Vec<f64> = pairs.iter().map(|(a, b)| a.value - b.value).collect();
    let least = least_deviation(pairs.iter().flat_map(|(a, b)| [*a, *b])) * 2f64.sqrt(); // both were rounded
    let [from, to] = column.unit.bounds();
    let difference = Mean::of(&differences, least)?.bounded([from - to, to - from]);
    let marks = [defense, against].map(|row| view.marks(arena, row));
    let success = column.attack.is_some();
    let verdict = match view.gate_of_attack(arena, column) {
        Gate::Failed => Verdict::AttackFailed,
        Gate::Unknown => Verdict::GateUnknown,
        Gate::Passed if success && marks.iter().any(|mark| mark.vacuous) => Verdict::Vacuous,
        Gate::Passed if success && view.apart(arena, defense, against) => Verdict::Costly,
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
        signs: sign_flips(&differences),
        verdict,
    })
}

impl Verdict {
    /// The text for users.
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
