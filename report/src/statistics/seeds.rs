//! Statistics of a few seeds: means with intervals, differences with p values, corrections, and the
//! effects that a design can detect. `rate.rs` has the interval of a mean share, `flips.rs` the
//! exact test that supplements the t test; docs/statistics.md states the models and how often the
//! intervals hold. The distributions are statrs's; golden values are statsmodels' and scipy's
//! (tests/golden/verdicts.py).

use super::flips::sign_flips;
use super::mean;
use statrs::distribution::{Binomial, ContinuousCDF, DiscreteCDF, Normal, StudentsT};
use statrs::function::gamma::ln_gamma;

/// Minimum number of seeds for an interval; fewer have only a range.
pub const FOR_INTERVAL: usize = 3;
/// Minimum number of seeds for a verdict: for five differences of one sign the exact sign-flip test
/// has p = 2 / 2^5 = 0.0625.
pub const FOR_VERDICT: usize = 6;
/// The chance of any false verdict among all that are given together.
pub const LEVEL: f64 = 0.05;

/// Values that differ by at most this share of their mean are equal: scores are computed in single
/// precision.
const ROUNDING: f64 = f32::EPSILON as f64;

/// A mean over seeds of a score, or of the difference of each seed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mean {
    /// Number of seeds.
    pub seeds: usize,
    /// Their mean.
    pub mean: f64,
    /// Sample standard deviation; 0 for one seed.
    pub deviation: f64,
    /// Standard error of the mean.
    pub error: f64,
    /// From three seeds on the 95% interval of the mean, otherwise the least and the greatest
    /// value.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
    /// Two-sided p value of a mean of 0 (for differences: the paired t test); 1 below two seeds.
    pub p: f64,
}

impl Mean {
    /// The mean of these values; `None` if there are none. Its interval is Student's t. A value is
    /// known no better than its resolution (one case in a share, one place of a rank), so seeds
    /// that happen to agree are not taken as certain: their deviation counts as at least `least`.
    /// If nothing varies, the t test is undefined, and p is that of the exact sign-flip test.
    pub fn of(values: &[f64], least: f64) -> Option<Mean> {
        let (first, seeds) = (*values.first()?, values.len());
        let n = seeds as f64;
        let mean = if values.iter().all(|value| *value == first) { first } else { values.iter().sum::<f64>() / n };
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let deviation = if seeds > 1 { (squares / (n - 1.0)).sqrt() } else { 0.0 };
        let rounding = ROUNDING * mean.abs();
        let spread = deviation.max(least).max(rounding);
        let error = spread / n.sqrt();
        let (low, high) = if seeds < FOR_INTERVAL {
            values.iter().fold((first, first), |(low, high), &value| (low.min(value), high.max(value)))
        } else {
            let half = quantile(0.975, n - 1.0) * error;
            (mean - half, mean + half)
        };
        let p = match seeds {
            ..2 => 1.0,
            _ if spread <= rounding => sign_flips(values),
            _ => two_sided(mean, error, n - 1.0),
        };
        Some(Mean { seeds, mean, deviation, error, low, high, p })
    }

    /// The same with its interval within the possible range. The interval contains all means within
    /// t standard errors, where the variance of a mean `m` falls towards the bounds as (m - low)
    /// (high - m) does: Wilson's interval with Student's t and the seeds' own spread. Far from the
    /// bounds it is Student's t; it is never cut off. A range of few seeds is unchanged.
    pub fn bounded(self, [least, most]: [f64; 2]) -> Mean {
        if self.seeds < FOR_INTERVAL || least.is_infinite() && most.is_infinite() {
            return self;
        }
        // (mean - m)^2 = spread (m - least) (most - m); without an upper bound (mean - m)^2 =
        // spread (m - least).
        let room = |m: f64| if most.is_infinite() { m - least } else { (m - least) * (most - m) };
        let half = quantile(0.975, self.seeds as f64 - 1.0) * self.error;
        if room(self.mean) <= 0.0 {
            // All seeds are at the bound: there is room only on one side.
            let (low, high) = ((self.mean - half).max(least), (self.mean + half).min(most));
            return Mean { low, high, ..self };
        }
        let spread = half * half / room(self.mean);
        let (a, b, c) = if most.is_infinite() {
            (1.0, 2.0 * self.mean + spread, self.mean.powi(2) + spread * least)
        } else {
            (1.0 + spread, 2.0 * self.mean + spread * (least + most), self.mean.powi(2) + spread * least * most)
        };
        let root = (b * b - 4.0 * a * c).max(0.0).sqrt();
        Mean { low: ((b - root) / (2.0 * a)).max(least), high: ((b + root) / (2.0 * a)).min(most), ..self }
    }
}

/// A change between two independent samples of seeds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    /// Mean of the second minus mean of the first.
    pub change: f64,
    /// Standard error of the change.
    pub error: f64,
    /// Degrees of freedom.
    pub freedom: f64,
    /// Two-sided p value of no change.
    pub p: f64,
}

impl Change {
    /// Student's t test for samples of equal variance, as runs of one program have. That variance
    /// is never taken to be below `least`.
    ///
    /// # Panics
    /// If a sample is empty or both have only one value.
    pub fn between(first: &[f64], second: &[f64], least: f64) -> Change {
        let (n, m) = (first.len() as f64, second.len() as f64);
        let freedom = n + m - 2.0;
        assert!(n > 0.0 && m > 0.0 && freedom > 0.0, "a variance needs two values of a sample");
        let variance = ((squares(first) + squares(second)) / freedom).max(least);
        let (change, error) = (mean(second) - mean(first), (variance * (1.0 / n + 1.0 / m)).sqrt());
        let equal = error <= ROUNDING * mean(first).abs().max(mean(second).abs());
        let p =
            if equal && change != 0.0 { apart(first.len(), second.len()) } else { two_sided(change, error, freedom) };
        Change { change, error, freedom, p }
    }

    /// Half the width of the interval that contains the true change with a chance of `level`.
    pub fn half_width(&self, level: f64) -> f64 {
        quantile(0.5 + level / 2.0, self.freedom) * self.error
    }
}

/// The sum of squared deviations from the mean.
fn squares(values: &[f64]) -> f64 {
    values.iter().map(|value| (value - mean(values)).powi(2)).sum()
}

/// The exact two-sided p value of two independent samples, with one value in all of the first and
/// another in all of the second: the share of all divisions of the values that are as far apart. If
/// nothing varies the t test is undefined.
fn apart(first: usize, second: usize) -> f64 {
    let ways = (1..=first).map(|k| (second + k) as f64 / k as f64).product::<f64>();
    if first == second { 2.0 / ways } else { 1.0 / ways }
}

/// Holm's correction (Holm 1979): each returned p value may be compared with the level of all
/// together.
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

/// McNemar's exact test (McNemar 1947) of two models on the same cases: `first` cases that only the
/// first model got right, `second` cases that only the second did. Two-sided p value of "both are
/// right equally often". It is about these two models and does not generalise to other seeds.
pub fn mcnemar(first: u64, second: u64) -> f64 {
    match first + second {
        0 => 1.0,
        n => (2.0 * Binomial::new(0.5, n).expect("a half is a share").cdf(first.min(second))).min(1.0),
    }
}

/// Chance that a two-sided paired t test at `level` on `seeds` seeds finds a difference of `effect`
/// standard deviations.
pub fn power(effect: f64, seeds: usize, level: f64) -> f64 {
    let (freedom, normal) = (seeds as f64 - 1.0, Normal::standard());
    let (shift, bound) = (effect * (seeds as f64).sqrt(), quantile(1.0 - level / 2.0, freedom));
    // The statistic is (Z + shift) / S, with S the root of a chi-square variable over its degrees
    // of freedom; integrated over S by Simpson's rule.
    let constant = 2.0f64.ln() + freedom / 2.0 * (freedom / 2.0).ln() - ln_gamma(freedom / 2.0);
    let density = |s: f64| (constant + (freedom - 1.0) * s.ln() - freedom * s * s / 2.0).exp();
    let found = |s: f64| 1.0 - normal.cdf(bound * s - shift) + normal.cdf(-bound * s - shift);
    let (most, parts) = (1.0 + 8.0 / freedom.sqrt(), 2000);
    let (step, mut sum) = (most / f64::from(parts), 0.0);
    // At 0, where Simpson's weight is 1, the density is 0.
    for part in 1..=parts {
        let weight = if part == parts { 1.0 } else { 2.0 + f64::from(part % 2) * 2.0 };
        let s = f64::from(part) * step;
        sum += weight * (density(s) * found(s));
    }
    sum * step / 3.0
}

/// The least difference, in standard deviations of the seeds' differences, that the t test finds
/// with a chance of 80%; infinite below two seeds.
pub fn detectable(seeds: usize, level: f64) -> f64 {
    if seeds < 2 { f64::INFINITY } else { least_found(|effect| power(effect, seeds, level)) }
}

/// The least such difference that gets a verdict with a chance of about 80%: [`detectable`], but
/// six seeds must all have one sign, otherwise the exact test does not reject. From seven seeds on
/// a corrected t test requires at least as much as the exact test.
pub fn decidable(seeds: usize, level: f64) -> f64 {
    let one_sign = |effect: f64| Normal::standard().cdf(effect).powi(FOR_VERDICT as i32);
    let exact = if seeds == FOR_VERDICT { least_found(one_sign) } else { 0.0 };
    detectable(seeds, level).max(exact)
}

/// The least effect that is found with a chance of 80%.
fn least_found(power: impl Fn(f64) -> f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    while power(high) < 0.8 {
        high *= 2.0;
    }
    for _ in 0..50 {
        let middle = (low + high) / 2.0;
        if power(middle) < 0.8 { low = middle } else { high = middle }
    }
    high
}

/// What a number of seeds supports at most.
pub fn seeds_say(seeds: usize) -> String {
    let what = match seeds {
        0 => return format!("no seeds: {FOR_VERDICT} give a verdict"),
        1 => "1 seed: what happened once",
        2 => "2 seeds: means and ranges",
        3..FOR_VERDICT => {
            return format!("{seeds} seeds: means, ranges and intervals, no verdict; {FOR_VERDICT} seeds give one");
        }
        _ => return format!("{seeds} seeds: means, intervals and verdicts"),
    };
    format!("{what}, no interval and no verdict; {FOR_INTERVAL} seeds give an interval, {FOR_VERDICT} a verdict")
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
        for case in golden["bounded"].as_array().unwrap() {
            let bounds = [case["least"].as_f64().unwrap(), case["most"].as_f64().unwrap_or(f64::INFINITY)];
            let mean = Mean::of(&numbers(&case["values"]), 0.0).unwrap().bounded(bounds);
            same(mean.low, &case["low"], "bounded low");
            same(mean.high, &case["high"], "bounded high");
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
    fn seeds_that_agree_to_the_last_image_leave_room_for_doubt() {
        let (mean, other) = (Mean::of(&[1.0; 5], 0.1).unwrap(), Mean::of(&[0.9, 1.1, 1.0, 1.1, 0.9], 0.0).unwrap());
        assert!((mean.error - other.error).abs() < 1e-12 && mean.mean == 1.0, "{mean:?}");
        assert_eq!((Mean::of(&[0.1, 0.4], 0.0).unwrap().low, Mean::of(&[0.1, 0.4], 0.0).unwrap().high), (0.1, 0.4));
        assert_eq!(Mean::of(&[0.0; 5], 1.0 / 32.0).unwrap().p, 1.0);
        assert_eq!(Mean::of(&[], 0.0), None);
    }

    #[test]
    fn values_that_agree_and_have_no_step_are_left_to_the_exact_test() {
        let cosines = [0.1f32 + 0.2, 0.3, 0.3, 0.3, 0.3, 0.3].map(f64::from);
        assert_eq!(Mean::of(&cosines, 0.0).unwrap().p, 2.0 / 64.0, "they differ by rounding alone");
        let change = Change::between(&[0.5; 5], &[0.75; 5], 0.0);
        assert!((change.p - 2.0 / 252.0).abs() < 1e-12, "252 ways to share ten values out: {}", change.p);
        assert!((Change::between(&[0.5; 5], &[0.75], 0.0).p - 1.0 / 6.0).abs() < 1e-12);
        assert_eq!(Change::between(&[0.5; 5], &[0.5; 5], 0.0).p, 1.0);
    }

    #[test]
    fn no_bound_lies_where_no_value_can() {
        // Student's t would end at -1.063.
        let wide = Mean::of(&[-0.99, -0.97, -0.98, -0.97, -0.05, -0.98, -0.85, -0.3], 0.0).unwrap();
        let bounded = wide.bounded([-1.0, 1.0]);
        assert!(wide.low < -1.0 && bounded.low > -0.97 && bounded.high > wide.high, "{wide:?}, {bounded:?}");
        let ranks = Mean::of(&[1.0, 1.0, 1.0, 1.0, 1.0, 10.0], 0.0).unwrap();
        let bounded = ranks.bounded([1.0, f64::INFINITY]);
        assert!(ranks.low < 1.0 && bounded.low > 1.0 && bounded.high > ranks.high, "{ranks:?}, {bounded:?}");
        let border = Mean::of(&[1.0; 6], 0.3).unwrap().bounded([1.0, f64::INFINITY]);
        assert!(border.low == 1.0 && border.high > 1.2 && border.high < 1.5, "{border:?}");
        let narrow = Mean::of(&[0.31, 0.3, 0.29, 0.3], 0.0).unwrap();
        let same = narrow.bounded([-1.0, 1.0]);
        assert!((narrow.low - same.low).abs() < 2e-4 && (narrow.high - same.high).abs() < 2e-4, "{narrow:?}, {same:?}");
    }

    #[test]
    fn six_seeds_need_a_difference_at_which_none_has_the_other_sign() {
        let found = decidable(6, LEVEL);
        assert!(found > detectable(6, LEVEL) && (Normal::standard().cdf(found).powi(6) - 0.8).abs() < 1e-6, "{found}");
        assert_eq!(decidable(6, 0.001), detectable(6, 0.001), "corrected for fifty, the t test asks for more");
        assert_eq!(decidable(8, LEVEL), detectable(8, LEVEL));
    }

    #[test]
    fn fewer_seeds_are_told_what_they_can_say() {
        assert_eq!(seeds_say(3), "3 seeds: means, ranges and intervals, no verdict; 6 seeds give one");
        assert!(seeds_say(2).contains("2 seeds: means and ranges, no interval and no verdict"), "{}", seeds_say(2));
        assert!(seeds_say(1).starts_with("1 seed: what happened once") && seeds_say(6).ends_with("verdicts"));
    }
}
