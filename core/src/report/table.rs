//! The table of a suite: for each poisoned arena, rows are defenses and columns are scores, mean and spread over seeds, every
//! seed below. What may be compared, and what is marked, follows the rules that the suite states.

use super::{Line, ScoreLine};
use crate::suite::{CLEAN, Suite};
use crate::{Error, Result};
use comfy_table::{CellAlignment, ContentArrangement, Table, presets::UTF8_HORIZONTAL_ONLY};
use std::collections::BTreeMap;

/// A column: a score, about one attack or none.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Column {
    attack: Option<String>,
    score: String,
    higher_is_better: Option<bool>,
}

/// The score lines of a suite and the rules by which they are read.
struct Scoreboard<'a> {
    suite: &'a Suite,
    scores: Vec<&'a ScoreLine>,
}

/// Renders every poisoned arena of the suite.
///
/// # Errors
/// If trials of one arena and seed did not read the same poison.
pub fn render(suite: &Suite, lines: &[Line]) -> Result<String> {
    let scores =
        lines.iter().filter_map(|line| if let Line::Score(score) = line { Some(score) } else { None }).collect();
    let board = Scoreboard { suite, scores };
    board.check_digests()?;
    let mut text = String::new();
    for arena in suite.arenas.keys() {
        text += &board.render(arena);
    }
    text += "Each cell: mean over seeds ± standard deviation, then every seed in the order above; base: the same score in the clean arena.\n";
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

    fn render(&self, arena: &str) -> String {
        let (main, more): (Vec<Column>, Vec<Column>) =
            self.columns(arena).into_iter().partition(|column| column.attack.is_some() || column.is_accuracy());
        let seeds: Vec<String> = self.suite.seeds.iter().map(u64::to_string).collect();
        let attacks = self.suite.arenas[arena].join(" + ");
        let mut text = format!(
            "\n{} · arena {arena} ({attacks}) · seeds {} · %\n{}\n",
            self.suite.name,
            seeds.join(", "),
            self.table(arena, &main, true)
        );
        if !more.is_empty() {
            text += &format!("\nmore of arena {arena} · %\n{}\n", self.table(arena, &more, false));
        }
        text
    }

    /// Columns in the order in which they first appear, accuracy first.
    fn columns(&self, arena: &str) -> Vec<Column> {
        let mut columns: Vec<Column> = Vec::new();
        let poisons =
            |attack: &Option<String>| attack.as_ref().is_none_or(|attack| self.suite.arenas[arena].contains(attack));
        for line in self.scores.iter().filter(|line| line.arena == arena && poisons(&line.attack)) {
            let column = Column {
                attack: line.attack.clone(),
                score: line.score.clone(),
                higher_is_better: line.higher_is_better,
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
        if values.is_empty() {
            return "–".into();
        }
        let each =
            |values: &[f64]| values.iter().map(|value| format!("{:.1}", value * 100.0)).collect::<Vec<_>>().join(" ");
        let mut cell = spread(&values);
        if values.len() > 1 {
            cell += &format!("\n{}", each(&values));
        }
        if column.attack.is_some() {
            let failed = self.attack_failed(arena, column).then_some("\nattack failed");
            cell += &format!("\nbase {}{}", each(&self.values(CLEAN, defense, column)), failed.unwrap_or_default());
        }
        cell
    }

    /// One value a seed, in the suite's order of seeds.
    fn values(&self, arena: &str, defense: &str, column: &Column) -> Vec<f64> {
        self.lines(arena, defense, column).map(|line| line.value).collect()
    }

    fn lines<'b>(
        &'b self,
        arena: &'b str,
        defense: &'b str,
        column: &'b Column,
    ) -> impl Iterator<Item = &'b ScoreLine> {
        let of_seed = move |seed: &u64| {
            let matches = |line: &&&ScoreLine| {
                line.seed == *seed
                    && line.arena == arena
                    && line.defense == defense
                    && line.attack == column.attack
                    && line.score == column.score
            };
            self.scores.iter().find(matches).copied()
        };
        self.suite.seeds.iter().filter_map(of_seed)
    }

    /// The gate: an attack that does not lift its success on the undefended baseline over the clean arena ranks no defense.
    fn attack_failed(&self, arena: &str, column: &Column) -> bool {
        let of = |arena| mean(&self.values(arena, &self.suite.baseline, column));
        column.higher_is_better == Some(false) && of(arena) - of(CLEAN) < self.suite.gate
    }

    /// Vacuous: accuracy that may be at most twice chance. Costly: well below the baseline's accuracy.
    fn marks(&self, arena: &str, defense: &str) -> String {
        let accuracy = Column { attack: None, score: "top1".into(), higher_is_better: Some(true) };
        let lines: Vec<&ScoreLine> = self.lines(arena, defense, &accuracy).collect();
        let vacuous = lines.iter().any(|line| line.low <= 2.0 / f64::from(line.classes));
        let ours = mean(&self.values(arena, defense, &accuracy));
        let costly = ours < self.suite.costly * mean(&self.values(arena, &self.suite.baseline, &accuracy));
        let marks = [(defense == self.suite.baseline, "baseline"), (vacuous, "vacuous"), (costly, "costly")];
        marks.iter().filter(|(holds, _)| *holds).map(|(_, mark)| *mark).collect::<Vec<_>>().join(", ")
    }
}

impl Column {
    fn is_accuracy(&self) -> bool {
        self.attack.is_none() && self.score == "top1"
    }

    fn title(&self) -> String {
        let arrow = match self.higher_is_better {
            Some(true) => " ↑",
            Some(false) => " ↓",
            None => "",
        };
        format!("{}{}{arrow}", self.attack.as_ref().map(|attack| format!("{attack}\n")).unwrap_or_default(), self.score)
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Mean and, from two seeds on, sample standard deviation, in percent.
fn spread(values: &[f64]) -> String {
    let mean = mean(values);
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    match values.len() {
        1 => format!("{:.1}", mean * 100.0),
        n => format!("{:.1} ±{:.1}", mean * 100.0, (squares / (n - 1) as f64).sqrt() * 100.0),
    }
}
