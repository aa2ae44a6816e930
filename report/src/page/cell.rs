//! A cell of a scoreboard: the mean, its interval, every seed, the base rate, and the verdict
//! against the baseline.

use super::Story;
use super::marker::Marker;
use crate::column::Column;
use crate::judge::{Comparison, Verdict};
use crate::statistics::seeds::{FOR_INTERVAL, Mean};
use gauntlet::evaluator::Unit;
use gauntlet::poison::CLEAN;
use maud::{Markup, html};

/// Maximum number of seeds that are written out below the dots.
const WRITTEN: usize = 5;

/// A score of a defense in an arena.
pub fn cell(story: &Story, arena: &str, defense: &str, column: &Column) -> Markup {
    let Some(mean) = story.view.mean(arena, defense, column) else { return html! { td.none { "–" } } };
    let values = story.view.values(arena, defense, column);
    let base: Vec<f64> = match column.attack.is_some() && arena != CLEAN {
        true => story.view.values(CLEAN, defense, column).into_iter().flatten().collect(),
        false => Vec::new(),
    };
    let base = (!base.is_empty()).then(|| base.iter().sum::<f64>() / base.len() as f64);
    let unit = column.unit;
    html! {
        td data-value=(mean.mean) {
            div.mean { (unit.show(mean.mean)) }
            @if mean.seeds > 1 { div.interval { (interval(&mean, unit)) } }
            @if let Some(broken) = story.view.broken(arena, defense, column) { span.badge.broken { (broken) } }
            @if unit == Unit::Share { (strip(story.marker(defense), &mean, &values, base)) }
            @if values.len() > 1 && (values.len() <= WRITTEN || unit != Unit::Share) {
                div.seeds { @for value in &values { span { (value.map_or("–".into(), |value| unit.show(value))) } " " } }
            }
            @if let Some(base) = base { div.base { "base " (unit.show(base)) } }
            @if let Some(comparison) = beside_baseline(story, arena, defense, column) { (badge(comparison.verdict)) }
        }
    }
}

/// `[low, high]` of the mean, or of the values if they are too few for an interval.
pub fn interval(mean: &Mean, unit: Unit) -> String {
    let (low, high) = (unit.show(mean.low), unit.show(mean.high));
    if mean.seeds < FOR_INTERVAL { format!("{low} to {high}") } else { format!("[{low}, {high}]") }
}

fn beside_baseline<'a>(story: &'a Story, arena: &str, defense: &str, column: &Column) -> Option<&'a Comparison> {
    let is_of = |other: &&Comparison| !other.control && other.arena == arena && other.defense == defense;
    story.comparisons.iter().filter(is_of).find(|other| &other.column == column)
}

/// The verdict, if there is one; reasons for no verdict are above the table.
fn badge(verdict: Verdict) -> Markup {
    html! {
        @match verdict {
            Verdict::Better => span.badge.better { "▲ better" },
            Verdict::Worse => span.badge.worse { "▼ worse" },
            Verdict::NotDistinguishable => span.badge.same { "≈ not distinguishable" },
            _ => {}
        }
    }
}

/// A line from 0 to 100%: the interval as a bar, each seed a dot, the mean a stroke, the base rate
/// a hollow square.
fn strip(marker: Marker, mean: &Mean, values: &[Option<f64>], base: Option<f64>) -> Markup {
    let at = |value: f64| format!("{:.1}", 4.0 + 112.0 * Unit::Share.within(value));
    html! {
        svg class={ "strip d" (marker.colour()) } viewBox="0 0 120 14" width="120" height="14" aria-hidden="true" {
            path.rail d="M4 7H116M4 4V10M116 4V10" {}
            @if mean.seeds > 1 { path.bar d={ "M" (at(mean.low)) " 7H" (at(mean.high)) } {} }
            @for value in values.iter().flatten() { circle cx=(at(*value)) cy="7" r="2.4" {} }
            path.tick d={ "M" (at(mean.mean)) " 2V12" } {}
            @if let Some(base) = base { path.rate d={ "M" (at(base)) " 7m-2.5 -2.5h5v5h-5z" } {} }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::interval;
    use crate::statistics::seeds::Mean;
    use gauntlet::evaluator::Unit;

    #[test]
    fn two_seeds_have_a_range_and_three_an_interval() {
        assert_eq!(interval(&Mean::of(&[0.25, 0.5], 0.0).unwrap(), Unit::Share), "25.0 to 50.0");
        let three = Mean { low: 0.125, high: 0.75, ..Mean::of(&[0.25, 0.5, 0.5], 0.0).unwrap() };
        assert_eq!(interval(&three, Unit::Share), "[12.5, 75.0]");
    }
}
