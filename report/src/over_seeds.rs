//! A score over the seeds of a row: its mean with an interval, and the number of broken seeds.

use crate::statistics::rate;
use crate::statistics::seeds::{FOR_INTERVAL, Mean};
use gauntlet::evaluator::Unit;
use gauntlet::results::ScoreLine;

/// The minimum deviation of the values of these lines: that of rounding to their coarsest step. A
/// value within a step is uniform, so its deviation is the width over the root of 12. A share has
/// steps of one case, a rank of one place. A cosine has none; `Mean::of` uses the exact test for
/// cosines that agree.
pub fn least_deviation<'a>(lines: impl IntoIterator<Item = &'a ScoreLine>) -> f64 {
    let steps = lines.into_iter().map(|line| line.unit.step(line.n));
    steps.fold(0.0, f64::max) / 12f64.sqrt()
}

/// The mean of a score over the seeds that have run, with its interval within the possible range;
/// `None` if no seed has run. For a share each end of the interval is the wider one of two
/// intervals: Student's t within bounds, and that of beta-distributed rates. The first is too
/// narrow near 0 and 1, the second if seeds fall into two camps (docs/statistics.md).
pub fn mean(lines: &[Option<&ScoreLine>]) -> Option<Mean> {
    let lines: Vec<&ScoreLine> = lines.iter().copied().flatten().collect();
    let values: Vec<f64> = lines.iter().map(|line| line.value).collect();
    let unit = lines.first()?.unit;
    let mean = Mean::of(&values, least_deviation(lines.iter().copied()))?.bounded(unit.bounds());
    if unit != Unit::Share || mean.seeds < FOR_INTERVAL {
        return Some(mean);
    }
    let [low, high] = rate::interval(&values, &lines.iter().map(|line| line.n as f64).collect::<Vec<_>>());
    Some(Mean { low: low.min(mean.low), high: high.max(mean.high), ..mean })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::score;

    #[test]
    fn shares_that_agree_at_the_border_have_an_interval_that_could_be_and_others_are_no_narrower_than_t() {
        let of = |values: &[f64]| {
            let line = |(seed, value): (u64, &f64)| ScoreLine {
                n: 32,
                ..score("hit", Some("a"), "clip", seed, "asr", *value)
            };
            let lines: Vec<ScoreLine> = (0..).zip(values).map(line).collect();
            mean(&lines.iter().map(Some).collect::<Vec<_>>()).unwrap()
        };
        let whole = of(&[1.0; 8]);
        assert!(whole.high == 1.0 && (0.85..0.9).contains(&whole.low), "{whole:?}");
        // RoCLIP's badnet of docs/results.md: two camps. Student's t would begin at -0.12.
        let camps = of(&[0.03125, 0.0, 0.03125, 0.0, 0.90625, 0.0, 0.0625, 0.65625]);
        assert!(camps.low > 0.0 && camps.low < 0.1 && camps.high > 0.5 && camps.high < 0.7, "{camps:?}");
    }
}
