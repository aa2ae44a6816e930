//! The learning rate: linear warm-up, then half a cosine towards 0 at the last step, as open_clip's
//! `cosine_lr`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Learning rate schedule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// Linear warm-up, then half a cosine that reaches 0 with the last step (open_clip).
    #[default]
    Cosine,
    /// `cosine`, started one epoch late, because epochs count from 1 and steps from 0: the warm-up
    /// begins one epoch in, and the last epoch runs past the end of the cosine, where the rate
    /// rises again (released code of CyCLIP, CleanCLIP, RoCLIP).
    #[serde(rename = "cosine-from-epoch-1")]
    CosineFromEpoch1,
}

impl Schedule {
    /// Step on the curve at which the training starts.
    pub fn first_step(self, steps_per_epoch: u64) -> u64 {
        match self {
            Schedule::Cosine => 0,
            Schedule::CosineFromEpoch1 => steps_per_epoch,
        }
    }
}

/// The learning rate of a step (counted from 0) out of `total`; the same formula applies to steps
/// past the last.
pub fn learning_rate(peak: f64, warmup: u64, total: u64, step: u64) -> f64 {
    if step < warmup {
        return peak * (step + 1) as f64 / warmup as f64;
    }
    let progress = (step - warmup) as f64 / (total - warmup).max(1) as f64;
    peak * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::files::read_safetensors;
    use std::path::Path;

    /// Written by `recipe.py` next to it.
    const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/recipe.safetensors");

    #[test]
    fn rises_to_the_peak_and_falls_to_nearly_nothing_at_the_last_step() {
        let rates: Vec<f64> = (0..100).map(|step| learning_rate(2.0, 10, 100, step)).collect();
        assert_eq!((rates[0], rates[9], rates[10]), (0.2, 2.0, 2.0));
        assert!((rates[55] - 1.0).abs() < 1e-12, "half-way down is half the peak");
        assert!(rates[10..].windows(2).all(|pair| pair[1] < pair[0]));
        assert!(rates[99] < 2.0 * 1e-3);
    }

    /// The rate of the `step`th step (from 0) of an epoch (from 1): 1M pairs in batches of 512, 24
    /// epochs, as in the paper.
    fn rate(schedule: Schedule, epoch: u64, step: u64) -> f64 {
        let steps_per_epoch = 1_000_000 / 512;
        let step = schedule.first_step(steps_per_epoch) + (epoch - 1) * steps_per_epoch + step;
        learning_rate(5e-5, 10_000, 24 * steps_per_epoch, step)
    }

    #[test]
    fn quirk_the_schedule_starts_an_epoch_late_and_overruns_its_end() {
        let (steps, quirk) = (1_000_000 / 512, |epoch, step| rate(Schedule::CosineFromEpoch1, epoch, step));
        let near = |ours: f64, wanted: f64| assert!((ours / wanted - 1.0).abs() < 0.02, "{ours:e}, not {wanted:e}");
        near(quirk(1, 0), 9.8e-6);
        near(quirk(23, 0), 3.5e-7);
        near(quirk(23, steps - 1), 9.1e-14);
        assert_eq!(quirk(24, 0), 0.0);
        near(quirk(24, steps - 1), 3.45e-7);
        assert!((1..steps).all(|step| quirk(24, step) > quirk(24, step - 1)), "the last epoch's rate rises");
        let peak = (0..24 * steps).max_by(|&a, &b| quirk(1, a).total_cmp(&quirk(1, b))).unwrap();
        assert_eq!(1 + peak / steps, 5, "the epoch of the peak");
        near(rate(Schedule::Cosine, 1, 0), 5e-9);
        near(rate(Schedule::Cosine, 24, steps - 1), 9.1e-14);
    }

    #[test]
    fn equals_the_released_codes_rates() {
        let (golden, _) = read_safetensors(Path::new(GOLDEN)).unwrap();
        for (name, schedule) in [("cosine", Schedule::Cosine), ("cosine-from-epoch-1", Schedule::CosineFromEpoch1)] {
            let rates = Vec::<f64>::try_from(golden[&format!("rate/{name}")].to_kind(tch::Kind::Double)).unwrap();
            assert_eq!(rates.len(), 24 * 1953 / 50 + 1);
            for (number, golden) in (0..).zip(rates) {
                let ours = rate(schedule, 1, number * 50);
                // Stored as f32; near the end the rounding of the cosine itself is larger.
                assert!((ours - golden).abs() <= 1e-6 * golden + 1e-20, "{name}, step {}: {ours:e}", number * 50);
            }
            assert_eq!(serde_json::to_value(schedule).unwrap(), name);
        }
    }
}
