//! The defenses that a table may put in bold: those that are better than the baseline and than
//! which no other defense is better.

use super::{Comparison, Verdict, compare};
use crate::view::ResultsView;
use gauntlet::Result;
use std::collections::BTreeSet;

/// In every arena and score, the comparisons with the baseline of the defenses that are better than
/// it, without those for which another defense is better, by the verdict of [`compare`] with the
/// defense itself as reference. Vacuous and costly defenses get no verdict: they are not in bold,
/// and do not prevent bold for others. Below six seeds there is no verdict, so nothing is bold.
pub fn best(view: &ResultsView) -> Result<Vec<Comparison>> {
    let baseline = view.suite.baseline.as_str();
    let mut best = compare(view, baseline)?;
    best.retain(|one| is_better(one, baseline));
    let candidates: BTreeSet<String> = best.iter().map(|one| one.defense.clone()).collect();
    for candidate in candidates {
        let mut beaten = compare(view, &candidate)?;
        beaten.retain(|one| is_better(one, &candidate));
        let by = |one: &Comparison, other: &Comparison| {
            (&one.arena, &one.column, &one.defense) == (&other.arena, &other.column, &other.against)
        };
        best.retain(|one| !beaten.iter().any(|other| by(one, other)));
    }
    Ok(best)
}

fn is_better(one: &Comparison, reference: &str) -> bool {
    one.against == reference && one.verdict == Verdict::Better
}
