//! Remarks, in sentences, that readers of a table may miss.

use super::{Comparison, Verdict};
use crate::statistics::camps;
use crate::view::ResultsView;
use std::collections::BTreeSet;

/// Differences that may come from a control, a sentence each: a defense that is better than the
/// reference but not than its own control.
pub fn controls(comparisons: &[Comparison]) -> Vec<String> {
    let better = comparisons.iter().filter(|this| !this.control && this.verdict == Verdict::Better);
    let beside = |this| comparisons.iter().filter_map(move |control| beside_control(this, control));
    better.flat_map(beside).collect()
}

/// The remark for `this`, if `control` is the same defense's comparison with a control of it.
fn beside_control(this: &Comparison, control: &Comparison) -> Option<String> {
    let is_of = (&control.arena, &control.column, &control.defense) == (&this.arena, &this.column, &this.defense);
    if !control.control || !is_of {
        return None;
    }
    let finding = match control.verdict {
        Verdict::Better => return None,
        Verdict::Worse => format!("worse than its control {}", control.against),
        Verdict::NotDistinguishable => format!("cannot be distinguished from its control {}", control.against),
        _ => format!("was not compared with its control {}", control.against),
    };
    let (arena, score) = (&this.arena, this.column.name());
    Some(format!("{arena}, {score}: {} is better than {}, but {finding}", this.defense, this.against))
}

/// Rows of these comparisons whose seeds fall into two camps, in a sentence each.
pub fn camps(view: &ResultsView, comparisons: &[Comparison]) -> Vec<String> {
    let mut known = BTreeSet::new();
    let rows = comparisons.iter().flat_map(|one| [&one.defense, &one.against].map(|defense| (one, defense)));
    let rows = rows.filter(|(one, defense)| known.insert((&one.arena, one.column.name(), *defense)));
    rows.filter_map(|(one, defense)| camps_of(view, one, defense)).collect()
}

/// The number of broken seeds of a row, if they fall into two camps.
fn camps_of(view: &ResultsView, one: &Comparison, defense: &str) -> Option<String> {
    let Comparison { arena, column, .. } = one;
    let values: Vec<f64> = view.values(arena, defense, column).into_iter().flatten().collect();
    let said = camps::words(column.broken(&values)?, values.len());
    let each = values.iter().map(|value| column.unit.show(*value)).collect::<Vec<_>>().join(" ");
    Some(format!("{arena}, {}: {defense}: {said} ({each}): its mean describes neither camp", column.name()))
}
