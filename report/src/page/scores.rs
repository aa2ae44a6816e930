//! The scoreboard: for each arena a table, rows are defenses and columns are scores; diagnostics
//! and downstream sets in tables that open.

use super::cell::cell;
use super::marker::Marker;
use super::{Story, anchor, verdicts};
use crate::column::Column;
use crate::layout;
use crate::view::{Gate, Marks};
use gauntlet::poison::CLEAN;
use maud::{Markup, html};

/// All arenas, `clean` last.
pub fn section(story: &Story) -> Markup {
    let (arenas, waiting): (Vec<&str>, Vec<&str>) =
        story.view.arenas().partition(|arena| !story.view.columns(arena).is_empty());
    html! {
        section #scores {
            h2 { "Scores" }
            (verdicts::remarks(story))
            @if arenas.len() > 3 {
                p.jump { "Arenas: " @for arena in &arenas { a href={ "#" (anchor(&["arena", arena])) } { (arena) } " " } }
            }
            @for arena in &arenas { (article(story, arena)) }
            @if !waiting.is_empty() { p { "No trial has finished of: " (waiting.join(", ")) "." } }
        }
    }
}

fn article(story: &Story, arena: &str) -> Markup {
    let (main, others) = story.columns(arena);
    let (sets, more): (Vec<Column>, Vec<Column>) = others.into_iter().partition(|column| column.set.is_some());
    let attacks = story.view.suite.arenas.get(arena);
    html! {
        article.arena id=(anchor(&["arena", arena])) {
            h3 { "Arena " (arena) }
            p.quiet {
                @match attacks {
                    Some(attacks) => { "Poisoned by " (attacks.join(" + ")) "." },
                    None => "No poison: the scores here are the base rates.",
                }
                @if arena != CLEAN { " " (verdicts::summary(story, arena)) }
            }
            (table(story, arena, "scores", &main, true))
            @if arena != CLEAN { (verdicts::details(story, arena)) }
            @if !more.is_empty() {
                details.more {
                    summary { "More: " (more.len()) " other scores" }
                    (table(story, arena, "more", &more, false))
                }
            }
            @for group in layout::by_score(&sets) {
                @let name = group[0].score.clone() + &group[0].attack.iter().map(|attack| format!(" of {attack}")).collect::<String>();
                details.more {
                    summary { "Downstream sets: " (name) (group[0].arrow()) }
                    (table(story, arena, &name, &group, false))
                }
            }
        }
    }
}

fn table(story: &Story, arena: &str, kind: &str, columns: &[Column], marks: bool) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label={ "scores of arena " (arena) } {
            table.sortable id=(anchor(&[kind, arena])) {
                caption.hidden { "Arena " (arena) ": " (kind) }
                thead {
                    tr {
                        th scope="col" { "defense" }
                        @for column in columns { (heading(story, arena, column)) }
                    }
                }
                tbody {
                    @for defense in story.view.defenses() {
                        tr {
                            th scope="row" data-value=(defense) {
                                (story.marker(defense).name(defense))
                                @if marks { (badges(story, story.view.marks(arena, defense), defense)) }
                            }
                            @for column in columns { (cell(story, arena, defense, column)) }
                        }
                    }
                }
            }
        }
    }
}

fn heading(story: &Story, arena: &str, column: &Column) -> Markup {
    let above = column.set.is_none().then_some(column.attack.as_ref()).flatten();
    html! {
        th scope="col" class=[column.is_diagnostic().then_some("diagnostic")] {
            @if let Some(attack) = above { span.attack { (attack) } " " }
            @match &column.set { Some(set) => (set), None => (column.score) }
            (column.arrow())
            @if column.unit.is_percent() { span.unit { " %" } }
            @if !column.adapted_to.is_empty() { " " span.badge.adaptive { "adaptive: " (column.adapted_to) } }
            @match if above.is_some() && column.is_main() { story.view.gate(arena, column) } else { Gate::Passed } {
                Gate::Failed => { " " span.badge.failed { "attack failed" } },
                Gate::Unknown => { " " span.badge.failed { "gate unknown" } },
                Gate::Passed => {}
            }
        }
    }
}

fn badges(story: &Story, marks: Marks, defense: &str) -> Markup {
    let of = story.view.suite.defenses.get(defense).and_then(|table| table.get("of")).and_then(|of| of.as_str());
    html! {
        div.marks {
            @if marks.baseline { span.badge { "baseline" } " " }
            @if marks.oracle { span.badge { "oracle" } " " }
            @if marks.elsewhere { span.badge { "trained elsewhere" } " " }
            @if marks.vacuous { span.badge.failed { "vacuous" } " " }
            @if marks.costly { span.badge.costly { "costly" } " " }
            @if let Some(of) = of { span.quiet { "control of " (Marker::name(story.marker(of), of)) } }
        }
    }
}
