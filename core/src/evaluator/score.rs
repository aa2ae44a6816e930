//! Scores: a number, its definition, and its interval.

use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// What a score means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Definition {
    /// Name of the score, as in `results.jsonl`.
    pub score: &'static str,
    /// Which cases are counted, and out of which.
    pub definition: &'static str,
    /// Direction that is better for the defender; `None` for a diagnostic.
    pub higher_is_better: Option<bool>,
    /// What kind of number it is.
    pub unit: Unit,
    /// Use of the score in tables and verdicts; `None` for most scores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<ScoreRole>,
    /// Starts at 1 and goes up by one whenever the number would come out differently: scores of two
    /// versions are never compared.
    pub version: u32,
}

/// Use of a score in tables and verdicts, whichever evaluator computes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScoreRole {
    /// The accuracy of a suite without downstream sets in its key `accuracy`: on its own labelled
    /// held-out rows.
    Accuracy,
    /// The accuracy of a suite with downstream sets in its key `accuracy`: on such a set, by the
    /// measure published for it.
    SetAccuracy,
    /// Another measure published for a downstream set, such as that of a fitted layer.
    Published,
    /// One of several measures, of which another is the published one: tables omit it if the
    /// published one is present; `results.jsonl` holds it.
    Detail,
    /// The success of an attack, with its cases shown.
    Success,
    /// The success of an attack if no row has a label.
    SuccessWithoutLabels,
}

/// What kind of number a score is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// From 0 to 1; tables show it in percent.
    #[default]
    Share,
    /// A rank, 1 is the first.
    Rank,
    /// A cosine.
    Cosine,
    /// A share corrected for chance: 0 is chance level, 1 is perfect; tables show it in percent.
    Corrected,
}

impl Unit {
    /// Formats a number for tables: shares in percent.
    pub fn show(self, value: f64) -> String {
        match self {
            Unit::Share | Unit::Corrected => format!("{:.1}", value * 100.0),
            Unit::Rank => format!("{value:.1}"),
            Unit::Cosine => format!("{value:.3}"),
        }
    }

    /// Whether it is shown in percent.
    pub fn is_percent(self) -> bool {
        matches!(self, Unit::Share | Unit::Corrected)
    }

    /// Smallest and largest possible value.
    pub fn bounds(self) -> [f64; 2] {
        match self {
            Unit::Share => [0.0, 1.0],
            Unit::Rank => [1.0, f64::INFINITY],
            Unit::Cosine | Unit::Corrected => [-1.0, 1.0],
        }
    }

    /// Smallest possible change of a number counted over `n` cases: one case of a share, one place
    /// of a rank; 0 for a cosine.
    pub fn step(self, n: usize) -> f64 {
        match self {
            Unit::Share | Unit::Corrected => 1.0 / n.max(1) as f64,
            Unit::Rank => 1.0,
            Unit::Cosine => 0.0,
        }
    }

    /// Clamps a value to the bounds.
    pub fn within(self, value: f64) -> f64 {
        let [least, most] = self.bounds();
        value.clamp(least, most)
    }
}

/// One number.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// One of the evaluator's definitions.
    pub score: &'static str,
    /// Label of the attack it is about, if it is about one.
    pub attack: Option<String>,
    /// Label of the downstream set it was measured on; `None`: held-out pairs of the trial's own
    /// data.
    pub dataset: Option<String>,
    /// The number.
    pub value: f64,
    /// Number of cases it was counted over.
    pub n: usize,
    /// 95% interval over those cases: about this trained model, not about the defense.
    pub interval: [f64; 2],
    /// Chance level; `None` if there is none: most cosines, for example. A table marks a row as
    /// vacuous only by an accuracy with a chance level.
    pub chance: Option<f64>,
}

/// ```
/// use gauntlet::Score;
///
/// let share = Score::share("asr", Some("mine"), 3, 4).unwrap(); // 3 of 4 cases, of the attack `mine`
/// assert_eq!((share.value, share.n, share.attack.as_deref()), (0.75, 4, Some("mine")));
/// assert!(share.interval[0] > 0.25 && share.interval[1] < 1.0);
/// assert!(Score::share("asr", None, 0, 0).is_none(), "no cases give no score");
/// assert_eq!(Score::median("rank", vec![9.0, 1.0, 2.0]).unwrap().value, 2.0);
/// assert_eq!(Score::mean("cosine", &[0.2, 0.4]).unwrap().n, 2);
/// let top1 = Score::share("top1", None, 9, 10).unwrap().on("cifar10").guessed(0.1);
/// assert_eq!((top1.dataset.as_deref(), top1.chance), (Some("cifar10"), Some(0.1)));
/// ```
impl Score {
    /// A number with its interval.
    pub fn new(score: &'static str, value: f64, n: usize, interval: [f64; 2]) -> Score {
        Score { score, attack: None, dataset: None, value, n, interval, chance: None }
    }

    /// `hits` of `n` cases, with Wilson's interval. `None` without cases.
    pub fn share(score: &'static str, attack: Option<&str>, hits: usize, n: usize) -> Option<Score> {
        let share = || Score::new(score, hits as f64 / n as f64, n, wilson(hits, n)).about(attack);
        (n > 0).then(share)
    }

    /// The mean over classes of each class's share of hits; classes without cases are left out.
    /// Chance level is 1 / classes. The interval is that of a mean of independent shares, by the
    /// normal distribution. The variance of each share is computed after shrinking it towards a
    /// half as Agresti and Coull (1998) do, (hits + z^2 / 2) / (n + z^2): a class whose few cases
    /// are all hits or all misses is not certain to stay so.
    pub fn mean_share(score: &'static str, classes: &[(usize, usize)]) -> Option<Score> {
        let classes: Vec<(f64, f64)> =
            classes.iter().filter(|(_, n)| *n > 0).map(|&(hits, n)| (hits as f64, n as f64)).collect();
        let (count, cases) = (classes.len() as f64, classes.iter().map(|(_, n)| n).sum::<f64>());
        let mean = classes.iter().map(|(hits, n)| hits / n).sum::<f64>() / count;
        let variance = |(hits, n): &(f64, f64)| {
            let (n, share) = (n + Z * Z, (hits + Z * Z / 2.0) / (n + Z * Z));
            share * (1.0 - share) / n
        };
        let half = Z * (classes.iter().map(variance).sum::<f64>() / (count * count)).sqrt();
        let interval = [(mean - half).max(0.0), (mean + half).min(1.0)];
        let score = || Score::new(score, mean, cases as usize, interval).guessed(1.0 / count);
        (!classes.is_empty()).then(score)
    }

    /// The median of some numbers, with the interval from order statistics. `None` without numbers.
    pub fn median(score: &'static str, mut values: Vec<f64>) -> Option<Score> {
        values.sort_by(f64::total_cmp);
        let n = values.len();
        let middle = (values.get(n / 2)? + values[(n - 1) / 2]) / 2.0;
        let half = Z * (n as f64).sqrt() / 2.0;
        let low = (n as f64 / 2.0 - half).floor().max(0.0) as usize;
        let high = ((n as f64 / 2.0 + half).ceil() as usize).min(n - 1);
        Some(Score::new(score, middle, n, [values[low], values[high]]))
    }

    /// The mean of some numbers, with an interval by the normal distribution. `None` without
    /// numbers.
    pub fn mean(score: &'static str, values: &[f64]) -> Option<Score> {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
        let half = Z * (variance / n).sqrt();
        (!values.is_empty()).then(|| Score::new(score, mean, values.len(), [mean - half, mean + half]))
    }

    /// The same score, about an attack.
    pub fn about(self, attack: Option<&str>) -> Score {
        Score { attack: attack.map(str::to_string), ..self }
    }

    /// The same score, on a downstream set.
    pub fn on(self, dataset: &str) -> Score {
        Score { dataset: Some(dataset.to_string()), ..self }
    }

    /// The same score, with its chance level.
    pub fn guessed(self, chance: f64) -> Score {
        Score { chance: Some(chance), ..self }
    }
}

/// Best possible score without seeing an image, with `k` guesses: the share of the `k` most common
/// labels.
pub fn commonest(labels: impl IntoIterator<Item = u32>, k: usize) -> f64 {
    let mut counts: HashMap<u32, usize> = HashMap::new();
    labels.into_iter().for_each(|label| *counts.entry(label).or_default() += 1);
    let mut counts: Vec<usize> = counts.into_values().collect();
    counts.sort_unstable_by(|a, b| b.cmp(a));
    counts.iter().take(k).sum::<usize>() as f64 / counts.iter().sum::<usize>().max(1) as f64
}

/// Number of standard deviations that cover 95% of a normal distribution.
const Z: f64 = 1.959_963_984_540_054;

/// Wilson's 95% interval of a share (Wilson 1927): keeps its level for small counts and shares near
/// 0 and 1.
fn wilson(hits: usize, n: usize) -> [f64; 2] {
    let (n, z2) = (n as f64, Z.powi(2));
    let share = hits as f64 / n;
    let centre = (share + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = (z2 * (share * (1.0 - share) / n + z2 / (4.0 * n * n))).sqrt() / (1.0 + z2 / n);
    [(centre - half).max(0.0), (centre + half).min(1.0)]
}

#[cfg(test)]
mod tests {
    use super::{Score, commonest, wilson};

    #[test]
    fn wilson_agrees_with_statsmodels() {
        // statsmodels.stats.proportion.proportion_confint(count, nobs, method="wilson")
        for (hits, n, low, high) in [(0, 32, 0.0, 0.107179), (4, 32, 0.049701, 0.280683), (32, 32, 0.892821, 1.0)] {
            let [ours_low, ours_high] = wilson(hits, n);
            assert!(
                (ours_low - low).abs() < 1e-5 && (ours_high - high).abs() < 1e-5,
                "{hits} of {n}: {ours_low} {ours_high}"
            );
        }
    }

    #[test]
    fn every_class_counts_alike_in_a_mean_over_classes_however_few_its_cases() {
        let score = Score::mean_share("s", &[(1, 2), (90, 100), (0, 0)]).unwrap();
        assert!((score.value - 0.7).abs() < 1e-12 && score.n == 102 && score.chance == Some(0.5));
        // p1 = (1 + 1.9207) / (2 + 3.8415) = 0.5, p2 = (90 + 1.9207) / (100 + 3.8415) = 0.88520;
        // sqrt(0.25 / 5.8415 + p2 (1 - p2) / 103.8415) / 2 * 1.96
        assert!((score.interval[0] - (0.7 - 0.20505)).abs() < 1e-4, "{:?}", score.interval);
        assert!((score.interval[1] - (0.7 + 0.20505)).abs() < 1e-4, "{:?}", score.interval);
    }

    #[test]
    fn two_of_two_in_every_class_leave_room_for_doubt() {
        let score = Score::mean_share("s", &[(2, 2), (2, 2), (2, 2)]).unwrap();
        assert!(score.value == 1.0 && score.interval[0] < 0.8 && score.interval[1] == 1.0, "{:?}", score.interval);
    }

    #[test]
    fn a_guesser_with_five_names_takes_the_five_commonest_classes() {
        let labels = (0..7).flat_map(|class| std::iter::repeat_n(class, class as usize + 1));
        assert_eq!(commonest(labels.clone(), 1), 7.0 / 28.0);
        assert_eq!(commonest(labels.clone(), 5), 25.0 / 28.0);
        assert_eq!((commonest(labels, 9), commonest([], 1)), (1.0, 0.0));
    }

    #[test]
    fn a_median_of_a_hundred_has_the_41st_and_61st_as_its_bounds() {
        let score = Score::median("s", (1..=100).rev().map(f64::from).collect()).unwrap();
        assert_eq!((score.value, score.interval, score.n), (50.5, [41.0, 61.0], 100));
        assert_eq!(Score::median("s", vec![]), None);
    }
}
