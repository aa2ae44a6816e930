//! A column of a table: its score, and the properties that follow from the score.

use crate::statistics::camps;
use gauntlet::evaluator::{ScoreRole, Unit};
use gauntlet::results::ScoreLine;

/// A column of a table: a score, about one attack or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Label of the attack.
    pub attack: Option<String>,
    /// The defense that the attack was adapted to; empty for most.
    pub adapted_to: String,
    /// Name of the score.
    pub score: String,
    /// A downstream set; `None` for the trial's own data.
    pub set: Option<String>,
    /// Which direction is better for the defender; `None` for a diagnostic.
    pub higher_is_better: Option<bool>,
    /// The role of the score in tables and verdicts.
    pub role: Option<ScoreRole>,
    /// The unit of its values.
    pub unit: Unit,
    /// Whether it is the accuracy that the suite names.
    pub accuracy: bool,
}

impl Column {
    /// The column of a line; the view sets whether it is the suite's accuracy.
    pub fn of(line: &ScoreLine) -> Self {
        Column {
            attack: line.attack.clone(),
            adapted_to: line.adapted_to.clone(),
            score: line.score.clone(),
            set: line.downstream.then(|| line.dataset.clone()),
            higher_is_better: line.higher_is_better,
            role: line.role,
            unit: line.unit,
            accuracy: false,
        }
    }

    /// Whether a line belongs to the column.
    pub fn is_of(&self, line: &ScoreLine) -> bool {
        line.score == self.score
            && line.attack == self.attack
            && self.set.as_deref() == line.downstream.then_some(line.dataset.as_str())
    }

    /// Whether defenses are ranked by it: accuracy, the success of an attack, and the test split of
    /// downstream sets. Retrieval is shown but not ranked: every further verdict makes the
    /// correction stricter.
    pub fn ranks(&self) -> bool {
        self.is_main() || self.set.is_some() && !self.is_diagnostic()
    }

    /// Neither the success of an attack nor accuracy: no direction is better.
    pub fn is_diagnostic(&self) -> bool {
        self.higher_is_better.is_none()
    }

    /// Whether it is in an arena's first table: accuracy, and scores that rank defenses against an
    /// attack.
    pub fn is_main(&self) -> bool {
        self.accuracy || self.attack.is_some() && !self.is_diagnostic()
    }

    /// An arrow in the better direction.
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

    /// How many of these values are broken, if they fall into two camps: for a share with a better
    /// direction, the values of the worse camp.
    pub fn broken(&self, values: &[f64]) -> Option<usize> {
        let worse_above = !self.higher_is_better?;
        if self.unit == Unit::Share { camps::broken(values, worse_above) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::{Column, Unit};
    use crate::sample;

    #[test]
    fn only_shares_that_are_better_one_way_are_broken() {
        let success = Column::of(&sample::score("poisoned", Some("badnet_x"), "clip", 0, "asr", 0.5));
        let values = [0.0, 0.0, 0.9];
        assert_eq!(success.broken(&values), Some(1));
        assert_eq!(Column { higher_is_better: Some(true), ..success.clone() }.broken(&values), Some(2), "the low ones");
        assert_eq!(Column { higher_is_better: None, ..success.clone() }.broken(&values), None, "a diagnostic");
        assert_eq!(Column { unit: Unit::Rank, ..success }.broken(&[100.0, 100.0, 9000.0]), None);
    }
}
