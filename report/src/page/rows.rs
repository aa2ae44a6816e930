//! The counts of the data's rows: found, kept, lost by kind, incomplete shards.

use crate::notes;
use gauntlet::data::rows::Tally;
use gauntlet::results::Line;
use maud::{Markup, html};

/// One table for each different result of the trials, normally one. Empty if an earlier version of
/// gauntlet wrote the results.
pub fn part(lines: &[Line]) -> Markup {
    let rows = notes::tallies(lines);
    html! {
        @if !rows.is_empty() {
            h3 { "Rows" }
            @for (tally, trials) in &rows {
                @if rows.len() > 1 { p.quiet { "As " (trials) " trials read them:" } }
                (table(tally))
            }
        }
    }
}

fn table(tally: &Tally) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label="rows found, kept and lost" {
            table.keys {
                thead { tr { th scope="col" { "rows" } th scope="col" { "count" } th scope="col" { "the first" } } }
                tbody {
                    tr { th scope="row" { "found" } td { (tally.found) } td {} }
                    tr { th scope="row" { "kept" } td { (tally.kept) } td {} }
                    @for lost in &tally.lost {
                        tr { th scope="row" { "lost: " (lost.kind.name()) } td { (lost.rows) } td { (lost.first) } }
                    }
                }
            }
        }
        @for cut in &tally.cut { p { "Not whole, and not counted: " (cut) } }
        @for note in &tally.notes { p.quiet { (note) } }
    }
}
