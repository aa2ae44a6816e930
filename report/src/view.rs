//! A suite's score lines, indexed by arena, defense and seed. `view/comparable.rs` has the rules
//! for comparisons, `view/marks.rs` the marks that qualify numbers.

mod comparable;
mod marks;

pub use comparable::edits;
pub use marks::{Gate, Marks};

use crate::accuracy;
use crate::column::Column;
use crate::lines;
use crate::over_seeds;
use crate::statistics::camps;
use crate::statistics::seeds::Mean;
use gauntlet::Result;
use gauntlet::poison::CLEAN;
use gauntlet::results::{Line, ScoreLine};
use gauntlet::suite::Suite;
use std::collections::{BTreeSet, HashMap};

/// The score lines of a suite.
pub struct ResultsView<'a> {
    /// The suite, as it was run.
    pub suite: &'a Suite,
    /// All scores, in the order of the grid.
    pub scores: Vec<&'a ScoreLine>,
    /// Places in `scores` by arena, defense and seed.
    trials: HashMap<(&'a str, &'a str, u64), Vec<usize>>,
}

impl<'a> ResultsView<'a> {
    /// Sorts the scores of these lines.
    ///
    /// # Errors
    /// If trials of one arena and seed did not read the same poison, or not all trained in one
    /// precision, or a score has two definitions. Poison that differs only in its pixels, through another machine's rounding, is no
    /// error: [`warnings`](ResultsView::warnings) reports it.
    pub fn new(suite: &'a Suite, lines: &'a [Line]) -> Result<Self> {
        let scores: Vec<&ScoreLine> = lines::scores(lines).collect();
        let mut trials: HashMap<_, Vec<usize>> = HashMap::new();
        for (place, line) in scores.iter().enumerate() {
            trials.entry((line.arena.as_str(), line.defense.as_str(), line.seed)).or_default().push(place);
        }
        let view = ResultsView { suite, scores, trials };
        view.check_digests()?;
        view.check_precisions()?;
        view.check_tiers()?;
        view.check_versions()?;
        Ok(view)
    }

    /// Every arena of the suite, `clean` last.
    pub fn arenas(&self) -> impl Iterator<Item = &'a str> {
        self.suite.arenas.keys().map(String::as_str).chain([CLEAN])
    }

    /// Labels of the defenses, in the order of rows.
    pub fn defenses(&self) -> impl Iterator<Item = &'a str> {
        self.suite.defenses.keys().map(String::as_str)
    }

    /// The controls of a defense: rows that name it with `of`.
    pub fn controls_of(&self, defense: &str) -> Vec<&'a str> {
        let names = |table: &serde_json::Value| table.get("of").and_then(|of| of.as_str()) == Some(defense);
        self.suite.defenses.iter().filter(|(_, table)| names(table)).map(|(label, _)| label.as_str()).collect()
    }

    /// Columns of an arena in the order in which they first appear, accuracy first; of attacks,
    /// only those that poison the arena.
    pub fn columns(&self, arena: &str) -> Vec<Column> {
        let attacks = self.suite.arenas.get(arena);
        let poisons = |attack: &Option<String>| {
            attack.as_ref().zip(attacks).is_none_or(|(attack, attacks)| attacks.contains(attack))
        };
        let (mut columns, mut known) = (Vec::new(), BTreeSet::new());
        for line in self.scores.iter().filter(|line| line.arena == arena && poisons(&line.attack)) {
            if known.insert((&line.attack, &line.score, line.downstream.then_some(&line.dataset))) {
                columns.push(Column { accuracy: accuracy::is_of(self.suite, line), ..Column::of(line) });
            }
        }
        columns.sort_by_key(|column| !column.accuracy);
        columns
    }

    /// One line per seed, in the suite's order of seeds; `None` if the trial has not run or failed.
    pub fn lines(&self, arena: &str, defense: &str, column: &Column) -> Vec<Option<&'a ScoreLine>> {
        self.line_of_each_seed(arena, defense, |line| column.is_of(line))
    }

    /// The values of those lines.
    pub fn values(&self, arena: &str, defense: &str, column: &Column) -> Vec<Option<f64>> {
        values(&self.lines(arena, defense, column))
    }

    /// The values of the suite's accuracy.
    pub fn accuracies(&self, arena: &str, defense: &str) -> Vec<Option<&'a ScoreLine>> {
        self.line_of_each_seed(arena, defense, |line| accuracy::is_of(self.suite, line))
    }

    fn line_of_each_seed(
        &self,
        arena: &str,
        defense: &str,
        is_it: impl Fn(&ScoreLine) -> bool,
    ) -> Vec<Option<&'a ScoreLine>> {
        let trials = self.suite.seeds.iter().map(|seed| self.trials.get(&(arena, defense, *seed)));
        trials.map(|places| places?.iter().map(|&place| self.scores[place]).find(|line| is_it(line))).collect()
    }

    /// The mean over the seeds that have run; `None` if none has.
    pub fn mean(&self, arena: &str, defense: &str, column: &Column) -> Option<Mean> {
        over_seeds::mean(&self.lines(arena, defense, column))
    }

    /// The number of broken seeds as text, if the seeds fall into two camps.
    pub fn broken(&self, arena: &str, defense: &str, column: &Column) -> Option<String> {
        let values: Vec<f64> = self.values(arena, defense, column).into_iter().flatten().collect();
        column.broken(&values).map(|broken| camps::words(broken, values.len()))
    }
}

/// The values of lines.
pub fn values(lines: &[Option<&ScoreLine>]) -> Vec<Option<f64>> {
    lines.iter().map(|line| line.map(|line| line.value)).collect()
}
