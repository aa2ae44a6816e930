//! Statistics of values over seeds, independent of their meaning: `statistics/seeds.rs` has means,
//! differences and their tests, `statistics/rate.rs` the interval of a mean share,
//! `statistics/flips.rs` the exact test, `statistics/camps.rs` the detection of broken seeds.
//! docs/statistics.md states the models, and how well they hold.

pub mod camps;
pub mod flips;
pub mod rate;
pub mod seeds;

/// The mean of values; NaN if there are none.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}
