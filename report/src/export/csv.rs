//! Results as CSV: a row for each score of a defense in an arena, summarised over seeds, with every
//! seed's value. Numbers are unscaled: shares from 0 to 1, not in percent, so that a program need
//! not guess.

use crate::column::Column;
use crate::view::{Gate, ResultsView};
use ::csv::WriterBuilder;
use gauntlet::data::visible_line;
use gauntlet::poison::CLEAN;
use gauntlet::results::Line;
use gauntlet::suite::Suite;
use gauntlet::{Error, Result};

/// Columns before those of the seeds, `seed_N`.
const NAMES: [&str; 21] = [
    "suite",
    "arena",
    "attack",
    "adapted_to",
    "defense",
    "set",
    "score",
    "unit",
    "higher_is_better",
    "seeds",
    "mean",
    "low",
    "high",
    "broken",
    "base_mean",
    "gate",
    "baseline",
    "oracle",
    "elsewhere",
    "vacuous",
    "costly",
];

/// All scores of all arenas, `clean` last. A value that does not apply (the set of a score on the
/// trial's own data) or has not run is empty.
///
/// # Errors
/// As [`ResultsView::new`].
pub fn csv(suite: &Suite, lines: &[Line]) -> Result<String> {
    let view = ResultsView::new(suite, lines)?;
    let mut rows = vec![NAMES.iter().map(|name| name.to_string()).collect::<Vec<_>>()];
    rows[0].extend(suite.seeds.iter().map(|seed| format!("seed_{seed}")));
    for arena in view.arenas() {
        for column in view.columns(arena) {
            rows.extend(view.defenses().filter_map(|defense| row(&view, arena, defense, &column)));
        }
    }
    let mut writer = WriterBuilder::new().from_writer(Vec::new());
    let written = rows.iter().try_for_each(|row| writer.write_record(row.iter().map(|text| cell(text))));
    written.map_err(|error| Error::invalid("csv", error.to_string()))?;
    let bytes = writer.into_inner().expect("memory takes every byte");
    Ok(String::from_utf8(bytes).expect("only text was written"))
}

/// A cell that a spreadsheet takes for text, never for a formula.
pub(super) fn cell(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t']) && text.parse::<f64>().is_err();
    let text = visible_line(text);
    if formula { format!("'{text}") } else { text.into_owned() }
}

/// `None` if no seed has run.
fn row(view: &ResultsView, arena: &str, defense: &str, column: &Column) -> Option<Vec<String>> {
    let mean = view.mean(arena, defense, column)?;
    let base = (arena != CLEAN && column.attack.is_some()).then(|| view.mean(CLEAN, defense, column));
    let gated = arena != CLEAN && column.attack.is_some() && column.higher_is_better == Some(false);
    let gate = match view.gate(arena, column) {
        _ if !gated => "",
        Gate::Unknown => "unknown",
        Gate::Failed => "failed",
        Gate::Passed => "passed",
    };
    let marks = view.marks(arena, defense);
    let measured: Vec<f64> = view.values(arena, defense, column).into_iter().flatten().collect();
    let unit = serde_json::to_value(column.unit).expect("plain data");
    let mut row = vec![
        view.suite.name.clone(),
        arena.into(),
        column.attack.clone().unwrap_or_default(),
        column.adapted_to.clone(),
        defense.into(),
        column.set.clone().unwrap_or_default(),
        column.score.clone(),
        unit.as_str().expect("a unit is a word").into(),
        column.higher_is_better.map(|yes| yes.to_string()).unwrap_or_default(),
        mean.seeds.to_string(),
        mean.mean.to_string(),
        mean.low.to_string(),
        mean.high.to_string(),
        column.broken(&measured).map(|broken| broken.to_string()).unwrap_or_default(),
        base.flatten().map(|base| base.mean.to_string()).unwrap_or_default(),
        gate.into(),
    ];
    row.extend(
        [marks.baseline, marks.oracle, marks.elsewhere, marks.vacuous, marks.costly].map(|mark| mark.to_string()),
    );
    let values = view.values(arena, defense, column).into_iter();
    row.extend(values.map(|value| value.map(|value| value.to_string()).unwrap_or_default()));
    Some(row)
}
