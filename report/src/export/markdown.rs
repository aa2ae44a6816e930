//! Results as tables of GitHub's Markdown: the same tables, cells and remarks as in text.

use crate::layout::{self, TableSpec};
use crate::table::LEGEND;
use crate::view::ResultsView;
use gauntlet::Result;
use gauntlet::results::Line;
use gauntlet::suite::Suite;

/// Every arena of the suite, `clean` last.
///
/// # Errors
/// As [`ResultsView::new`].
pub fn markdown(suite: &Suite, lines: &[Line]) -> Result<String> {
    let board = ResultsView::new(suite, lines)?;
    let sheets = board.arenas().flat_map(|arena| layout::sheets(&board, arena));
    let tables: String =
        sheets.map(|sheet| format!("### {}\n\n{}\n", escape(&sheet.heading), draw(&board, &sheet))).collect();
    let remarks: String = layout::foot(&board, lines).lines().map(|line| format!("- {}\n", escape(line))).collect();
    Ok(tables + LEGEND + if remarks.is_empty() { "" } else { "\n" } + &remarks)
}

fn draw(board: &ResultsView, sheet: &TableSpec) -> String {
    let titles = sheet.columns.iter().map(|column| cell(&layout::title(column)));
    let note = || sheet.notes.then_some("note".to_string());
    let mut text = row(std::iter::once("defense".into()).chain(titles).chain(note()));
    let numbers = sheet.columns.iter().map(|_| "---:".to_string());
    text += &row(std::iter::once("---".into()).chain(numbers).chain(note().map(|_| "---".into())));
    for defense in board.defenses() {
        let cells = sheet.columns.iter().map(|column| cell(&layout::cell(board, &sheet.arena, defense, column)));
        let note = sheet.notes.then(|| board.marks(&sheet.arena, defense).words());
        text += &row(std::iter::once(escape(defense)).chain(cells).chain(note));
    }
    text
}

fn row(cells: impl Iterator<Item = String>) -> String {
    format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
}

/// Lines in one cell.
fn cell(lines: &[String]) -> String {
    lines.iter().map(|line| escape(line)).collect::<Vec<_>>().join("<br>")
}

/// What Markdown would take for a sign of its own.
fn escape(text: &str) -> String {
    let escaped = |c: char| if "\\|*_`<#[]".contains(c) { format!("\\{c}") } else { c.to_string() };
    text.chars().map(escaped).collect()
}
