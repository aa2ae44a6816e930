//! The tables of an arena and the content of their cells, independent of the output format:
//! `table.rs` prints them as text, `export.rs` as files; neither looks up scores.

use crate::accuracy;
use crate::column::Column;
use crate::notes;
use crate::statistics::seeds::{Mean, seeds_say};
use crate::view::{Gate, ResultsView};
use gauntlet::evaluator::{ScoreRole, Unit};
use gauntlet::poison::CLEAN;
use gauntlet::recipe::Precision;
use gauntlet::results::Line;

/// The text below the tables.
pub const LEGEND: &str = "\
Each cell: mean over seeds [its 95% interval, from 3 seeds on: docs/statistics.md], then every seed in the order above; base: the same score in
the clean arena. K of N broken: seeds fall into two camps, 30 points apart or more, so the mean describes neither. `gauntlet compare` prints which
differences hold.
attack failed: it raises its score on the baseline too little over the clean arena, so it gives no verdicts. gate unknown: the baseline has not
run in both. vacuous: accuracy may be at most twice chance. costly: accuracy well below the baseline's. oracle: trained
without the poison, which the suite dropped by the ground truth: a bound, not a defense. –: not run, or no such score.
`gauntlet describe SCORE` defines a score.
Ranks and cosines are unscaled, not in %.
";

/// One table of an arena; rows are defenses.
pub struct TableSpec {
    /// The arena.
    pub arena: String,
    /// The heading above it.
    pub heading: String,
    /// Its columns.
    pub columns: Vec<Column>,
    /// Whether each row ends in a note.
    pub notes: bool,
}

impl TableSpec {
    /// The lines of each title: of the defense, of each column, of the note.
    pub fn head(&self) -> Vec<Vec<String>> {
        let note = self.notes.then(|| vec!["note".to_string()]);
        std::iter::once(vec!["defense".to_string()]).chain(self.columns.iter().map(title)).chain(note).collect()
    }

    /// The lines of each cell of a defense, in the order of the titles.
    pub fn row(&self, view: &ResultsView, defense: &str) -> Vec<Vec<String>> {
        let cells = self.columns.iter().map(|column| cell(view, &self.arena, defense, column));
        let note = self.notes.then(|| vec![view.marks(&self.arena, defense).words()]);
        std::iter::once(vec![defense.to_string()]).chain(cells).chain(note).collect()
    }
}

/// The tables of every arena, `clean` last.
pub fn tables(view: &ResultsView) -> Vec<TableSpec> {
    view.arenas().flat_map(|arena| sheets(view, arena)).collect()
}

/// The tables of an arena: accuracy and attack success, the other scores, and one for each score on
/// downstream sets.
fn sheets(view: &ResultsView, arena: &str) -> Vec<TableSpec> {
    let (sets, own): (Vec<Column>, Vec<Column>) =
        view.columns(arena).into_iter().partition(|column| column.set.is_some());
    let (main, more): (Vec<Column>, Vec<Column>) = own.into_iter().partition(Column::is_main);
    let attacks = view.suite.arenas.get(arena).map_or("no attack: the base rates".into(), |names| names.join(" + "));
    let seeds = view.suite.seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
    let precision = match view.scores.first().map(|line| line.precision) {
        None | Some(Precision::Fp32) => String::new(),
        Some(other) => format!(" · {}", other.name()),
    };
    let heading = format!("{} · arena {arena} ({attacks}) · seeds {seeds}{precision} · %", view.suite.name);
    let mut sheets = vec![TableSpec { arena: arena.into(), heading, columns: main, notes: true }];
    if !more.is_empty() {
        let heading = format!("more of arena {arena} · %");
        sheets.push(TableSpec { arena: arena.into(), heading, columns: more, notes: false });
    }
    sheets.extend(downstream(arena, &sets));
    sheets
}

/// Columns on downstream sets in groups, one for each score and attack. Columns that the published
/// measure of each set replaces are only in `results.jsonl`.
pub fn by_score(columns: &[Column]) -> Vec<Vec<Column>> {
    let is_published = |column: &Column| matches!(column.role, Some(ScoreRole::SetAccuracy | ScoreRole::Published));
    let published = columns.iter().any(is_published);
    let is_left_out = |column: &Column| published && column.role == Some(ScoreRole::Detail);
    let mut groups: Vec<Vec<Column>> = Vec::new();
    for column in columns.iter().filter(|column| !is_left_out(column)) {
        let together =
            |group: &&mut Vec<Column>| (&group[0].score, &group[0].attack) == (&column.score, &column.attack);
        match groups.iter_mut().find(together) {
            Some(group) => group.push(column.clone()),
            None => groups.push(vec![column.clone()]),
        }
    }
    groups
}

/// A table for each score on downstream sets; its columns are sets.
fn downstream(arena: &str, columns: &[Column]) -> Vec<TableSpec> {
    let mut tables = Vec::new();
    for columns in by_score(columns) {
        let of = columns[0].attack.as_ref().map(|attack| format!(" of {attack}")).unwrap_or_default();
        let (score, arrow) = (&columns[0].score, columns[0].arrow());
        let heading = format!("downstream sets in arena {arena} · {score}{of}{arrow} · %");
        tables.push(TableSpec { arena: arena.into(), heading, columns, notes: false });
    }
    tables
}

/// The lines of a column's title.
pub fn title(column: &Column) -> Vec<String> {
    if let Some(set) = &column.set {
        return vec![set.clone()];
    }
    let adaptive = (!column.adapted_to.is_empty()).then(|| format!("adaptive: {}", column.adapted_to));
    let score = format!("{}{}", column.score, column.arrow());
    column.attack.iter().cloned().chain(adaptive).chain([score]).collect()
}

/// The lines of a cell: mean and interval, how many seeds are broken, every seed, every seed of the
/// clean arena, the attack's gate.
fn cell(view: &ResultsView, arena: &str, defense: &str, column: &Column) -> Vec<String> {
    let Some(mean) = view.mean(arena, defense, column) else { return vec!["–".into()] };
    let mut cell = vec![spread(&mean, column.unit)];
    cell.extend(view.broken(arena, defense, column));
    if view.suite.seeds.len() > 1 {
        cell.push(each(&view.values(arena, defense, column), column.unit));
    }
    if column.attack.is_some() && arena != CLEAN {
        cell.push(format!("base {}", each(&view.values(CLEAN, defense, column), column.unit)));
        match view.gate(arena, column) {
            Gate::Unknown => cell.push("gate unknown".into()),
            Gate::Failed => cell.push("attack failed".into()),
            Gate::Passed => {}
        }
    }
    cell
}

/// The values of every seed.
fn each(values: &[Option<f64>], unit: Unit) -> String {
    values.iter().map(|value| value.map_or("–".to_string(), |value| unit.show(value))).collect::<Vec<_>>().join(" ")
}

/// The mean and, from three seeds on, its interval; for two seeds their range.
pub fn spread(mean: &Mean, unit: Unit) -> String {
    let (low, high) = (unit.show(mean.low), unit.show(mean.high));
    match mean.seeds {
        1 => unit.show(mean.mean),
        2 => format!("{low} to {high}"),
        _ => format!("{} [{low}, {high}]", unit.show(mean.mean)),
    }
}

/// Notes for the numbers, one line each: what the number of seeds supports, rows, sets, plugins,
/// and differences between the trials.
pub fn foot(view: &ResultsView, lines: &[Line]) -> String {
    let warnings = view.warnings(lines).into_iter().map(|warning| format!("warning: {warning}\n"));
    let seeds = seeds_say(view.suite.seeds.len()) + "\n";
    let accuracy = accuracy::said(view.suite, lines).map(|said| said + "\n").unwrap_or_default();
    let tier = view.scores.first().filter(|line| !line.tier.is_empty());
    let tier = tier.map(|line| format!("tier: {}\n", line.tier)).unwrap_or_default();
    seeds
        + &tier
        + &accuracy
        + &notes::losses(lines)
        + &notes::sets(lines)
        + &notes::libraries(lines)
        + &warnings.collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::each;
    use gauntlet::evaluator::Unit;

    #[test]
    fn a_seed_that_is_missing_keeps_its_place() {
        assert_eq!(each(&[None, Some(0.5), Some(0.25)], Unit::Share), "– 50.0 25.0");
    }
}
