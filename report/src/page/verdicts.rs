//! The verdicts of the seeds on each defense, against the baseline and against its own controls.

use super::Story;
use crate::judge::{self, Comparison, Verdict};
use crate::statistics::seeds::{FOR_INTERVAL, FOR_VERDICT, seeds_say};
use gauntlet::evaluator::Unit;
use maud::{Markup, html};
use std::collections::BTreeMap;

/// Remarks that readers of a table may miss.
pub fn remarks(story: &Story) -> Markup {
    let remarks = judge::remarks::controls(&story.comparisons);
    html! {
        @if !remarks.is_empty() {
            div.remarks {
                p { b { "Read this first." } " These differences may come from a control:" }
                ul { @for remark in &remarks { li { (remark) } } }
            }
        }
    }
}

/// The number of verdicts of each kind in an arena, in a sentence.
pub fn summary(story: &Story, arena: &str) -> Markup {
    let beside: Vec<&Comparison> = story.comparisons.iter().filter(|one| one.arena == arena && !one.control).collect();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    beside.iter().for_each(|one| *counts.entry(one.verdict.words()).or_default() += 1);
    let baseline = &story.view.suite.baseline;
    html! {
        @if beside.is_empty() {
        } @else if beside.iter().all(|one| one.verdict == Verdict::TooFewSeeds) {
            "No verdicts: they need " (FOR_VERDICT) " seeds that both defenses have. " (seeds_say(story.view.suite.seeds.len())) "."
        } @else {
            "Verdicts compared with " (baseline) ", all scores that rank: "
            (counts.iter().map(|(words, count)| format!("{count} {words}")).collect::<Vec<_>>().join(", ")) "."
        }
    }
}

/// Every comparison of an arena, in a foldable table.
pub fn details(story: &Story, arena: &str) -> Markup {
    let all: Vec<&Comparison> = story.comparisons.iter().filter(|one| one.arena == arena).collect();
    html! {
        @if !all.is_empty() {
            details.more {
                summary { "Differences and verdicts: " (all.len()) " comparisons" }
                p.quiet {
                    "Mean over seeds of the first minus the second, with its 95% interval (two seeds: their range); p of a paired t test, "
                    "corrected by Holm for all verdicts of the suite, if there is a verdict, and of the exact sign-flip test, which is not "
                    "corrected. A verdict needs both below 0.05."
                }
                div.scroll tabindex="0" role="region" aria-label={ "verdicts of arena " (arena) } {
                    table.sortable.verdicts id=(super::anchor(&["verdicts", arena])) {
                        thead {
                            tr { @for title in ["defense", "against", "score", "difference", "p (Holm)", "p (signs)", "verdict"] { th scope="col" { (title) } } }
                        }
                        tbody { @for one in all { (row(story, one)) } }
                    }
                }
            }
        }
    }
}

fn row(story: &Story, one: &Comparison) -> Markup {
    let class = match one.verdict {
        Verdict::Better => "better",
        Verdict::Worse => "worse",
        Verdict::NotDistinguishable => "same",
        _ => "quiet",
    };
    html! {
        tr {
            th scope="row" data-value=(one.defense) { (story.marker(&one.defense).name(&one.defense)) }
            td data-value=(one.against) { (story.marker(&one.against).name(&one.against)) @if one.control { " (its control)" } }
            td data-value=(one.column.name()) { (one.column.name()) (one.column.arrow()) }
            td data-value=(one.difference.mean) { (difference(one)) }
            td data-value=[one.adjusted] { (probability(one.adjusted)) }
            @let signs = one.adjusted.map(|_| one.signs);
            td data-value=[signs] { (probability(signs)) }
            td data-value=(one.verdict.words()) { span class={ "badge " (class) } { (one.verdict.words()) } }
        }
    }
}

fn probability(p: Option<f64>) -> String {
    p.map_or("–".into(), |p| if p < 0.001 { "<0.001".into() } else { format!("{p:.3}") })
}

/// With sign and interval; shares in points of percent.
fn difference(one: &Comparison) -> String {
    let scale = if one.column.unit.is_percent() { 100.0 } else { 1.0 };
    let digits = if one.column.unit == Unit::Cosine { 3 } else { 1 };
    let show = |value: f64| format!("{:+.digits$}", value * scale);
    let mean = &one.difference;
    match mean.seeds {
        1 => show(mean.mean),
        seeds if seeds < FOR_INTERVAL => format!("{} ({} to {})", show(mean.mean), show(mean.low), show(mean.high)),
        _ => format!("{} [{}, {}]", show(mean.mean), show(mean.low), show(mean.high)),
    }
}
