//! All attacks at a glance: a row for each attack of each arena, a column for each defense, darker
//! for more success.

use super::{Story, anchor};
use crate::column::Column;
use crate::view::Gate;
use gauntlet::evaluator::Unit;
use maud::{Markup, html};

/// With fewer rows the scoreboard suffices.
const FROM: usize = 3;

/// The table; `None` if the scoreboard is as short.
pub fn section(story: &Story) -> Option<Markup> {
    let all = story.poisoned().flat_map(|arena| story.successes(arena).into_iter().map(move |column| (arena, column)));
    let rows: Vec<(&str, Column)> = all.filter(|(_, column)| column.unit == Unit::Share).collect();
    (rows.len() >= FROM).then(|| {
        html! {
            section #glance {
                h2 { "At a glance" }
                p.lead { "Success of every attack, mean over seeds in %; base: of the undefended " (story.view.suite.baseline) " in the clean arena." }
                div.scroll tabindex="0" role="region" aria-label="success of every attack" {
                    table.sortable.glance #glance-table {
                        thead {
                            tr {
                                th scope="col" { "arena, score" }
                                th scope="col" { "base" }
                                @for defense in story.view.defenses() { th scope="col" { (story.marker(defense).name(defense)) } }
                            }
                        }
                        tbody { @for (arena, column) in &rows { (row(story, arena, column)) } }
                    }
                }
            }
        }
    })
}

fn row(story: &Story, arena: &str, column: &Column) -> Markup {
    let view = &story.view;
    let mean = |arena, defense| view.mean(arena, defense, column).map(|mean| mean.mean);
    let failed = view.gate(arena, column) == Gate::Failed;
    html! {
        tr class=[failed.then_some("failed-row")] {
            th scope="row" data-value={ (arena) " " (column.name()) } {
                a href={ "#" (anchor(&["arena", arena])) } { (arena) } " " span.quiet { (column.name()) }
                @if !column.adapted_to.is_empty() { " " span.badge.adaptive { "adaptive: " (column.adapted_to) } }
                @if failed { " " span.badge.failed { "attack failed" } }
            }
            (share(mean(gauntlet::poison::CLEAN, &view.suite.baseline), false, None))
            @for defense in view.defenses() {
                (share(mean(arena, defense), true, view.broken(arena, defense, column)))
            }
        }
    }
}

/// A share; the greater it is, the darker its background.
fn share(value: Option<f64>, shaded: bool, broken: Option<String>) -> Markup {
    let heat = |value: f64| format!("--share:{:.0}%", value * 100.0);
    html! {
        @match value {
            Some(value) => td data-value=(value) class=[shaded.then_some("heat")] style=[shaded.then(|| heat(value))] {
                (Unit::Share.show(value))
                @if let Some(broken) = broken { br; span.quiet { (broken) } }
            },
            None => td.none { "–" },
        }
    }
}
