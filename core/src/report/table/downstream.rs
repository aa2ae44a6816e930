//! The tables of the downstream sets: one for each score, in which columns are sets.

use super::{Column, Tables};
use std::fmt::Write;

/// Columns on downstream sets in groups, a score of an attack or of none each; those that the published measure of each set stands for are
/// left out.
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

impl Tables<'_> {
    /// Every score on downstream sets of an arena; those that the published measure of each set stands for are left to `results.jsonl`.
    pub(super) fn downstream(&self, arena: &str, columns: &[Column]) -> String {
        let mut text = String::new();
        for group in by_score(columns) {
            let of = group[0].attack.as_ref().map(|attack| format!(" of {attack}")).unwrap_or_default();
            let (score, arrow, table) = (&group[0].score, group[0].arrow(), self.table(arena, &group, false));
            let _ = write!(text, "\ndownstream sets in arena {arena} · {score}{of}{arrow} · %\n{table}\n");
        }
        text
    }
}
