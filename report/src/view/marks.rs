//! What is to be said before numbers are read: whether an attack works on the baseline, and whether
//! a row has learnt anything.

use super::{ResultsView, values};
use crate::column::Column;
use crate::statistics::mean;
use gauntlet::poison::CLEAN;

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

impl ResultsView<'_> {
    /// Whether the attack of a column works on the baseline. Columns that are no success of an
    /// attack have no gate to pass.
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

    /// The same, and of what is about an attack and better the higher it is (the targets returned
    /// to their own class, say) the gate of the attack's success: an attack that does not work
    /// judges nobody by either.
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
        let ours = self.accuracies(arena, defense);
        Marks {
            baseline: defense == self.suite.baseline,
            oracle: self.suite.is_oracle(defense),
            elsewhere: self.suite.is_elsewhere(defense),
            // Where the suite names an accuracy that a row does not have, nothing says that its
            // model has learnt anything.
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
        let of = |defense: &str| values(&self.accuracies(arena, defense));
        paired_means(&of(defense), &of(other)).is_some_and(|(ours, theirs)| ours < self.suite.costly * theirs)
    }

    /// Whether one of two is costly beside the other. Two that are costly beside the baseline may
    /// well be judged beside each other.
    pub fn apart(&self, arena: &str, one: &str, other: &str) -> bool {
        self.costs(arena, one, other) || self.costs(arena, other, one)
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
