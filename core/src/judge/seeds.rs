//! What a handful of seeds allow to say: means with intervals, differences with p values, corrections, and what a design can detect.
//! The distributions are statrs's; golden values are statsmodels' and scipy's (tests/golden/verdicts.py).

use statrs::distribution::{Binomial, ContinuousCDF, DiscreteCDF, Normal, StudentsT};
use statrs::function::gamma::ln_gamma;

/// Seeds from which on an interval is given; fewer have a range only.
pub const FOR_INTERVAL: usize = 3;
/// Seeds from which on a verdict is given.
pub const FOR_VERDICT: usize = 5;
/// Chance of a false verdict among all that are given together.
pub const LEVEL: f64 = 0.05;

/// A mean over seeds: of a score, or of a difference that each seed has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mean {
    /// How many seeds.
    pub seeds: usize,
    /// Their mean.
    pub mean: f64,
    /// Sample standard deviation; 0 for one seed.
    pub deviation: f64,
    /// From three seeds on the 95% interval of the mean by Student's t, else the least and the greatest value.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
    /// Two-sided p value of a mean of 0 (for differences: the paired t test); 1 below two seeds.
    pub p: f64,
}

impl Mean {
    /// Of these values; none of none. Values that happen to agree are not taken for certain: their deviation counts as no less than
    /// what one case (`case`: the weight of one picture in a value) more or less in one of the seeds would make.
    pub fn of(values: &[f64], case: f64) -> Option<Mean> {
        let (first, seeds) = (*values.first()?, values.len());
        let n = seeds as f64;
        let mean = if values.iter().all(|value| *value == first) { first } else { values.iter().sum::<f64>() / n };
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let deviation = if seeds > 1 { (squares / (n - 1.0)).sqrt() } else { 0.0 };
        let error = deviation.max(case / n.sqrt()) / n.sqrt();
        let (low, high) = if seeds < FOR_INTERVAL {
            values.iter().fold((first, first), |(low, high), &value| (low.min(value), high.max(value)))
        } else {
            let half = quantile(0.975, n - 1.0) * error;
            (mean - half, mean + half)
        };
        let p = if seeds < 2 { 1.0 } else { two_sided(mean, error, n - 1.0) };
        Some(Mean { seeds, mean, deviation, low, high, p })
    }
}

/// A change between two samples of seeds that have nothing in common.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    /// Mean of the second less mean of the first.
    pub change: f64,
    /// Standard error of it.
    pub error: f64,
    /// Degrees of freedom.
    pub freedom: f64,
    /// Two-sided p value of no change.
    pub p: f64,
}

impl Change {
    /// Student's t test for samples of one variance, as runs of one program have it. That variance is never taken to be below `least`.
    ///
    /// # Panics
    /// If a sample is empty or both have one value only.
    pub fn between(first: &[f64], second: &[f64], least: f64) -> Change {
        let (n, m) = (first.len() as f64, second.len() as f64);
        let freedom = n + m - 2.0;
        assert!(n > 0.0 && m > 0.0 && freedom > 0.0, "a variance needs two values of a sample");
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let squares = |values: &[f64]| values.iter().map(|value| (value - mean(values)).powi(2)).sum::<f64>();
        let variance = ((squares(first) + squares(second)) / freedom).max(least);
        let (change, error) = (mean(second) - mean(first), (variance * (1.0 / n + 1.0 / m)).sqrt());
        Change { change, error, freedom, p: two_sided(change, error, freedom) }
    }

    /// Half the width of the interval that holds the true change with a chance of `level`.
    pub fn half_width(&self, level: f64) -> f64 {
        quantile(0.5 + level / 2.0, self.freedom) * self.error
    }
}

/// Holm's correction (Holm 1979): p values that may each be held to the level of all together.
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|a, b| p[*a].total_cmp(&p[*b]));
    let mut adjusted = vec![0.0; p.len()];
    let mut least: f64 = 0.0;
    for (rank, place) in order.into_iter().enumerate() {
        least = least.max(p[place] * (p.len() - rank) as f64).min(1.0);
        adjusted[place] = least;
    }
    adjusted
}

/// McNemar's exact test (McNemar 1947) of two models on the same cases: of those that one alone got right, `first` the first did and
/// `second` the second. Two-sided p value of "either is right as often". It is about these two models and says nothing of other seeds.
pub fn mcnemar(first: u64, second: u64) -> f64 {
    match first + second {
        0 => 1.0,
        n => (2.0 * Binomial::new(0.5, n).expect("a half is a share").cdf(first.min(second))).min(1.0),
    }
}

/// Chance that a paired t test at `level`, two-sided, on `seeds` seeds finds a difference of `effect` standard deviations.
pub fn power(effect: f64, seeds: usize, level: f64) -> f64 {
    let (freedom, normal) = (seeds as f64 - 1.0, Normal::standard());
    let (shift, bound) = (effect * (seeds as f64).sqrt(), quantile(1.0 - level / 2.0, freedom));
    // The statistic is (Z + shift) / S, with S the root of a chi-square variable over its freedom; summed over S by Simpson's rule.
    let constant = 2.0f64.ln() + freedom / 2.0 * (freedom / 2.0).ln() - ln_gamma(freedom / 2.0);
    let integrand = |s: f64| {
        let density = if s > 0.0 { (constant + (freedom - 1.0) * s.ln() - freedom * s * s / 2.0).exp() } else { 0.0 };
        density * (1.0 - normal.cdf(bound * s - shift) + normal.cdf(-bound * s - shift))
    };
    let (most, parts) = (1.0 + 8.0 / freedom.sqrt(), 2000);
    let step = most / f64::from(parts);
    let weight = |part: i32| if part == 0 || part == parts { 1.0 } else { 2.0 + f64::from(part % 2) * 2.0 };
    (0..=parts).map(|part| weight(part) * integrand(f64::from(part) * step)).sum::<f64>() * step / 3.0
}

/// The least difference, in standard deviations of the seeds' differences, that is found with a chance of 80%; infinite below two seeds.
pub fn detectable(seeds: usize, level: f64) -> f64 {
    if seeds < 2 {
        return f64::INFINITY;
    }
    let (mut low, mut high) = (0.0, 1.0);
    while power(high, seeds, level) < 0.8 {
        high *= 2.0;
    }
    for _ in 0..50 {
        let middle = (low + high) / 2.0;
        if power(middle, seeds, level) < 0.8 { low = middle } else { high = middle }
    }
    high
}

/// Quantile of Student's t.
pub fn quantile(share: f64, freedom: f64) -> f64 {
    student(freedom).inverse_cdf(share)
}

fn two_sided(value: f64, error: f64, freedom: f64) -> f64 {
    match (value == 0.0, error == 0.0) {
        (true, _) => 1.0,
        (false, true) => 0.0,
        _ => 2.0 * student(freedom).cdf(-(value / error).abs()),
    }
}

fn student(freedom: f64) -> StudentsT {
    StudentsT::new(0.0, 1.0, freedom).expect("freedom is positive")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn numbers(value: &Value) -> Vec<f64> {
        value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
    }

    #[test]
    fn scipy_and_statsmodels_agree_to_four_digits() {
        let golden: Value = serde_json::from_str(include_str!("../../../tests/golden/statistics.json")).unwrap();
        let same = |ours: f64, theirs: &Value, what: &str| {
            let theirs = theirs.as_f64().unwrap();
            assert!((ours - theirs).abs() <= 5e-5 * theirs.abs().max(1e-6), "{what}: {ours}, not {theirs}");
        };
        for case in golden["paired"].as_array().unwrap() {
            let (ours, theirs) = (numbers(&case["ours"]), numbers(&case["theirs"]));
            let differences: Vec<f64> = ours.iter().zip(&theirs).map(|(a, b)| a - b).collect();
            let mean = Mean::of(&differences, 0.0).unwrap();
            for (value, key) in [(mean.mean, "mean"), (mean.low, "low"), (mean.high, "high"), (mean.p, "p")] {
                same(value, &case[key], &format!("paired {key} of {ours:?}, {theirs:?}"));
            }
        }
        for case in golden["two_sample"].as_array().unwrap() {
            let change = Change::between(&numbers(&case["first"]), &numbers(&case["second"]), 0.0);
            same(change.p, &case["p"], "two samples, p");
            same(change.half_width(0.95), &case["half_width"], "two samples, half width");
        }
        let adjusted = holm(&numbers(&golden["holm"]["p"]));
        for (ours, theirs) in adjusted.into_iter().zip(golden["holm"]["adjusted"].as_array().unwrap()) {
            same(ours, theirs, "Holm");
        }
        for case in golden["mcnemar"].as_array().unwrap() {
            let count = |key: &str| case[key].as_u64().unwrap();
            same(mcnemar(count("first"), count("second")), &case["p"], "McNemar");
        }
        for case in golden["power"].as_array().unwrap() {
            let number = |key: &str| case[key].as_f64().unwrap();
            let (seeds, level) = (case["seeds"].as_u64().unwrap() as usize, number("level"));
            same(power(number("effect"), seeds, level), &case["power"], "power");
            same(detectable(seeds, level), &case["detectable"], "detectable");
        }
    }

    #[test]
    fn seeds_that_agree_to_the_last_picture_leave_room_for_doubt() {
        let mean = Mean::of(&[1.0; 5], 1.0 / 32.0).unwrap();
        // One of 32 in one of 5 seeds: values 1, 1, 1, 1, 31/32 have that deviation.
        let other = Mean::of(&[1.0, 1.0, 1.0, 1.0, 31.0 / 32.0], 0.0).unwrap();
        assert!((mean.high - mean.low - (other.high - other.low)).abs() < 1e-12 && mean.mean == 1.0, "{mean:?}");
        assert_eq!((Mean::of(&[0.1, 0.4], 0.0).unwrap().low, Mean::of(&[0.1, 0.4], 0.0).unwrap().high), (0.1, 0.4));
        assert_eq!(Mean::of(&[0.0; 5], 1.0 / 32.0).unwrap().p, 1.0);
        assert_eq!(Mean::of(&[], 0.0), None);
    }
}
