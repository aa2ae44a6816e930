//! The table of a suite: for each arena, rows are defenses and columns are scores, mean and spread over seeds, every
//! seed below. What may be compared, and what is marked, follows the rules that the suite states. `table/downstream.rs` has the
//! downstream sets' own tables.

mod downstream;

use super::{Line, ScoreLine};
use crate::evaluator::Unit;
use crate::suite::{CLEAN, Suite};
use crate::train::Precision;
use crate::{Error, Result};
use comfy_table::{CellAlignment, ContentArrangement, Table, presets::UTF8_HORIZONTAL_ONLY};
use std::collections::{BTreeMap, BTreeSet};

/// A column: a score, about one attack or none.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Column {
    attack: Option<String>,
    /// The defense that the attack was adapted to; empty for most.
    adapted_to: String,
    score: String,
    /// A downstream set; none for the trial's own data.
    set: Option<String>,
    higher_is_better: Option<bool>,
    unit: Unit,
}

/// The score lines of a suite and the rules by which they are read.
struct Scoreboard<'a> {
    suite: &'a Suite,
    scores: Vec<&'a ScoreLine>,
}

const LEGEND: &str = "\
Each cell: mean over seeds ± standard deviation, then every seed in the order above; base: the same score in the clean arena.
attack failed: it lifts its score on the baseline too little over the clean arena, so it judges nobody. gate unknown: the baseline has not
run in both. vacuous: accuracy may be at most twice chance. costly: accuracy well below the baseline's. –: not run, or no such score.
`gauntlet describe` defines each score.
Ranks and cosines are as they are, not in %.
";

/// Renders every arena of the suite, `clean` last.
///
/// # Errors
/// If trials of one arena and seed did not read the same poison, or not all trained in one precision.
pub fn render(suite: &Suite, lines: &[Line]) -> Result<String> {
    let scores =
        lines.iter().filter_map(|line| if let Line::Score(score) = line { Some(score) } else { None }).collect();
    let board = Scoreboard { suite, scores };
    board.check_digests()?;
    board.check_precisions()?;
    let mut text = String::new();
    let clean = CLEAN.to_string();
    for arena in suite.arenas.keys().chain([&clean]) {
        text += &board.render(arena);
    }
    text += LEGEND;
    text += &super::notes(lines);
    text += &super::libraries(lines);
    let devices: BTreeSet<&str> = board.scores.iter().map(|line| line.device.as_str()).collect();
    if devices.len() > 1 {
        let devices = devices.into_iter().collect::<Vec<_>>().join(", ");
        text += &format!("warning: trained on different devices ({devices}), which round differently.\n");
    }
    Ok(text)
}

impl Scoreboard<'_> {
    /// Two digests in one arena and seed are two different attacks: nothing may be compared then.
    fn check_digests(&self) -> Result<()> {
        let mut digests = BTreeMap::new();
        for line in &self.scores {
            let known = digests.entry((&line.arena, line.seed)).or_insert((&line.poison_digest, &line.trial));
            if *known.0 != line.poison_digest {
                let what = format!("arena `{}`, seed {}", line.arena, line.seed);
                let why = format!(
                    "`{}` and `{}` did not read the same poison ({} and {}); they cannot be compared",
                    known.1, line.trial, known.0, line.poison_digest
                );
                return Err(Error::invalid(what, why));
            }
        }
        Ok(())
    }

    /// Every defense is compared with the baseline, and every arena with the clean one: all must have trained in one precision.
    fn check_precisions(&self) -> Result<()> {
        let Some(first) = self.scores.first() else { return Ok(()) };
        match self.scores.iter().find(|line| line.precision != first.precision) {
            None => Ok(()),
            Some(other) => Err(Error::invalid(
                format!("`{}` and `{}`", first.trial, other.trial),
                format!(
                    "trained in {} and {}; they cannot be compared",
                    first.precision.name(),
                    other.precision.name()
                ),
            )),
        }
    }

    fn render(&self, arena: &str) -> String {
        let (sets, own): (Vec<Column>, Vec<Column>) =
            self.columns(arena).into_iter().partition(|column| column.set.is_some());
        let (main, more): (Vec<Column>, Vec<Column>) = own
            .into_iter()
            .partition(|column| column.is_accuracy() || column.attack.is_some() && !column.is_diagnostic());
        let seeds: Vec<String> = self.suite.seeds.iter().map(u64::to_string).collect();
        let attacks =
            self.suite.arenas.get(arena).map_or("no attack: the base rates".into(), |attacks| attacks.join(" + "));
        let precision = match self.scores.first().map(|line| line.precision) {
            None | Some(Precision::Fp32) => String::new(),
            Some(other) => format!(" · {}", other.name()),
        };
        let mut text = format!(
            "\n{} · arena {arena} ({attacks}) · seeds {}{precision} · %\n{}\n",
            self.suite.name,
            seeds.join(", "),
            self.table(arena, &main, true)
        );
        if !more.is_empty() {
            text += &format!("\nmore of arena {arena} · %\n{}\n", self.table(arena, &more, false));
        }
        text + &self.downstream(arena, &sets)
    }

    /// Columns in the order in which they first appear, accuracy first.
    fn columns(&self, arena: &str) -> Vec<Column> {
        let mut columns: Vec<Column> = Vec::new();
        let attacks = self.suite.arenas.get(arena);
        let poisons = |attack: &Option<String>| {
            attack.as_ref().zip(attacks).is_none_or(|(attack, attacks)| attacks.contains(attack))
        };
        for line in self.scores.iter().filter(|line| line.arena == arena && poisons(&line.attack)) {
            let column = Column {
                attack: line.attack.clone(),
                adapted_to: line.adapted_to.clone(),
                score: line.score.clone(),
                set: line.downstream.then(|| line.dataset.clone()),
                higher_is_better: line.higher_is_better,
                unit: line.unit,
            };
            if !columns.contains(&column) {
                columns.push(column);
            }
        }
        columns.sort_by_key(|column| !column.is_accuracy());
        columns
    }

    fn table(&self, arena: &str, columns: &[Column], marks: bool) -> String {
        let mut table = Table::new();
        table.load_style(UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Disabled);
        let titles = std::iter::once("defense".to_string()).chain(columns.iter().map(Column::title));
        table.set_header(titles.chain(marks.then(|| "note".to_string())));
        for defense in self.suite.defenses.keys() {
            let cells = columns.iter().map(|column| self.cell(arena, defense, column));
            let note = marks.then(|| self.marks(arena, defense));
            table.add_row(std::iter::once(defense.clone()).chain(cells).chain(note));
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table.to_string()
    }

    fn cell(&self, arena: &str, defense: &str, column: &Column) -> String {
        let values = self.values(arena, defense, column);
        if values.iter().all(Option::is_none) {
            return "–".into();
        }
        let mut cell = spread(&values.iter().flatten().copied().collect::<Vec<_>>(), column.unit);
        if values.len() > 1 {
            cell += &format!("\n{}", each(&values, column.unit));
        }
        if column.attack.is_some() && arena != CLEAN {
            let gate = if column.higher_is_better == Some(false) { self.gate(arena, column) } else { "" };
            cell += &format!("\nbase {}{gate}", each(&self.values(CLEAN, defense, column), column.unit));
        }
        cell
    }

    /// One value a seed, in the suite's order of seeds; none where the trial has not run or failed.
    fn values(&self, arena: &str, defense: &str, column: &Column) -> Vec<Option<f64>> {
        self.lines(arena, defense, column).map(|line| line.map(|line| line.value)).collect()
    }

    fn lines<'b>(
        &'b self,
        arena: &'b str,
        defense: &'b str,
        column: &'b Column,
    ) -> impl Iterator<Item = Option<&'b ScoreLine>> {
        let of_seed = move |seed: &u64| {
            let matches = |line: &&&ScoreLine| {
                line.seed == *seed
                    && line.arena == arena
                    && line.defense == defense
                    && line.attack == column.attack
                    && line.score == column.score
                    && column.set.as_deref() == line.downstream.then_some(line.dataset.as_str())
            };
            self.scores.iter().find(matches).copied()
        };
        self.suite.seeds.iter().map(of_seed)
    }

    /// An attack that does not lift its success on the undefended baseline over the clean arena judges no defense.
    fn gate(&self, arena: &str, column: &Column) -> &'static str {
        let of = |arena| self.values(arena, &self.suite.baseline, column);
        match paired_means(&of(arena), &of(CLEAN)) {
            None => "\ngate unknown",
            Some((success, base)) if success - base < self.suite.gate => "\nattack failed",
            Some(_) => "",
        }
    }

    /// Vacuous: accuracy that may be at most twice chance. Costly: well below the baseline's accuracy.
    fn marks(&self, arena: &str, defense: &str) -> String {
        let accuracy = Column {
            attack: None,
            adapted_to: String::new(),
            score: "top1".into(),
            set: None,
            higher_is_better: Some(true),
            unit: Unit::Share,
        };
        let vacuous = self.lines(arena, defense, &accuracy).flatten().any(|line| line.low <= 2.0 * line.chance);
        let of = |defense: &str| self.values(arena, defense, &accuracy);
        let means = paired_means(&of(defense), &of(&self.suite.baseline));
        let costly = means.is_some_and(|(ours, baseline)| ours < self.suite.costly * baseline);
        let marks = [(defense == self.suite.baseline, "baseline"), (vacuous, "vacuous"), (costly, "costly")];
        marks.iter().filter(|(holds, _)| *holds).map(|(_, mark)| *mark).collect::<Vec<_>>().join(", ")
    }
}

impl Column {
    fn is_accuracy(&self) -> bool {
        self.attack.is_none() && self.set.is_none() && self.score == "top1"
    }

    /// No success of an attack: nothing that ranks a defense.
    fn is_diagnostic(&self) -> bool {
        self.higher_is_better.is_none()
    }

    fn arrow(&self) -> &'static str {
        match self.higher_is_better {
            Some(true) => " ↑",
            Some(false) => " ↓",
            None => "",
        }
    }

    fn title(&self) -> String {
        if let Some(set) = &self.set {
            return set.clone();
        }
        let adaptive = match self.adapted_to.as_str() {
            "" => String::new(),
            defense => format!("adaptive: {defense}\n"),
        };
        let attack = self.attack.as_ref().map(|attack| format!("{attack}\n{adaptive}")).unwrap_or_default();
        format!("{attack}{}{}", self.score, self.arrow())
    }
}

/// Means of both over the seeds that both have.
fn paired_means(ours: &[Option<f64>], theirs: &[Option<f64>]) -> Option<(f64, f64)> {
    let (ours, theirs): (Vec<f64>, Vec<f64>) = ours.iter().zip(theirs).filter_map(|(a, b)| a.zip(*b)).unzip();
    (!ours.is_empty()).then(|| (mean(&ours), mean(&theirs)))
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Every seed.
fn each(values: &[Option<f64>], unit: Unit) -> String {
    values.iter().map(|value| value.map_or("–".to_string(), |value| number(value, unit))).collect::<Vec<_>>().join(" ")
}

/// Mean and, from two seeds on, sample standard deviation.
fn spread(values: &[f64], unit: Unit) -> String {
    let mean = mean(values);
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    match values.len() {
        1 => number(mean, unit),
        n => format!("{} ±{}", number(mean, unit), number((squares / (n - 1) as f64).sqrt(), unit)),
    }
}

/// Shares in percent.
fn number(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Share => format!("{:.1}", value * 100.0),
        Unit::Rank => format!("{value:.1}"),
        Unit::Cosine => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{each, paired_means, render};
    use crate::evaluator::Unit;
    use crate::report::{Line, ScoreLine};
    use crate::suite::Suite;
    use crate::train::Precision;

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
    fn a_seed_that_is_missing_keeps_its_place_and_is_averaged_over_on_neither_side() {
        assert_eq!(each(&[None, Some(0.5), Some(0.25)], Unit::Share), "– 50.0 25.0");
        assert_eq!(paired_means(&[None, Some(0.5), Some(0.25)], &[Some(0.9), Some(0.5), None]), Some((0.5, 0.5)));
        assert_eq!(paired_means(&[None], &[Some(0.9)]), None);
    }
}
