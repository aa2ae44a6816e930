//! Results as tables of GitHub's Markdown: the same tables, cells and remarks as in text.

use crate::layout::{self, LEGEND, TableSpec};
use crate::view::ResultsView;
use gauntlet::Result;
use gauntlet::data::visible_line;
use gauntlet::results::Line;
use gauntlet::suite::Suite;

/// Every arena of the suite, `clean` last.
///
/// # Errors
/// As [`ResultsView::new`].
pub fn markdown(suite: &Suite, lines: &[Line]) -> Result<String> {
    let view = ResultsView::new(suite, lines)?;
    let tables: String = layout::tables(&view).iter().map(|table| draw(&view, table)).collect();
    let remarks: String = layout::foot(&view, lines).lines().map(|line| format!("- {}\n", escape(line))).collect();
    Ok(tables + LEGEND + if remarks.is_empty() { "" } else { "\n" } + &remarks)
}

fn draw(view: &ResultsView, spec: &TableSpec) -> String {
    let mut text = format!("### {}\n\n", escape(&spec.heading));
    text += &row(spec.head().iter().map(|lines| cell(lines)));
    let numbers = spec.columns.iter().map(|_| "---:");
    let rule = std::iter::once("---").chain(numbers).chain(spec.notes.then_some("---"));
    text += &row(rule.map(str::to_string));
    for defense in view.defenses() {
        text += &row(spec.row(view, defense).iter().map(|lines| cell(lines)));
    }
    text + "\n"
}

fn row(cells: impl Iterator<Item = String>) -> String {
    format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
}

/// Joins lines in one cell.
fn cell(lines: &[String]) -> String {
    lines.iter().map(|line| escape(line)).collect::<Vec<_>>().join("<br>")
}

/// Escapes Markdown's special characters.
fn escape(text: &str) -> String {
    let escaped = |c: char| if "\\|*_`<#[]".contains(c) { format!("\\{c}") } else { c.to_string() };
    visible_line(text).chars().map(escaped).collect()
}
