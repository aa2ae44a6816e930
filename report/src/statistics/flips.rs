//! The exact sign-flip test (Fisher 1935, section 21) of the differences of seeds: if neither of
//! two defenses were better, either sign of each difference would be equally likely. It assumes no
//! distribution. Six seeds that all have one sign have p = 2 / 2^6 = 0.031 and no less, however
//! similar they are. `judge.rs` uses it in addition to the t test.

use gauntlet::draw;
use gauntlet::rand::Rng;

/// Maximum number of differences for which every choice of signs is counted; for more, [`DRAWS`]
/// choices are drawn.
const EXACT: usize = 30;
/// Number of choices of signs that are drawn, keyed, if there are too many to count.
const DRAWS: u32 = 1 << 17;

/// Two-sided p value: the share of all choices of signs whose sum is at least as far from 0 as that
/// of the differences themselves. 1 if there are none.
pub fn sign_flips(differences: &[f64]) -> f64 {
    let size: f64 = differences.iter().map(|difference| difference.abs()).sum();
    // Sums that differ only through the order of addition are equal.
    let bound = differences.iter().sum::<f64>().abs() - 1e-12 * size;
    if bound <= 0.0 {
        return 1.0;
    }
    if differences.len() > EXACT { drawn(differences, bound) } else { counted(differences, bound) }
}

/// Counts all 2^n choices: each is a pair of sums, one for each half of the differences. A walk
/// over the sorted sums finds the pairs that reach the bound.
fn counted(differences: &[f64], bound: f64) -> f64 {
    let (first, second) = differences.split_at(differences.len() / 2);
    let (first, second) = (sums(first), sums(second));
    let (mut reached, mut from) = (0u64, second.len());
    for sum in &first {
        // The greater one sum, the smaller the other may be.
        while from > 0 && sum + second[from - 1] >= bound {
            from -= 1;
        }
        reached += (second.len() - from) as u64;
    }
    // By symmetry, as many are below -bound.
    (2.0 * reached as f64 / (first.len() as f64 * second.len() as f64)).min(1.0)
}

/// The sums of all choices of signs, sorted.
fn sums(differences: &[f64]) -> Vec<f64> {
    let mut sums = vec![0.0];
    for difference in differences {
        sums = sums.iter().flat_map(|sum| [sum - difference, sum + difference]).collect();
    }
    sums.sort_by(f64::total_cmp);
    sums
}

/// Draws choices of signs; the differences' own choice is one of them, so that p is never 0
/// (Phipson and Smyth 2010).
fn drawn(differences: &[f64], bound: f64) -> f64 {
    let mut rng = draw::rng(0, "sign flips", &[differences.len() as u64]);
    let reached = (0..DRAWS).filter(|_| drawn_sum(differences, &mut rng).abs() >= bound).count();
    (reached + 1) as f64 / (f64::from(DRAWS) + 1.0)
}

/// The sum with random signs.
fn drawn_sum(differences: &[f64], rng: &mut impl Rng) -> f64 {
    let mut sum = 0.0;
    for part in differences.chunks(64) {
        let signs = rng.next_u64();
        let signed = |(bit, difference): (usize, &f64)| if signs >> bit & 1 == 1 { *difference } else { -difference };
        sum += part.iter().enumerate().map(signed).sum::<f64>();
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn scipy_permutes_to_the_same_p() {
        let golden: Value = serde_json::from_str(include_str!("../../../tests/golden/statistics.json")).unwrap();
        for case in golden["sign_flips"].as_array().unwrap() {
            let differences: Vec<f64> =
                case["differences"].as_array().unwrap().iter().map(|one| one.as_f64().unwrap()).collect();
            let (ours, theirs) = (sign_flips(&differences), case["p"].as_f64().unwrap());
            assert!((ours - theirs).abs() < 1e-12, "{differences:?}: {ours}, not {theirs}");
        }
    }

    #[test]
    fn five_seeds_cannot_reject_and_six_can() {
        assert_eq!(sign_flips(&[0.1; 5]), 0.0625);
        assert_eq!(sign_flips(&[-0.3, -0.1, -0.2, -0.7, -0.4, -0.1]), 0.03125);
        assert_eq!((sign_flips(&[0.0; 8]), sign_flips(&[]), sign_flips(&[1.0, -1.0])), (1.0, 1.0, 1.0));
        // Sums of thirds are not exact; with any signs, the sum is as far from 0.
        assert_eq!(sign_flips(&[1.0 / 3.0, 0.0, 0.0]), 1.0);
    }

    #[test]
    fn what_is_drawn_is_near_what_is_counted() {
        let differences: Vec<f64> = (0..30).map(|place| 0.3 + f64::from(place * 7 % 30 - 15) / 10.0).collect();
        let bound = differences.iter().sum::<f64>().abs() - 1e-9;
        let (counted, drawn) = (counted(&differences, bound), drawn(&differences, bound));
        assert!(counted > 0.01 && (counted - drawn).abs() < 0.003, "{counted} and {drawn}");
        let many: Vec<f64> = differences.iter().chain(&differences).copied().collect();
        let p = sign_flips(&many);
        assert!(p > 0.0 && p < counted, "twice the seeds: {p}");
    }
}
