//! The tables of a suite as text: for each arena, rows are defenses and columns are scores, with
//! mean and spread over seeds and every seed below. `layout.rs` has their content.

use crate::layout::{self, LEGEND, TableSpec};
use crate::view::ResultsView;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets::UTF8_HORIZONTAL_ONLY};
use gauntlet::Result;
use gauntlet::data::visible;
use gauntlet::results::Line;
use gauntlet::suite::Suite;

/// Renders every arena of the suite, `clean` last.
///
/// # Errors
/// If trials of one arena and seed did not read the same poison, or not all trained in one
/// precision.
pub fn render(suite: &Suite, lines: &[Line]) -> Result<String> {
    let view = ResultsView::new(suite, lines)?;
    let tables: String = layout::tables(&view).iter().map(|table| draw(&view, table)).collect();
    let legend = if view.scores.is_empty() { "" } else { LEGEND };
    Ok(visible(&(tables + legend + &layout::foot(&view, lines))).into_owned())
}

fn draw(view: &ResultsView, spec: &TableSpec) -> String {
    if spec.columns.is_empty() {
        return format!("\n{}\nNothing has run.\n", spec.heading);
    }
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(spec.head().iter().map(|lines| lines.join("\n")));
    for defense in view.defenses() {
        table.add_row(spec.row(view, defense).iter().map(|lines| lines.join("\n")));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    format!("\n{}\n{table}\n", spec.heading)
}

#[cfg(test)]
mod tests {
    use super::render;
    use gauntlet::evaluator::{ScoreRole, Unit};
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
            role: Some(ScoreRole::Accuracy),
            version: 1,
            n: 10,
            low: 0.4,
            high: 0.6,
            higher_is_better: Some(true),
            chance: Some(0.1),
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
        let on = |set: &str, score: &str, role, value| {
            let Line::Score(line) = line("clip", Precision::Fp32, "cpu") else { unreachable!("a score") };
            Line::Score(ScoreLine { score: score.into(), role, dataset: set.into(), downstream: true, value, ..line })
        };
        let published = Some(ScoreRole::Published);
        let published = [on("pets", "probe-published", published, 0.25), on("dtd", "probe-published", published, 0.75)];
        let detail = [on("dtd", "probe-top1", Some(ScoreRole::Detail), 0.125), on("dtd", "alone-top1", None, 0.0625)];
        let lines = [[line("clip", Precision::Fp32, "cpu")].to_vec(), published.to_vec(), detail.to_vec()].concat();
        let table = render(&suite, &lines).unwrap();
        let row = |title: &str| table.split(title).nth(1).unwrap().lines().find(|line| line.contains("clip")).unwrap();
        assert_eq!(row("probe-published").split_whitespace().collect::<Vec<_>>(), ["clip", "25.0", "75.0"]);
        assert_eq!(row("alone-top1").split_whitespace().collect::<Vec<_>>(), ["clip", "6.2"]);
        assert!(!table.contains("probe-top1") && !table.contains("12.5"), "the published measure replaces it: {table}");
    }

    #[test]
    fn a_suite_that_has_not_run_has_no_cells_to_explain() {
        let suite = crate::sample::suite(&[0], &["clip"]);
        let table = render(&suite, &[]).unwrap();
        assert!(table.contains("Nothing has run.") && !table.contains("Each cell"), "{table}");
        assert!(render(&suite, &[line("clip", Precision::Fp32, "cpu")]).unwrap().contains("Each cell"));
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
}
