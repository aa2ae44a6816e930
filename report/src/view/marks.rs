//! Marks that qualify numbers: whether an attack works on the baseline, and whether a row has
//! learnt anything.

use super::{ResultsView, values};
use crate::column::Column;
use crate::statistics::mean;
use gauntlet::poison::CLEAN;

/// Whether an attack works on the undefended baseline; otherwise it gives no verdicts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Gate {
    /// The baseline has not run in both this arena and the clean one.
    Unknown,
    /// It raises its success over the clean arena by less than the suite requires.
    Failed,
    /// It works.
    Passed,
}

/// The marks of a defense's row in an arena.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// The baseline that others are compared with.
    pub baseline: bool,
    /// The suite dropped its poison by the ground truth: a bound, and no defense.
    pub oracle: bool,
    /// Its models were trained by another program, on an export of the same poison.
    pub elsewhere: bool,
    /// Its accuracy may be at most twice chance: a model that learns nothing defends nothing.
    pub vacuous: bool,
    /// Its accuracy is well below the baseline's.
    pub costly: bool,
}

impl ResultsView<'_> {
    /// Whether the attack of a column works on the baseline. Columns that are no success of an
    /// attack have no gate.
    pub fn gate(&self, arena: &str, column: &Column) -> Gate {
        if column.attack.is_none() || column.higher_is_better != Some(false) || arena == CLEAN {
            return Gate::Passed;
        }
        let of = |arena| self.values(arena, &self.suite.baseline, column);
        let has = |column: &Column| [arena, CLEAN].iter().any(|arena| self.baseline_has(arena, column));
        match paired_means(&of(arena), &of(CLEAN)) {
            // A score that only defenses of another kind have gets the gate of its attack.
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

    /// The same for columns about an attack whose scores are better if higher (for example targets
    /// returned to their own class): they have the gate of the attack's success. An attack that
    /// does not work gives no verdicts by either.
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

    /// The marks of a row.
    pub fn marks(&self, arena: &str, defense: &str) -> Marks {
        let ours = self.accuracies(arena, defense);
        Marks {
            baseline: defense == self.suite.baseline,
            oracle: self.suite.is_oracle(defense),
            elsewhere: self.suite.is_elsewhere(defense),
            // If a row lacks the accuracy that the suite names, nothing shows that its model has
            // learnt anything.
            vacuous: ours.iter().flatten().any(|line| line.chance.is_some_and(|chance| line.low <= 2.0 * chance))
                || !self.suite.accuracy.is_empty() && self.has_run(arena, defense) && ours.iter().all(Option::is_none),
            costly: self.costs(arena, defense, &self.suite.baseline),
        }
    }

    fn has_run(&self, arena: &str, defense: &str) -> bool {
        self.suite.seeds.iter().any(|seed| self.trials.contains_key(&(arena, defense, *seed)))
    }

    /// Whether the accuracy of `defense` is below the suite's share of the other's, over the seeds
    /// that both have.
    fn costs(&self, arena: &str, defense: &str, other: &str) -> bool {
        let of = |defense: &str| values(&self.accuracies(arena, defense));
        paired_means(&of(defense), &of(other)).is_some_and(|(ours, theirs)| ours < self.suite.costly * theirs)
    }

    /// Whether one of two is costly compared with the other. Two that are costly compared with the
    /// baseline may still be compared with each other.
    pub fn apart(&self, arena: &str, one: &str, other: &str) -> bool {
        self.costs(arena, one, other) || self.costs(arena, other, one)
    }
}

impl Marks {
    /// The marks as text, joined by commas.
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

/// Means of both over the seeds that both have.
fn paired_means(ours: &[Option<f64>], theirs: &[Option<f64>]) -> Option<(f64, f64)> {
    let (ours, theirs): (Vec<f64>, Vec<f64>) = ours.iter().zip(theirs).filter_map(|(a, b)| a.zip(*b)).unzip();
    (!ours.is_empty()).then(|| (mean(&ours), mean(&theirs)))
}

#[cfg(test)]
mod tests {
    use super::paired_means;

    #[test]
    fn a_seed_that_one_side_lacks_is_averaged_over_on_neither() {
        assert_eq!(paired_means(&[None, Some(0.5), Some(0.25)], &[Some(0.9), Some(0.5), None]), Some((0.5, 0.5)));
        assert_eq!(paired_means(&[None], &[Some(0.9)]), None);
    }
}
