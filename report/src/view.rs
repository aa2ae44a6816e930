//! A suite's score lines, ready to be looked up, and the rules by which they are read: what may be compared, and what is marked.
//! `report/table.rs` prints them, `judge.rs` compares them.

use gauntlet::evaluator::Unit;
use gauntlet::poison::CLEAN;
use gauntlet::results::{Line, ScoreLine};
use gauntlet::suite::Suite;
use gauntlet::{Error, Result};
use std::collections::{BTreeSet, HashMap};

/// A column of a table: a score, about one attack or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Label of the attack.
    pub attack: Option<String>,
    /// The defense that the attack was adapted to; empty for most.
    pub adapted_to: String,
    /// Name of the score.
    pub score: String,
    /// A downstream set; none for the trial's own data.
    pub set: Option<String>,
    /// Which way is better for the defender; none for a diagnostic.
    pub higher_is_better: Option<bool>,
    /// What kind of number it is.
    pub unit: Unit,
    /// Whether it is the accuracy that the suite names.
    pub accuracy: bool,
}

/// Whether an attack works on the undefended baseline: one that does not judges no defense.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Gate {
    /// The baseline has not run in both this arena and the clean one.
    Unknown,
    /// It lifts its success over the clean arena by less than the suite asks.
    Failed,
    /// It works.
    Passed,
}

/// What is to be said of a defense's row in an arena before its numbers are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// It is the one that others are compared with.
    pub baseline: bool,
    /// The suite dropped its poison by the truth: a bound, and no defense.
    pub oracle: bool,
    /// Its models were trained elsewhere, on an export of the same poison.
    pub elsewhere: bool,
    /// Its accuracy may be at most twice chance: who learns nothing defends nothing.
    pub vacuous: bool,
    /// Its accuracy is well below the baseline's.
    pub costly: bool,
}

/// The score lines of a suite.
pub struct ResultsView<'a> {
    /// The suite, as it was run.
    pub suite: &'a Suite,
    /// All scores, in the order of the grid.
    pub scores: Vec<&'a ScoreLine>,
    /// What the suite takes for accuracy.
    pub accuracy: Column,
    /// Places in `scores` by arena, defense and seed.
    trials: HashMap<(&'a str, &'a str, u64), Vec<usize>>,
}

impl<'a> ResultsView<'a> {
    /// Sorts the scores of these lines.
    ///
    /// # Errors
    /// If trials of one arena and seed did not read the same poison, or not all trained in one precision. Poison that differs in its pixels
    /// alone, as another machine's arithmetic makes it, is none: [`warnings`](ResultsView::warnings) tells of it.
    pub fn new(suite: &'a Suite, lines: &'a [Line]) -> Result<Self> {
        let scores: Vec<&ScoreLine> =
            lines.iter().filter_map(|line| if let Line::Score(score) = line { Some(score) } else { None }).collect();
        let mut trials: HashMap<_, Vec<usize>> = HashMap::new();
        for (place, line) in scores.iter().enumerate() {
            trials.entry((line.arena.as_str(), line.defense.as_str(), line.seed)).or_default().push(place);
        }
        let board = ResultsView { suite, scores, accuracy: Column::accuracy(suite), trials };
        board.check_digests()?;
        board.check_precisions()?;
        board.check_tiers()?;
        Ok(board)
    }

    /// Two sets of edits in one arena and seed are two different attacks: nothing may be compared then.
    fn check_digests(&self) -> Result<()> {
        let differs = |first: &&ScoreLine, line: &&ScoreLine| edits(&first.poison_digest) != edits(&line.poison_digest);
        let Some((first, line)) = self.against_first(differs).next() else { return Ok(()) };
        let why = format!(
            "`{}` and `{}` did not read the same poison ({} and {}); they cannot be compared",
            first.trial, line.trial, first.poison_digest, line.poison_digest
        );
        Err(Error::invalid(format!("arena `{}`, seed {}", line.arena, line.seed), why))
    }

    /// Lines that differ from the first one of their arena and seed, with that one.
    fn against_first(
        &self,
        differs: impl Fn(&&'a ScoreLine, &&'a ScoreLine) -> bool,
    ) -> impl Iterator<Item = (&'a ScoreLine, &'a ScoreLine)> {
        let mut firsts: HashMap<(&str, u64), &ScoreLine> = HashMap::new();
        let pair = move |line: &&'a ScoreLine| (*firsts.entry((&line.arena, line.seed)).or_insert(line), *line);
        self.scores.iter().map(pair).filter(move |(first, line)| differs(first, line))
    }

    /// What is not equal among the trials and yet may be compared, with care: poisoned pixels that another machine's arithmetic made,
    /// devices, versions of gauntlet, rows that were found (which `lines` tell).
    pub fn warnings(&self, lines: &[Line]) -> Vec<String> {
        let mut warnings = Vec::new();
        let pixels = self.against_first(|first, line| first.poison_digest != line.poison_digest);
        let pixels = pixels.map(|(first, line)| {
            let place = format!("arena {}, seed {}", line.arena, line.seed);
            format!("{place}: `{}` and `{}` trained on the same poison but for its pixels", first.trial, line.trial)
        });
        for warning in pixels {
            if !warnings.contains(&warning) {
                warnings.push(warning);
            }
        }
        // Pairs without labels have no accuracy of their own.
        let unlabelled = self.scores.iter().any(|line| line.score == "asr-caption") && self.suite.accuracy.is_empty();
        if unlabelled && !self.scores.iter().any(|line| self.accuracy.is_of(line)) {
            let why =
                "no row has a label, so nobody can tell what a defense costs, nor whether a model has learnt anything";
            warnings.push(format!(
                "{why}; `accuracy` in the suite names a downstream set, or `downstream` for all of them"
            ));
        }
        let several =
            |names: BTreeSet<String>| (names.len() > 1).then(|| names.into_iter().collect::<Vec<_>>().join(", "));
        let devices = self.scores.iter().map(|line| line.device.clone()).collect();
        let versions =
            lines.iter().filter_map(|line| if let Line::Cost(cost) = line { Some(cost.version()) } else { None });
        let devices =
            several(devices).map(|names| format!("trained on different devices ({names}), which round differently"));
        let versions =
            several(versions.collect()).map(|names| format!("run by different versions of gauntlet ({names})"));
        let costs = lines.iter().filter_map(|line| if let Line::Cost(cost) = line { Some(cost) } else { None });
        let mixed: Vec<&str> = costs.filter(|cost| cost.builds > 1).map(|cost| cost.trial.as_str()).collect();
        let mixed = (!mixed.is_empty())
            .then(|| format!("trained by several builds of gauntlet, one after the other ({})", mixed.join(", ")));
        warnings.extend(devices.into_iter().chain(versions).chain(mixed).chain(other_rows(lines)));
        warnings
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

    /// Rows of two tiers, or of a tier and a modified one, are not of one experiment.
    fn check_tiers(&self) -> Result<()> {
        let Some(first) = self.scores.first() else { return Ok(()) };
        match self.scores.iter().find(|line| line.tier != first.tier) {
            None => Ok(()),
            Some(other) => {
                let tier = |line: &ScoreLine| if line.tier.is_empty() { "none".into() } else { line.tier.clone() };
                let why =
                    format!("are of different tiers ({} and {}); they cannot be compared", tier(first), tier(other));
                Err(Error::invalid(format!("`{}` and `{}`", first.trial, other.trial), why))
            }
        }
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

    /// Columns of an arena in the order in which they first appear, accuracy first; of attacks, those that poison the arena.
    pub fn columns(&self, arena: &str) -> Vec<Column> {
        let attacks = self.suite.arenas.get(arena);
        let poisons = |attack: &Option<String>| {
            attack.as_ref().zip(attacks).is_none_or(|(attack, attacks)| attacks.contains(attack))
        };
        let (mut columns, mut known) = (Vec::new(), BTreeSet::new());
        for line in self.scores.iter().filter(|line| line.arena == arena && poisons(&line.attack)) {
            if known.insert((&line.attack, &line.score, line.downstream.then_some(&line.dataset))) {
                let mut column = Column::of(line);
                column.accuracy = self.accuracy.is_of(line);
                columns.push(column);
            }
        }
        columns.sort_by_key(|column| !column.accuracy);
        columns
    }

    /// One line a seed, in the suite's order of seeds; none where the trial has not run or failed.
    pub fn lines(&self, arena: &str, defense: &str, column: &Column) -> Vec<Option<&'a ScoreLine>> {
        let of_seed = |seed: &u64| {
            let places = self.trials.get(&(arena, defense, *seed))?;
            places.iter().map(|&place| self.scores[place]).find(|line| column.is_of(line))
        };
        self.suite.seeds.iter().map(of_seed).collect()
    }

    /// The values of those lines.
    pub fn values(&self, arena: &str, defense: &str, column: &Column) -> Vec<Option<f64>> {
        self.lines(arena, defense, column).into_iter().map(|line| line.map(|line| line.value)).collect()
    }

    /// Whether the attack of a column works on the baseline. Columns that are no success of an attack have no gate to pass.
    pub fn gate(&self, arena: &str, column: &Column) -> Gate {
        if column.attack.is_none() || column.higher_is_better != Some(false) || arena == CLEAN {
            return Gate::Passed;
        }
        let of = |arena| self.values(arena, &self.suite.baseline, column);
        let has = |column: &Column| [arena, CLEAN].iter().any(|arena| self.baseline_has(arena, column));
        match paired_means(&of(arena), &of(CLEAN)) {
            // What only a defense of another kind is measured by has the gate of its attack.
            None if !has(column) => {
                let mut successes = self.columns(arena).into_iter().filter(|other| {
                    (&other.attack, other.higher_is_better) == (&column.attack, Some(false)) && has(other)
                });
                successes.next().map_or(Gate::Unknown, |success| self.gate(arena, &success))
            }
            None => Gate::Unknown,
            Some((success, base)) if success - base < self.suite.gate => Gate::Failed,
            Some(_) => Gate::Passed,
        }
    }

    /// The same, and of what is about an attack and better the higher it is (the targets returned to their own class, say) the gate of the
    /// attack's success: an attack that does not work judges nobody by either.
    pub fn gate_of_attack(&self, arena: &str, column: &Column) -> Gate {
        let success = |other: &Column| (&other.attack, other.higher_is_better) == (&column.attack, Some(false));
        match column.attack.is_some() && column.higher_is_better == Some(true) {
            false => self.gate(arena, column),
            true => self
                .columns(arena)
                .iter()
                .find(|other| success(other))
                .map_or(Gate::Passed, |found| self.gate(arena, found)),
        }
    }

    fn baseline_has(&self, arena: &str, column: &Column) -> bool {
        self.values(arena, &self.suite.baseline, column).iter().any(Option::is_some)
    }

    /// What is to be said of a row.
    pub fn marks(&self, arena: &str, defense: &str) -> Marks {
        let ours = self.lines(arena, defense, &self.accuracy);
        Marks {
            baseline: defense == self.suite.baseline,
            oracle: self.suite.is_oracle(defense),
            elsewhere: self.suite.is_elsewhere(defense),
            // Where the suite names an accuracy that a row does not have, nothing says that its model has learnt anything.
            vacuous: ours.iter().flatten().any(|line| line.low <= 2.0 * line.chance)
                || !self.suite.accuracy.is_empty() && self.has_run(arena, defense) && ours.iter().all(Option::is_none),
            costly: self.costs(arena, defense, &self.suite.baseline),
        }
    }

    fn has_run(&self, arena: &str, defense: &str) -> bool {
        self.suite.seeds.iter().any(|seed| self.trials.contains_key(&(arena, defense, *seed)))
    }

    /// Whether the accuracy of `defense` lies below the suite's share of the other's, over the seeds that both have.
    fn costs(&self, arena: &str, defense: &str, other: &str) -> bool {
        let of = |defense: &str| self.values(arena, defense, &self.accuracy);
        paired_means(&of(defense), &of(other)).is_some_and(|(ours, theirs)| ours < self.suite.costly * theirs)
    }

    /// Whether one of two is costly beside the other. Two that are costly beside the baseline may well be judged beside each other.
    pub fn apart(&self, arena: &str, one: &str, other: &str) -> bool {
        self.costs(arena, one, other) || self.costs(arena, other, one)
    }
}

impl Column {
    /// The column that a line belongs to; whether it is the suite's accuracy is for the board to say.
    pub fn of(line: &ScoreLine) -> Self {
        Column {
            attack: line.attack.clone(),
            adapted_to: line.adapted_to.clone(),
            score: line.score.clone(),
            set: line.downstream.then(|| line.dataset.clone()),
            higher_is_better: line.higher_is_better,
            unit: line.unit,
            accuracy: false,
        }
    }

    /// Whether a line belongs to it.
    fn is_of(&self, line: &ScoreLine) -> bool {
        line.score == self.score
            && line.attack == self.attack
            && self.set.as_deref() == line.downstream.then_some(line.dataset.as_str())
    }

    /// Whether defenses are ranked by it: accuracy, the success of an attack, and what is measured on downstream sets. Retrieval is shown,
    /// not ranked: every verdict more makes all of them harder.
    pub fn ranks(&self) -> bool {
        self.is_main() || self.set.is_some() && !self.is_diagnostic()
    }

    /// No success of an attack, no accuracy: nothing that is better one way or the other.
    pub fn is_diagnostic(&self) -> bool {
        self.higher_is_better.is_none()
    }

    /// Whether it stands in an arena's first table: accuracy, and what ranks a defense by an attack.
    pub fn is_main(&self) -> bool {
        self.accuracy || self.attack.is_some() && !self.is_diagnostic()
    }

    /// The way in which it gets better.
    pub fn arrow(&self) -> &'static str {
        match self.higher_is_better {
            Some(true) => " ↑",
            Some(false) => " ↓",
            None => "",
        }
    }

    /// Attack, set and score in one line.
    pub fn name(&self) -> String {
        let parts = [self.attack.as_deref(), self.set.as_deref(), Some(self.score.as_str())];
        parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
    }
}

impl Marks {
    /// The marks in words, joined by commas.
    pub fn words(&self) -> String {
        let marks = [
            (self.baseline, "baseline"),
            (self.oracle, "oracle"),
            (self.elsewhere, "trained elsewhere"),
            (self.vacuous, "vacuous"),
            (self.costly, "costly"),
        ];
        marks.iter().filter(|(holds, _)| *holds).map(|(_, mark)| *mark).collect::<Vec<_>>().join(", ")
    }
}

/// The half of a digest that covers data and edits; the other covers the poisoned pixels.
pub fn edits(digest: &str) -> &str {
    digest.split('-').next().unwrap_or(digest)
}

/// Whether trials of one suite found other rows in their data.
fn other_rows(lines: &[Line]) -> Option<String> {
    let rows = lines.iter().filter_map(|line| if let Line::Data(line) = line { Some(&line.rows) } else { None });
    let read: BTreeSet<(u64, &[String])> = rows.map(|rows| (rows.found, rows.cut.as_slice())).collect();
    let found = read.iter().map(|(found, cut)| format!("{found} with {} cut shards", cut.len()));
    (read.len() > 1).then(|| format!("not all trials found the same rows ({})", found.collect::<Vec<_>>().join(", ")))
}

/// Means of both over the seeds that both have.
fn paired_means(ours: &[Option<f64>], theirs: &[Option<f64>]) -> Option<(f64, f64)> {
    let (ours, theirs): (Vec<f64>, Vec<f64>) = ours.iter().zip(theirs).filter_map(|(a, b)| a.zip(*b)).unzip();
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    (!ours.is_empty()).then(|| (mean(&ours), mean(&theirs)))
}

#[cfg(test)]
mod tests {
    use super::{ResultsView, paired_means};
    use crate::sample;
    use gauntlet::results::Line;

    #[test]
    fn a_seed_that_one_side_lacks_is_averaged_over_on_neither() {
        assert_eq!(paired_means(&[None, Some(0.5), Some(0.25)], &[Some(0.9), Some(0.5), None]), Some((0.5, 0.5)));
        assert_eq!(paired_means(&[None], &[Some(0.9)]), None);
    }

    #[test]
    fn builds_that_differ_in_their_sources_are_told_and_lines_of_earlier_versions_are_read() {
        let suite = sample::suite(&[0, 1], &["clip"]);
        let cost = |seed: u64, more: &str| -> Line {
            let old = format!(
                r#"{{"line":"cost","suite":"s","trial":"clean/clip/seed-{seed}","prepare_seconds":0.1,"train_seconds":1.0,
                "evaluate_seconds":0.1,"cpu_seconds":1.0,"samples_per_second":9.0,"peak_memory":1,"peak_device_memory":null,
                "device":"cpu","precision":"fp32","tf32":false,"threads":1{more}}}"#
            );
            serde_json::from_str(&old).unwrap()
        };
        let of = |sources: &str, commit: &str| {
            format!(r#","gauntlet":"0.1.0","sources":"{sources}","commit":"{commit}","dirty":true"#)
        };
        let (one, other) = ("0123456789abcdef", "fedcba9876543210");
        let warnings = |lines: &[Line]| ResultsView::new(&suite, lines).unwrap().warnings(lines);
        assert!(warnings(&[cost(0, ""), cost(1, "")]).is_empty());
        assert!(warnings(&[cost(0, &of(one, one)), cost(1, &of(one, other))]).is_empty(), "a commit is no other build");
        let told = warnings(&[cost(0, &of(one, one)), cost(1, &of(other, one))]);
        assert_eq!(
            told,
            [
                "run by different versions of gauntlet (0.1.0 with sources 0123456789ab, 0.1.0 with sources fedcba987654)"
            ]
        );
        let told = warnings(&[cost(0, r#","builds":2"#)]);
        assert_eq!(told, ["trained by several builds of gauntlet, one after the other (clean/clip/seed-0)"]);
        let Line::Cost(cost) = cost(0, &of(one, other)) else { unreachable!() };
        assert_eq!(cost.build(), "0.1.0 with sources 0123456789ab of commit fedcba987654, changed");
    }

    #[test]
    fn poison_of_other_edits_is_refused_and_of_other_pixels_alone_is_told() {
        let suite = sample::suite(&[0], &["clip", "roclip"]);
        let of = |defense: &str, digest: &str| {
            let line = sample::score("poisoned", Some("badnet_x"), defense, 0, "asr", 0.5);
            Line::Score(gauntlet::results::ScoreLine { poison_digest: digest.into(), ..line })
        };
        let lines = [of("clip", "edits-here"), of("roclip", "edits-there"), of("roclip", "edits-there")];
        let warnings = ResultsView::new(&suite, &lines).unwrap().warnings(&lines);
        assert_eq!(warnings.len(), 1, "said once: {warnings:?}");
        assert!(
            warnings[0].contains("poisoned/clip/seed-0") && warnings[0].contains("but for its pixels"),
            "{warnings:?}"
        );
        let lines = [of("clip", "edits-here"), of("roclip", "others-here")];
        let refused = ResultsView::new(&suite, &lines).err().map(|error| error.chain()).unwrap();
        assert!(refused.contains("did not read the same poison (edits-here and others-here)"), "{refused}");
    }
}
