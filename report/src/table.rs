//! The table of a suite as text: for each arena, rows are defenses and columns are scores, mean and spread over seeds, every
//! seed below. What may be compared, and what is marked, follows the rules that the suite states (`board.rs`); which tables there are, and
//! what their cells say, is in `layout.rs`.

use crate::judge::seeds::Mean;
use crate::layout::{self, TableSpec};
use crate::view::ResultsView;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets::UTF8_HORIZONTAL_ONLY};
use gauntlet::Result;
use gauntlet::evaluator::Unit;
use gauntlet::results::Line;
use gauntlet::suite::Suite;

pub(super) const LEGEND: &str = "\
Each cell: mean over seeds [its 95% interval, from 3 seeds on: docs/statistics.md], then every seed in the order above; base: the same score in
the clean arena. K of N broken: seeds fall in two camps, 30 points apart or more, so that the mean describes neither. `gauntlet compare` says which
differences hold.
attack failed: it lifts its score on the baseline too little over the clean arena, so it judges nobody. gate unknown: the baseline has not
run in both. vacuous: accuracy may be at most twice chance. costly: accuracy well below the baseline's. oracle: trained
without the poison, which the suite dropped by the truth: a bound, and no defense. –: not run, or no such score.
`gauntlet describe SCORE` defines one.
Ranks and cosines are as they are, not in %.
";

/// Renders every arena of the suite, `clean` last.
///
/// # Errors
/// If trials of one arena and seed did not read the same poison, or not all trained in one precision.
pub fn render(suite: &Suite, lines: &[Line]) -> Result<String> {
    let board = ResultsView::new(suite, lines)?;
    let sheets = board.arenas().flat_map(|arena| layout::sheets(&board, arena));
    let table =
        |sheet: &TableSpec| if sheet.columns.is_empty() { "Nothing has run.".into() } else { draw(&board, sheet) };
    let tables: String = sheets.map(|sheet| format!("\n{}\n{}\n", sheet.heading, table(&sheet))).collect();
    Ok(tables + LEGEND + &layout::foot(&board, lines))
}

fn draw(board: &ResultsView, sheet: &TableSpec) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Disabled);
    let titles = sheet.columns.iter().map(|column| layout::title(column).join("\n"));
    let note = sheet.notes.then(|| "note".to_string());
    table.set_header(std::iter::once("defense".to_string()).chain(titles).chain(note));
    for defense in board.defenses() {
        let cells = sheet.columns.iter().map(|column| layout::cell(board, &sheet.arena, defense, column).join("\n"));
        let note = sheet.notes.then(|| board.marks(&sheet.arena, defense).words());
        table.add_row(std::iter::once(defense.to_string()).chain(cells).chain(note));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}

/// Every seed.
pub(super) fn each(values: &[Option<f64>], unit: Unit) -> String {
    values.iter().map(|value| value.map_or("–".to_string(), |value| unit.show(value))).collect::<Vec<_>>().join(" ")
}

/// The mean and, from three seeds on, its interval; of two their range.
pub fn spread(mean: &Mean, unit: Unit) -> String {
    let (low, high) = (unit.show(mean.low), unit.show(mean.high));
    match mean.seeds {
        1 => unit.show(mean.mean),
        2 => format!("{low} to {high}"),
        _ => format!("{} [{low}, {high}]", unit.show(mean.mean)),
    }
}

#[cfg(test)]
mod tests {
    use super::{each, render};
    use gauntlet::evaluator::Unit;
    use gauntlet::recipe::Precision;
    use gauntlet::results::{Line, ScoreLine};
    use gauntlet::suite::Suite;

    fn line(defense: &str, precision: Precision, device: &str) -> Line {
        Line::Score(ScoreLine {
            suite: "s".into(),
            trial: format!("clean/{defense}/seed-0"),
            arena: "clean".into(),
            attack: None,
            adapted_to: String::new(),
            defense: defense.into(),
            seed: 0,
            evaluator: "zero-shot".into(),
            score: "top1".into(),
            dataset: "world".into(),
            downstream: false,
            value: 0.5,
            unit: Unit::Share,
            n: 10,
            low: 0.4,
            high: 0.6,
            higher_is_better: Some(true),
            chance: 0.1,
            poison_digest: "d".into(),
            precision,
            device: device.into(),
            build: Default::default(),
            tier: String::new(),
        })
    }

    #[test]
    fn a_downstream_set_has_a_table_of_its_own_in_which_it_is_the_column() {
        let suite = serde_json::json!({
            "name": "s", "seeds": [0], "model": "tiny", "data": { "kind": "world" },
            "attacks": {}, "arenas": {}, "defenses": { "clip": {} },
        });
        let suite: Suite = serde_json::from_value(suite).unwrap();
        let on = |set: &str, score: &str, value| {
            let Line::Score(line) = line("clip", Precision::Fp32, "cpu") else { unreachable!("a score") };
            Line::Score(ScoreLine { score: score.into(), dataset: set.into(), downstream: true, value, ..line })
        };
        let published = [on("pets", "probe-published", 0.25), on("dtd", "probe-published", 0.75)];
        let detail = [on("dtd", "probe-top1", 0.125), on("dtd", "alone-top1", 0.0625)];
        let lines = [[line("clip", Precision::Fp32, "cpu")].to_vec(), published.to_vec(), detail.to_vec()].concat();
        let table = render(&suite, &lines).unwrap();
        let row = |title: &str| table.split(title).nth(1).unwrap().lines().find(|line| line.contains("clip")).unwrap();
        assert_eq!(row("probe-published").split_whitespace().collect::<Vec<_>>(), ["clip", "25.0", "75.0"]);
        assert_eq!(row("alone-top1").split_whitespace().collect::<Vec<_>>(), ["clip", "6.2"]);
        assert!(
            !table.contains("probe-top1") && !table.contains("12.5"),
            "the published measure stands for it: {table}"
        );
    }

    #[test]
    fn precisions_are_never_mixed_and_mixed_devices_are_told() {
        let suite = serde_json::json!({
            "name": "s", "seeds": [0], "model": "tiny", "data": { "kind": "world" },
            "attacks": {}, "arenas": {}, "defenses": { "clip": {}, "roclip": {} },
        });
        let suite: Suite = serde_json::from_value(suite).unwrap();
        let table = |precision, device| {
            render(&suite, &[line("clip", Precision::Fp32, "cpu"), line("roclip", precision, device)])
        };
        assert!(!table(Precision::Fp32, "cpu").unwrap().contains("warning"));
        assert!(table(Precision::Fp32, "A GPU").unwrap().contains("different devices (A GPU, cpu)"));
        let refusal = table(Precision::Bf16, "cpu").unwrap_err().chain();
        assert!(refusal.contains("fp32 and bf16") && refusal.contains("clean/roclip/seed-0"), "{refusal}");
    }

    #[test]
    fn a_seed_that_is_missing_keeps_its_place() {
        assert_eq!(each(&[None, Some(0.5), Some(0.25)], Unit::Share), "– 50.0 25.0");
    }
}
