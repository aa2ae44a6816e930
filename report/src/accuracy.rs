//! The accuracy of a model as the suite defines it: zero-shot accuracy on its own labelled held-out
//! rows, on one downstream set, or the mean over its downstream sets. Pairs without labels have no
//! accuracy of their own. A set on which plain CLIP is not better than chance cannot measure the
//! cost of a defense.

use crate::lines::scores;
use gauntlet::evaluator::{ScoreRole, Unit};
use gauntlet::poison::CLEAN;
use gauntlet::results::{Line, ScoreLine};
use gauntlet::suite::{MEAN, Suite};
use std::collections::BTreeMap;

/// Name of the score of the mean, which is computed here.
const OF_ALL: &str = "downstream-accuracy";

/// Whether a line has the accuracy that the suite names.
pub fn is_of(suite: &Suite, line: &ScoreLine) -> bool {
    let is_named = match suite.accuracy.as_str() {
        "" => line.role == Some(ScoreRole::Accuracy) && !line.downstream,
        MEAN => line.score == OF_ALL && !line.downstream,
        set => line.role == Some(ScoreRole::SetAccuracy) && line.downstream && line.dataset == set,
    };
    is_named && line.attack.is_none()
}

/// If a suite uses the mean: a line of it for each trial. Each set counts as
/// `(accuracy - chance) / (1 - chance)`. Only sets count on which the baseline of the clean arena
/// is above twice chance, averaged over its seeds.
pub fn means(suite: &Suite, lines: &[Line]) -> Vec<Line> {
    if suite.accuracy != MEAN {
        return Vec::new();
    }
    let mut base: BTreeMap<&str, Vec<&ScoreLine>> = BTreeMap::new();
    for line in of_sets(lines).filter(|line| line.arena == CLEAN && line.defense == suite.baseline) {
        base.entry(&line.dataset).or_default().push(line);
    }
    base.retain(|_, lines| learnt(lines));
    let mut trials: BTreeMap<&str, Vec<&ScoreLine>> = BTreeMap::new();
    for line in of_sets(lines).filter(|line| base.contains_key(line.dataset.as_str())) {
        trials.entry(&line.trial).or_default().push(line);
    }
    // A trial without a set would be compared on other sets than the rest.
    let whole = trials.into_values().filter(|lines| lines.len() == base.len());
    whole.map(|lines| Line::Score(mean(&lines))).collect()
}

/// Describes the sets of the mean; `None` if the suite uses another accuracy.
pub fn said(suite: &Suite, lines: &[Line]) -> Option<String> {
    if suite.accuracy != MEAN {
        return None;
    }
    let mean = scores(lines).find(|line| line.score == OF_ALL);
    let rest = "the sets on which the baseline of the clean arena beats twice chance, each as (accuracy - chance) / (1 - chance)";
    Some(match mean {
        Some(mean) => format!("accuracy is the mean over {}: {rest}", mean.dataset.replace('+', ", ")),
        None => format!(
            "no trial has an accuracy yet: it is the mean over {rest}; there is no such set, or that baseline has not run"
        ),
    })
}

/// Accuracy on downstream sets.
fn of_sets(lines: &[Line]) -> impl Iterator<Item = &ScoreLine> {
    scores(lines).filter(|line| line.downstream && line.role == Some(ScoreRole::SetAccuracy) && line.attack.is_none())
}

/// Whether the mean of these is above twice chance.
fn learnt(lines: &[&ScoreLine]) -> bool {
    over(lines, |line| line.value) > 2.0 * over(lines, chance)
}

/// The chance level of a set's accuracy; 0 if the evaluator states none, so that nothing is
/// corrected.
fn chance(line: &ScoreLine) -> f64 {
    line.chance.unwrap_or(0.0)
}

fn over(lines: &[&ScoreLine], of: impl Fn(&ScoreLine) -> f64) -> f64 {
    lines.iter().map(|line| of(line)).sum::<f64>() / lines.len() as f64
}

/// The mean over the sets of one trial. Its `chance` is half of the sets' "twice chance" on this
/// scale; without one if no set states its own.
fn mean(lines: &[&ScoreLine]) -> ScoreLine {
    let value = over(lines, |line| (line.value - chance(line)) / (1.0 - chance(line)));
    // The sets are independent samples, so the squared errors of their means add up.
    let squares = over(lines, |line| ((line.high - line.low) / 2.0 / (1.0 - chance(line))).powi(2));
    let half = squares.sqrt() / (lines.len() as f64).sqrt();
    let names: Vec<&str> = lines.iter().map(|line| line.dataset.as_str()).collect();
    let states_chance = lines.iter().any(|line| line.chance.is_some());
    ScoreLine {
        evaluator: "accuracy".into(),
        score: OF_ALL.into(),
        dataset: names.join("+"),
        downstream: false,
        role: None,
        unit: Unit::Corrected,
        value,
        n: lines.iter().map(|line| line.n).sum(),
        low: value - half,
        high: (value + half).min(1.0),
        chance: states_chance.then(|| over(lines, |line| chance(line) / (1.0 - chance(line))) / 2.0),
        ..lines[0].clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    fn line(arena: &str, defense: &str, set: &str, value: f64) -> Line {
        let line = sample::score(arena, None, defense, 0, "published", value);
        Line::Score(ScoreLine { dataset: set.into(), downstream: true, role: Some(ScoreRole::SetAccuracy), ..line })
    }

    #[test]
    fn the_mean_is_corrected_for_chance_over_the_sets_that_the_clean_baseline_has_learnt() {
        let suite = Suite { accuracy: MEAN.into(), ..sample::suite(&[0], &["clip", "roclip"]) };
        // Chance is 0.1 in each set. The baseline has not learnt the third set, on which RoCLIP
        // seems to be good.
        let lines = [
            line("clean", "clip", "a", 0.91),
            line("clean", "clip", "b", 0.55),
            line("clean", "clip", "c", 0.2),
            line("clean", "roclip", "a", 0.82),
            line("clean", "roclip", "b", 0.46),
            line("clean", "roclip", "c", 0.9),
            line("poisoned", "roclip", "a", 0.82),
        ];
        let means = means(&suite, &lines);
        let found: Vec<(&str, f64)> = means
            .iter()
            .filter_map(
                |line| if let Line::Score(line) = line { Some((line.trial.as_str(), line.value)) } else { None },
            )
            .collect();
        let close = |found: f64, wanted: f64| (found - wanted).abs() < 1e-12;
        assert_eq!(found.len(), 2, "a trial without a set has no mean: {found:?}");
        assert!(close(found[0].1, (0.9 + 0.5) / 2.0) && close(found[1].1, (0.8 + 0.4) / 2.0), "{found:?}");
        assert!(super::means(&sample::suite(&[0], &["clip"]), &lines).is_empty(), "only where the suite asks for it");
    }

    #[test]
    fn accuracies_without_a_chance_level_are_not_corrected_and_their_mean_has_none() {
        let suite = Suite { accuracy: MEAN.into(), ..sample::suite(&[0], &["clip"]) };
        let unknown = |line| match line {
            Line::Score(line) => Line::Score(ScoreLine { chance: None, ..line }),
            other => other,
        };
        let lines = [line("clean", "clip", "a", 0.6), line("clean", "clip", "b", 0.2)].map(unknown);
        let Some(Line::Score(mean)) = super::means(&suite, &lines).pop() else { panic!("a mean") };
        assert!((mean.value - 0.4).abs() < 1e-12 && mean.chance.is_none(), "{mean:?}");
    }
}
