//! A mixture of two normal distributions over scalars, fitted by expectation-maximisation
//! (Dempster, Laird and Rubin 1977). It starts from the two halves of the sorted values, so it
//! needs no random draws.

/// The probability of each value to belong to the component with the greater mean.
pub fn upper(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (low, high) = sorted.split_at(sorted.len() / 2);
    let mut parts =
        [Part::of(low, |_| 1.0, 1.0), Part::of(high, |_| 1.0, 1.0)].map(|part| Part { weight: 0.5, ..part });
    let mut chances = Vec::new();
    let mut before = f64::NEG_INFINITY;
    for _ in 0..MANY {
        let mut likelihood = 0.0;
        chances = values
            .iter()
            .map(|value| {
                let [a, b] = parts.map(|part| part.log_density(*value));
                let both = a.max(b) + (-(a - b).abs()).exp().ln_1p();
                likelihood += both / values.len() as f64;
                (b - both).exp()
            })
            .collect();
        if likelihood - before < ENOUGH {
            break;
        }
        before = likelihood;
        let count = values.len() as f64;
        parts = [Part::of(values, |at| 1.0 - chances[at], count), Part::of(values, |at| chances[at], count)];
    }
    if parts[0].mean > parts[1].mean { chances.iter().map(|chance| 1.0 - chance).collect() } else { chances }
}

/// Maximum number of rounds.
const MANY: usize = 10_000;
/// Minimum gain in mean log likelihood for another round.
const ENOUGH: f64 = 1e-12;

#[derive(Clone, Copy)]
struct Part {
    weight: f64,
    mean: f64,
    variance: f64,
}

impl Part {
    /// The component of values with weights `share`, out of `count` values.
    fn of(values: &[f64], share: impl Fn(usize) -> f64, count: f64) -> Part {
        let shares: Vec<f64> = (0..values.len()).map(share).collect();
        let sum = shares.iter().sum::<f64>().max(f64::MIN_POSITIVE);
        let mean = values.iter().zip(&shares).map(|(value, share)| value * share).sum::<f64>() / sum;
        let squares = values.iter().zip(&shares).map(|(value, share)| (value - mean).powi(2) * share).sum::<f64>();
        // Like scikit-learn's `reg_covar`: a component of equal values would have infinite density.
        Part { weight: sum / count, mean, variance: squares / sum + 1e-6 }
    }

    fn log_density(&self, value: f64) -> f64 {
        let spread = (value - self.mean).powi(2) / self.variance + (std::f64::consts::TAU * self.variance).ln();
        self.weight.ln() - spread / 2.0
    }
}

#[cfg(test)]
mod tests {
    use gauntlet::tch::{Kind, Tensor};

    #[test]
    fn equals_scikit_learn() {
        crate::golden::same("mixture", |golden| {
            let values = Vec::<f64>::try_from(golden["values"].to_kind(Kind::Double)).unwrap();
            Tensor::from_slice(&super::upper(&values)).to_kind(Kind::Float)
        });
    }
}
