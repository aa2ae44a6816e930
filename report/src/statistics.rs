//! Statistics of numbers that seeds gave, without a word about what the numbers are:
//! `statistics/seeds.rs` has means, differences and their tests, `statistics/rate.rs` the interval
//! of a mean share, `statistics/flips.rs` the exact test, `statistics/camps.rs` seeds of which some
//! are broken. docs/statistics.md states the models, and how well they hold.

pub mod camps;
pub mod flips;
pub mod rate;
pub mod seeds;

/// Of values; not a number of none.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}
