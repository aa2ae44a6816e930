//! The 95% interval of a mean share over seeds. The model: each seed draws a rate of its own, from a beta distribution about the mean; its cases
//! are independent given that rate. How far rates lie apart is not known and a few seeds hardly tell it, least of all where all of them are at 0
//! or 100%: so the interval weighs every spread by how well it explains the seeds. A priori the mean is Jeffreys' (Beta(1/2, 1/2)), and the
//! standard deviation of the rates is uniform from 0 to the greatest that there is, that of all or nothing. docs/statistics.md has how often the
//! interval holds and where it does not (seeds in two camps). Golden values: tests/golden/statistics.py, by another quadrature.

use statrs::function::gamma::ln_gamma;
use std::f64::consts::FRAC_PI_2;

/// What lies e^-20 below the likeliest counts for nothing.
const NEGLIGIBLE: f64 = 20.0;
/// Places on either axis while the region that counts is searched, and for the interval.
const SEARCH: [usize; 2] = [24, 12];
const FINAL: [usize; 2] = [64, 24];

/// Seeds that counted the same.
struct Alike {
    hits: f64,
    misses: f64,
    seeds: f64,
}

/// The interval of the mean of `shares`, each counted over so many cases: equal tails of 2.5% of the posterior, closed at 0 where nothing was hit
/// and at 1 where everything was. It always holds the mean of the shares.
pub fn interval(shares: &[f64], cases: &[f64]) -> [f64; 2] {
    let mut alike: Vec<Alike> = Vec::new();
    for (share, cases) in shares.iter().zip(cases) {
        let (hits, misses) = (share * cases, (1.0 - share) * cases);
        match alike.iter_mut().find(|other| (other.hits, other.misses) == (hits, misses)) {
            Some(other) => other.seeds += 1.0,
            None => alike.push(Alike { hits, misses, seeds: 1.0 }),
        }
    }
    let (mass, [from, step]) = posterior(&alike);
    let all: f64 = mass.iter().sum();
    let quantile = |share: f64| {
        let (mut below, mut place) = (0.0, 0);
        while place + 1 < mass.len() && below + mass[place] < share * all {
            below += mass[place];
            place += 1;
        }
        let angle = from + step * (place as f64 + (share * all - below) / mass[place]);
        angle.sin().powi(2)
    };
    let mean = shares.iter().sum::<f64>() / shares.len() as f64;
    let none = |part: fn(&Alike) -> f64| alike.iter().all(|seeds| part(seeds) == 0.0);
    let low = if none(|seeds| seeds.hits) { 0.0 } else { quantile(0.025) };
    let high = if none(|seeds| seeds.misses) { 1.0 } else { quantile(0.975) };
    [low.min(mean), high.max(mean)]
}

/// Mass of the mean in equal steps of its angle, asin(sqrt(mean)), in which Jeffreys' prior is uniform; and where the steps begin, and their width.
fn posterior(alike: &[Alike]) -> (Vec<f64>, [f64; 2]) {
    // Mean as its angle, and standard deviation of the rates as a share of the greatest.
    let mut region = [[0.0, FRAC_PI_2], [0.0, 1.0]];
    // Each round narrows the region to a few of its steps at best; as it never leaves out what counts, one that stays has been found.
    for _ in 0..12 {
        let narrowed = narrow(&region, &grid(alike, &region, SEARCH));
        let width = |region: &[[f64; 2]; 2]| region.map(|[from, to]| to - from);
        let done = width(&narrowed).iter().zip(width(&region)).all(|(new, old)| *new > 0.7 * old);
        region = narrowed;
        if done {
            break;
        }
    }
    let density = grid(alike, &region, FINAL);
    let most = density.iter().flatten().copied().fold(f64::NEG_INFINITY, f64::max);
    let mass = density.iter().map(|row| row.iter().map(|value| (value - most).exp()).sum()).collect();
    (mass, [region[0][0], (region[0][1] - region[0][0]) / FINAL[0] as f64])
}

/// The smallest region about the places that count, a step more on every side.
fn narrow(region: &[[f64; 2]; 2], density: &[Vec<f64>]) -> [[f64; 2]; 2] {
    let most = density.iter().flatten().copied().fold(f64::NEG_INFINITY, f64::max);
    let counts = |value: &f64| *value > most - NEGLIGIBLE;
    let rows: Vec<usize> = (0..density.len()).filter(|row| density[*row].iter().any(counts)).collect();
    let columns = (0..density[0].len()).filter(|column| density.iter().any(|row| counts(&row[*column])));
    let (columns, sizes) = (columns.collect::<Vec<usize>>(), [density.len(), density[0].len()]);
    let axis = |axis: usize, places: &[usize]| {
        let [from, to] = region[axis];
        let step = (to - from) / sizes[axis] as f64;
        let (first, last) = (places[0], places[places.len() - 1]);
        [from + step * (first as f64 - 1.0).max(0.0), from + step * (last as f64 + 2.0).min(sizes[axis] as f64)]
    };
    [axis(0, &rows), axis(1, &columns)]
}

/// Log likelihood at the middles of a region's steps: a row for each mean, a column for each deviation.
fn grid(alike: &[Alike], region: &[[f64; 2]; 2], sizes: [usize; 2]) -> Vec<Vec<f64>> {
    let middle = |axis: usize, place: usize| {
        let [from, to] = region[axis];
        from + (to - from) * (place as f64 + 0.5) / sizes[axis] as f64
    };
    let row = |place| {
        let mean = middle(0, place).sin().powi(2);
        (0..sizes[1]).map(|column| likelihood(alike, mean, middle(1, column))).collect()
    };
    (0..sizes[0]).map(row).collect()
}

/// Of a beta-binomial distribution, but for what depends on the seeds alone.
fn likelihood(alike: &[Alike], mean: f64, deviation: f64) -> f64 {
    let weight = 1.0 / (deviation * deviation) - 1.0; // of the beta distribution, in cases
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
            assert!(off < 0.01, "{hits:?} of {cases:?}: {low} to {high}, not {theirs_low} to {theirs_high}");
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
        assert!(fewer < interval(&[1.0; 8], &[32.0; 8])[0], "fewer seeds say less");
    }

    #[test]
    fn many_cases_are_no_trouble() {
        let shares = [0.7012, 0.6988, 0.7034, 0.6979, 0.7001, 0.7022];
        let [low, high] = interval(&shares, &[50_000.0; 6]);
        let mean = shares.iter().sum::<f64>() / 6.0;
        // Student's t: 0.70060 ± 0.00219.
        assert!(low < mean && mean < high && (high - low - 0.0044).abs() < 0.0012, "{low} to {high}");
    }
}
