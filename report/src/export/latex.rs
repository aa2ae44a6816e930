//! Results as LaTeX for a paper: a `table` with booktabs' rules for each table of the text, mean
//! with interval, without the single seeds. Bold follows the verdicts of the seeds
//! (`judge/best.rs`); the caption states the rule, or why nothing is bold.

use crate::column::Column;
use crate::judge::Comparison;
use crate::judge::best::best;
use crate::layout::{self, TableSpec, spread};
use crate::statistics::seeds::FOR_VERDICT;
use crate::view::{Gate, ResultsView};
use gauntlet::Result;
use gauntlet::data::visible_line;
use gauntlet::results::Line;
use gauntlet::suite::Suite;

/// Every arena of the suite, `clean` last.
///
/// # Errors
/// As [`ResultsView::new`].
pub fn latex(suite: &Suite, lines: &[Line]) -> Result<String> {
    let view = ResultsView::new(suite, lines)?;
    let best = best(&view)?;
    let tables = layout::tables(&view).into_iter();
    let tables: String = tables.map(|spec| Tabular { view: &view, best: &best, spec }.table()).collect();
    let remarks: String =
        layout::foot(&view, lines).lines().map(|line| format!("% {}\n", visible_line(line))).collect();
    Ok(format!("% Needs \\usepackage{{booktabs}}.\n{remarks}{tables}"))
}

/// A table, with the data needed to print it.
struct Tabular<'a> {
    view: &'a ResultsView<'a>,
    best: &'a [Comparison],
    spec: TableSpec,
}

impl Tabular<'_> {
    fn table(&self) -> String {
        let columns = &self.spec.columns;
        let titles = columns.iter().map(|column| self.title(column));
        let note = self.spec.notes.then(|| "note".to_string());
        let rows: String = self.view.defenses().map(|defense| format!("    {} \\\\\n", self.row(defense))).collect();
        format!(
            "\n\\begin{{table}}\n  \\centering\n  \\caption{{{}}}\n  \\begin{{tabular}}{{l{}{}}}\n    \\toprule\n    {} \\\\\n    \\midrule\n{rows}    \
             \\bottomrule\n  \\end{{tabular}}\n\\end{{table}}\n",
            self.caption(),
            "r".repeat(columns.len()),
            if self.spec.notes { "l" } else { "" },
            joined(std::iter::once("defense".to_string()).chain(titles).chain(note)),
        )
    }

    fn row(&self, defense: &str) -> String {
        let cells = self.spec.columns.iter().map(|column| self.cell(defense, column));
        let note = self.spec.notes.then(|| self.view.marks(&self.spec.arena, defense).words());
        joined(std::iter::once(escape(defense)).chain(cells).chain(note))
    }

    fn cell(&self, defense: &str, column: &Column) -> String {
        let (view, arena) = (self.view, self.spec.arena.as_str());
        let Some(mean) = view.mean(arena, defense, column) else { return "--".into() };
        let broken = view.broken(arena, defense, column).map(|broken| format!(" ({broken})")).unwrap_or_default();
        let text = spread(&mean, column.unit).replace('-', "$-$") + &broken;
        let is_it =
            |one: &&Comparison| (one.arena.as_str(), one.defense.as_str()) == (arena, defense) && one.column == *column;
        // The verdict does not cover the interval.
        match (self.best.iter().find(is_it), text.split_once(' ')) {
            (Some(_), Some((mean, interval))) => format!("\\textbf{{{mean}}} {interval}"),
            _ => text,
        }
    }

    /// Attack over score, with a dagger if the attack gives no verdicts.
    fn title(&self, column: &Column) -> String {
        let mut lines: Vec<String> = layout::title(column).iter().map(|line| escape(line)).collect();
        let last = lines.last_mut().expect("a title has a line");
        *last += self.gate(column).map_or("", |(sign, _)| sign);
        if lines.len() == 1 {
            return lines.remove(0);
        }
        format!("\\begin{{tabular}}[b]{{@{{}}r@{{}}}}{}\\end{{tabular}}", lines.join(" \\\\ "))
    }

    /// The sign and explanation of a column whose attack gives no verdicts.
    fn gate(&self, column: &Column) -> Option<(&'static str, &'static str)> {
        match self.view.gate(&self.spec.arena, column) {
            Gate::Passed => None,
            Gate::Failed => Some((
                "$^\\dagger$",
                "attack failed: it raises its score on the baseline too little over the clean arena, so it gives no verdicts",
            )),
            Gate::Unknown => {
                Some(("$^\\ddagger$", "gate unknown: the baseline has not run in both this arena and the clean one"))
            }
        }
    }

    fn caption(&self) -> String {
        let (arena, view) = (&self.spec.arena, self.view);
        let seeds = |column| view.defenses().filter_map(move |row| view.mean(arena, row, column));
        let seeds = self.spec.columns.iter().flat_map(seeds).map(|mean| mean.seeds).max().unwrap_or(0);
        let what = match seeds {
            0 => "Nothing has run",
            1 => "One seed",
            2 => "Least and greatest of two seeds",
            _ => "Mean over seeds [its 95% interval]",
        };
        let baseline = &view.suite.baseline;
        let bold = match seeds {
            seeds if seeds < FOR_VERDICT => {
                format!("Nothing is bold: a verdict needs {FOR_VERDICT} seeds (here: {seeds})")
            }
            _ => format!(
                "Bold: better than the baseline {baseline}, and no other defense better still, both by the paired t test over seeds, corrected for \
                 all comparisons (Holm, 5%), and by the exact sign-flip test (5%); vacuous and costly rows and diagnostics are not compared"
            ),
        };
        let mut gates: Vec<String> = Vec::new();
        for (sign, meaning) in self.spec.columns.iter().filter_map(|column| self.gate(column)) {
            let said = format!(" {sign}: {}.", escape(meaning));
            if !gates.contains(&said) {
                gates.push(said);
            }
        }
        escape(&format!("{}. {what}. {bold}. –: not run, or no such score.", self.spec.heading)) + &gates.concat()
    }
}

fn joined(cells: impl Iterator<Item = String>) -> String {
    cells.collect::<Vec<_>>().join(" & ")
}

/// Escapes LaTeX's special characters, and replaces those that its fonts lack.
fn escape(text: &str) -> String {
    visible_line(text).chars().map(escaped).collect()
}

fn escaped(c: char) -> String {
    match c {
        '\\' => "\\textbackslash{}".into(),
        '~' => "\\textasciitilde{}".into(),
        '^' => "\\textasciicircum{}".into(),
        '{' | '}' | '$' | '&' | '#' | '_' | '%' => format!("\\{c}"),
        '·' => "$\\cdot$".into(),
        '–' => "--".into(),
        '↑' => "$\\uparrow$".into(),
        '↓' => "$\\downarrow$".into(),
        other => other.to_string(),
    }
}
