//! The 95% interval of a mean share over seeds. In the model each seed draws its own rate from a
//! beta distribution about the mean; its cases are independent given that rate. The spread of the
//! rates is unknown and a few seeds hardly determine it, least of all if all of them are at 0 or
//! 100%. The interval therefore weighs every spread by its likelihood. The prior of the mean is
//! Jeffreys' (Beta(1/2, 1/2)), and the standard deviation of the rates is uniform from 0 to its
//! maximum, that of all or nothing. docs/statistics.md states how often the interval holds and
//! where it does not (seeds in two camps). Golden values: tests/golden/verdicts.py, with another
//! quadrature.

use super::mean;
use statrs::function::gamma::ln_gamma;
use std::f64::consts::FRAC_PI_2;

/// Number of steps of the mean and of the deviation in the numerical integration.
const STEPS: [usize; 2] = [128, 32];

/// Seeds with equal counts.
struct Alike {
    hits: f64,
    misses: f64,
    seeds: f64,
}

/// The interval of the mean of `shares`, each counted over `cases` cases: equal tails of 2.5% of
/// the posterior, closed at 0 if nothing was hit and at 1 if everything was. It always contains the
/// mean of the shares.
pub fn interval(shares: &[f64], cases: &[f64]) -> [f64; 2] {
    let mut alike: Vec<Alike> = Vec::new();
    for (share, cases) in shares.iter().zip(cases) {
        let (hits, misses) = (share * cases, (1.0 - share) * cases);
        match alike.iter_mut().find(|other| (other.hits, other.misses) == (hits, misses)) {
            Some(other) => other.seeds += 1.0,
            None => alike.push(Alike { hits, misses, seeds: 1.0 }),
        }
    }
    let means = Axis::of_means(shares, cases);
    let mass = posterior(&alike, &means, &deviations(shares.len(), cases));
    let all: f64 = mass.iter().sum();
    let (mean, steps) = (mean(shares), [0.025, 0.975].map(|share| steps_below(&mass, share * all)));
    let [low, high] = steps.map(|steps| means.at(steps).sin().powi(2));
    let low = if alike.iter().all(|seeds| seeds.hits == 0.0) { 0.0 } else { low };
    let high = if alike.iter().all(|seeds| seeds.misses == 0.0) { 1.0 } else { high };
    [low.min(mean), high.max(mean)]
}

/// The number of steps that contain this much of the mass.
fn steps_below(mass: &[f64], wanted: f64) -> f64 {
    let (mut below, mut place) = (0.0, 0);
    while place + 1 < mass.len() && below + mass[place] < wanted {
        below += mass[place];
        place += 1;
    }
    place as f64 + (wanted - below) / mass[place]
}

/// The angle of the mean, asin(sqrt(mean)): Jeffreys' prior is uniform in it, and the binomial
/// error is constant. The steps are equal near the seeds' own angle and grow by a constant factor
/// far from it.
struct Axis {
    centre: f64,
    scale: f64,
    from: f64,
    width: f64,
}

impl Axis {
    fn of_means(shares: &[f64], cases: &[f64]) -> Axis {
        let seeds = shares.len() as f64;
        let angles: Vec<f64> = shares.iter().map(|share| share.clamp(0.0, 1.0).sqrt().asin()).collect();
        let centre = angles.iter().sum::<f64>() / seeds;
        let variance = angles.iter().map(|angle| (angle - centre).powi(2)).sum::<f64>() / seeds;
        let scale = (0.25 / cases.iter().sum::<f64>() + variance / seeds).sqrt();
        let [from, to] = [0.0, FRAC_PI_2].map(|end| ((end - centre) / scale).asinh());
        Axis { centre, scale, from, width: (to - from) / STEPS[0] as f64 }
    }

    /// The end of this many steps.
    fn at(&self, steps: f64) -> f64 {
        self.centre + self.scale * (self.from + self.width * steps).sinh()
    }

    /// The middle of a step, and its relative size.
    fn step(&self, step: usize) -> (f64, f64) {
        let middle = step as f64 + 0.5;
        (self.at(middle), (self.from + self.width * middle).cosh())
    }
}

/// Deviations of the rates, as shares of the maximum, with the size of their steps: equal below the
/// deviation that cases hide, growing above it, and small again near 1, where rates of all or
/// nothing explain seeds that are all at a border.
fn deviations(seeds: usize, cases: &[f64]) -> Vec<(f64, f64)> {
    let seeds = seeds as f64;
    let hidden = (seeds / cases.iter().sum::<f64>()).sqrt() / seeds.powf(0.25);
    let reach = (1.0 / hidden).asinh();
    let lefts = (0..STEPS[1]).map(|step| 1.0 - (step as f64 + 0.5) / STEPS[1] as f64);
    let places = lefts.map(|left| (left, reach * (1.0 - left * left)));
    places.map(|(left, place)| (hidden * place.sinh(), place.cosh() * left)).collect()
}

/// Mass of the mean in each step of its axis.
fn posterior(alike: &[Alike], means: &Axis, deviations: &[(f64, f64)]) -> Vec<f64> {
    let mut density: Vec<Vec<f64>> = Vec::new();
    for (angle, size) in (0..STEPS[0]).map(|step| means.step(step)) {
        let of =
            |(deviation, width): &(f64, f64)| likelihood(alike, angle.sin().powi(2), *deviation) + (size * width).ln();
        density.push(deviations.iter().map(of).collect());
    }
    let most = density.iter().flatten().copied().fold(f64::NEG_INFINITY, f64::max);
    density.iter().map(|row| row.iter().map(|value| (value - most).exp()).sum()).collect()
}

/// The likelihood of a beta-binomial distribution, without factors that depend only on the seeds.
fn likelihood(alike: &[Alike], mean: f64, deviation: f64) -> f64 {
    let weight = 1.0 / (deviation * deviation) - 1.0; // weight of the beta distribution, in cases
    let (a, b) = (mean * weight, (1.0 - mean) * weight);
    let constant = ln_gamma(weight) - ln_gamma(a) - ln_gamma(b);
    let of = |seeds: &Alike| {
        let (hits, misses) = (seeds.hits, seeds.misses);
        seeds.seeds * (ln_gamma(hits + a) + ln_gamma(misses + b) - ln_gamma(hits + misses + weight) + constant)
    };
    alike.iter().map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn another_quadrature_has_the_same_intervals() {
        let golden: Value = serde_json::from_str(include_str!("../../../tests/golden/statistics.json")).unwrap();
        for case in golden["rates"].as_array().unwrap() {
            let numbers = |key: &str| -> Vec<f64> {
                case[key].as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
            };
            let (hits, cases) = (numbers("hits"), numbers("cases"));
            let shares: Vec<f64> = hits.iter().zip(&cases).map(|(hits, cases)| hits / cases).collect();
            let [low, high] = interval(&shares, &cases);
            let (theirs_low, theirs_high) = (case["low"].as_f64().unwrap(), case["high"].as_f64().unwrap());
            let off = (low - theirs_low).abs().max((high - theirs_high).abs()) / (theirs_high - theirs_low);
            assert!(off < 0.005, "{hits:?} of {cases:?}: {low} to {high}, not {theirs_low} to {theirs_high}");
        }
    }

    #[test]
    fn seeds_at_the_border_leave_room_and_no_bound_lies_beyond_it() {
        let [low, high] = interval(&[1.0; 8], &[32.0; 8]);
        assert!(high == 1.0 && low > 0.8 && low < 0.97, "{low}");
        let [low, high] = interval(&[0.0; 8], &[32.0; 8]);
        assert!(low == 0.0 && high < 0.2 && high > 0.03, "{high}");
        let [low, high] = interval(&[1.0, 1.0, 1.0, 31.0 / 32.0], &[32.0; 4]);
        assert!(low > 0.7 && high < 1.0 && high > 0.99, "{low} {high}");
        let [fewer, _] = interval(&[1.0; 3], &[32.0; 3]);
        assert!(fewer < interval(&[1.0; 8], &[32.0; 8])[0], "fewer seeds give a wider interval");
    }

    #[test]
    fn many_cases_are_no_trouble() {
        let shares = [0.7012, 0.6988, 0.7034, 0.6979, 0.7001, 0.7022];
        let [low, high] = interval(&shares, &[50_000.0; 6]);
        let mean = shares.iter().sum::<f64>() / 6.0;
        assert!(
            low < mean && mean < high && high - low > 0.0044 && high - low < 0.008,
            "t: 0.0044 wide; {low} to {high}"
        );
    }
}
