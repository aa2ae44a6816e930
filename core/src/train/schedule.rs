//! The learning rate: linear warm-up, then half a cosine towards 0 at the last step, as open_clip's `cosine_lr`.

/// The learning rate of a step (counted from 0) out of `total`.
pub fn learning_rate(peak: f64, warmup: u64, total: u64, step: u64) -> f64 {
    if step < warmup {
        return peak * (step + 1) as f64 / warmup as f64;
    }
    let progress = (step - warmup) as f64 / (total - warmup).max(1) as f64;
    peak * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos())
}

#[cfg(test)]
mod tests {
    use super::learning_rate;

    #[test]
    fn rises_to_the_peak_and_falls_to_nearly_nothing_at_the_last_step() {
        let rates: Vec<f64> = (0..100).map(|step| learning_rate(2.0, 10, 100, step)).collect();
        assert_eq!((rates[0], rates[9], rates[10]), (0.2, 2.0, 2.0));
        assert!((rates[55] - 1.0).abs() < 1e-12, "half-way down is half the peak");
        assert!(rates[10..].windows(2).all(|pair| pair[1] < pair[0]));
        assert!(rates[99] < 2.0 * 1e-3);
    }
}
