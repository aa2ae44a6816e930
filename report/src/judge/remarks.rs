//! What readers overlook in a table, in sentences.

use super::{Comparison, Verdict};
use crate::statistics::camps;
use crate::view::ResultsView;
use std::collections::BTreeSet;

/// What may be a control's doing, in a sentence each: a defense that is better than the reference and not than its own control.
pub fn controls(comparisons: &[Comparison]) -> Vec<String> {
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

/// Every row among these comparisons whose seeds fall in two camps, in a sentence each.
pub fn camps(board: &ResultsView, comparisons: &[Comparison]) -> Vec<String> {
    let mut known = BTreeSet::new();
    let rows = comparisons.iter().flat_map(|one| [&one.defense, &one.against].map(|defense| (one, defense)));
    let rows = rows.filter(|(one, defense)| known.insert((&one.arena, one.column.name(), *defense)));
    let remark = |(one, defense): (&Comparison, &String)| {
        let values: Vec<f64> = board.values(&one.arena, defense, &one.column).into_iter().flatten().collect();
        let said = camps::words(one.column.broken(&values)?, values.len());
        let each = values.iter().map(|value| one.column.unit.show(*value)).collect::<Vec<_>>().join(" ");
        Some(format!(
            "{}, {}: {defense}: {said} ({each}): its mean describes neither camp",
            one.arena,
            one.column.name()
        ))
    };
    rows.filter_map(remark).collect()
}
