//! Which tables an arena has and what stands in a cell, whatever they are printed as: `table.rs` prints them as text, `export.rs` as files.

use crate::judge::{camps, over_seeds, seeds_say};
use crate::notes::{libraries, losses, notes};
use crate::table::{each, spread};
use crate::view::{Column, Gate, ResultsView};
use gauntlet::poison::CLEAN;
use gauntlet::recipe::Precision;
use gauntlet::results::{Line, ScoreLine};

/// One table: of an arena, rows are defenses.
pub struct TableSpec {
    /// The arena.
    pub arena: String,
    /// What stands above it.
    pub heading: String,
    /// Its columns.
    pub columns: Vec<Column>,
    /// Whether each row ends in what is to be said of it.
    pub notes: bool,
}

/// The tables of an arena: accuracy and what the attacks reached, the other scores, and one for each score on downstream sets.
pub fn sheets(board: &ResultsView, arena: &str) -> Vec<TableSpec> {
    let (sets, own): (Vec<Column>, Vec<Column>) =
        board.columns(arena).into_iter().partition(|column| column.set.is_some());
    let (main, more): (Vec<Column>, Vec<Column>) = own.into_iter().partition(Column::is_main);
    let attacks = board.suite.arenas.get(arena).map_or("no attack: the base rates".into(), |names| names.join(" + "));
    let seeds = board.suite.seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
    let precision = match board.scores.first().map(|line| line.precision) {
        None | Some(Precision::Fp32) => String::new(),
        Some(other) => format!(" · {}", other.name()),
    };
    let heading = format!("{} · arena {arena} ({attacks}) · seeds {seeds}{precision} · %", board.suite.name);
    let mut sheets = vec![TableSpec { arena: arena.into(), heading, columns: main, notes: true }];
    if !more.is_empty() {
        let heading = format!("more of arena {arena} · %");
        sheets.push(TableSpec { arena: arena.into(), heading, columns: more, notes: false });
    }
    sheets.extend(downstream(arena, &sets));
    sheets
}

/// Columns on downstream sets in groups, a score of an attack or of none each; those that the published measure of each set stands for are
/// left to `results.jsonl`.
pub fn by_score(columns: &[Column]) -> Vec<Vec<Column>> {
    let is_known = |score: &str| columns.iter().any(|column| column.score == score);
    let stands_for = |score: &str| {
        let prefix = ["-top1", "-top5", "-mean-per-class"].iter().find_map(|end| score.strip_suffix(end));
        prefix.is_some_and(|prefix| is_known(&format!("{prefix}-published")))
    };
    let mut groups: Vec<Vec<Column>> = Vec::new();
    for column in columns.iter().filter(|column| !stands_for(&column.score)) {
        let together =
            |group: &&mut Vec<Column>| (&group[0].score, &group[0].attack) == (&column.score, &column.attack);
        match groups.iter_mut().find(together) {
            Some(group) => group.push(column.clone()),
            None => groups.push(vec![column.clone()]),
        }
    }
    groups
}

/// A table for each score on downstream sets, in which columns are sets.
fn downstream(arena: &str, columns: &[Column]) -> Vec<TableSpec> {
    let sheet = |columns: Vec<Column>| {
        let of = columns[0].attack.as_ref().map(|attack| format!(" of {attack}")).unwrap_or_default();
        let (score, arrow) = (&columns[0].score, columns[0].arrow());
        let heading = format!("downstream sets in arena {arena} · {score}{of}{arrow} · %");
        TableSpec { arena: arena.into(), heading, columns, notes: false }
    };
    by_score(columns).into_iter().map(sheet).collect()
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

/// The lines of a cell: mean and interval, how many seeds are broken, every seed, every seed of the clean arena, what is wrong with the attack.
pub fn cell(board: &ResultsView, arena: &str, defense: &str, column: &Column) -> Vec<String> {
    let lines = board.lines(arena, defense, column);
    let Some(mean) = over_seeds(&lines) else { return vec!["–".into()] };
    let mut cell = vec![spread(&mean, column.unit)];
    cell.extend(broken(&lines, column));
    if lines.len() > 1 {
        cell.push(each(&board.values(arena, defense, column), column.unit));
    }
    if column.attack.is_some() && arena != CLEAN {
        cell.push(format!("base {}", each(&board.values(CLEAN, defense, column), column.unit)));
        match board.gate(arena, column) {
            Gate::Unknown => cell.push("gate unknown".into()),
            Gate::Failed => cell.push("attack failed".into()),
            Gate::Passed => {}
        }
    }
    cell
}

/// How many seeds are broken, in words, where they fall in two camps.
pub fn broken(lines: &[Option<&ScoreLine>], column: &Column) -> Option<String> {
    let values: Vec<f64> = lines.iter().flatten().map(|line| line.value).collect();
    camps::broken(&values, column).map(|broken| camps::words(broken, values.len()))
}

/// What a reader must know beside the numbers, a line each: what so many seeds can say, of the rows, the sets, the plugins, and what is not
/// equal among the trials.
pub fn foot(board: &ResultsView, lines: &[Line]) -> String {
    let warnings = board.warnings(lines).into_iter().map(|warning| format!("warning: {warning}\n"));
    let seeds = seeds_say(board.suite.seeds.len()) + "\n";
    let accuracy = super::accuracy::said(board.suite, lines).map(|said| said + "\n").unwrap_or_default();
    let tier = board.scores.first().filter(|line| !line.tier.is_empty());
    let tier = tier.map(|line| format!("tier: {}\n", line.tier)).unwrap_or_default();
    seeds + &tier + &accuracy + &losses(lines) + &notes(lines) + &libraries(lines) + &warnings.collect::<String>()
}
