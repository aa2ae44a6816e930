//! Multinomial logistic regression by L-BFGS on frozen features, on the device of the features.
//!
//! The objective is scikit-learn's: `C * sum of cross-entropies + |W|^2 / 2`, with a free intercept
//! (for several classes; for two, scikit-learn fits one column instead). Two things make it fast.
//! The logits are linear along a search direction, so a step costs two products with the features,
//! however many lengths are tried. And L-BFGS starts its estimate of the inverse Hessian from the
//! inverse of the features' second moments, which Böhning (1992) showed to bound the Hessian,
//! instead of a multiple of the identity. On features of a network, whose spectrum falls steeply,
//! that saves nine of ten steps.

use gauntlet::Result;
use std::collections::VecDeque;
use tch::{Kind, Tensor};

/// Number of steps that L-BFGS remembers.
const MEMORY: usize = 10;

/// Maximum number of steps, as in CLIP's protocol (Radford et al. 2021, appendix A.3).
const MOST_STEPS: usize = 1000;

/// The fit ends when the next step is expected to gain less than this share of the objective.
const TOLERANCE: f64 = 1e-7;

/// A linear layer: weights and, in the last column, the intercept, f32 `[classes, features + 1]`.
pub struct Layer(pub Tensor);

impl Layer {
    /// The class of each row of features: i64 `[rows]`.
    pub fn classify(&self, features: &Tensor) -> Tensor {
        logits(features, &self.0).argmax(1, false)
    }
}

/// A fitted layer.
pub struct Fit {
    /// The layer.
    pub layer: Layer,
    /// scikit-learn's objective at this layer.
    pub objective: f64,
    /// Number of steps taken.
    pub steps: usize,
}

/// Features and their classes, and the values that every fit to them needs.
pub struct Problem {
    features: Tensor,
    labels: Tensor,
    classes: i64,
    /// Second moments of the features with a constant 1 appended, f64
    /// `[features + 1, features + 1]`.
    moments: Tensor,
}

/// A point of the search: weights, logits, the mean objective, and the gradient of the
/// cross-entropy with respect to the logits.
struct Point {
    weight: Tensor,
    logits: Tensor,
    value: f64,
    residual: Tensor,
}

impl Problem {
    /// Prepares features f32 `[rows, features]` and their classes i64 `[rows]`, each below
    /// `classes`.
    pub fn new(features: &Tensor, labels: &Tensor, classes: i64) -> Result<Self> {
        let (rows, columns) = (features.size()[0], features.size()[1]);
        // In f64, some rows at a time: with few rows, rounding to f32 would leave the matrix
        // singular.
        let moments = Tensor::zeros([columns + 1, columns + 1], (Kind::Double, features.device()));
        for start in (0..rows).step_by(1 << 14) {
            let part = features.narrow(0, start, (rows - start).min(1 << 14)).to_kind(Kind::Double);
            let part = Tensor::cat(&[&part, &part.new_ones([part.size()[0], 1], (Kind::Double, part.device()))], 1);
            let _ = moments.shallow_clone().f_addmm_(&part.tr(), &part)?;
        }
        let moments = moments / rows as f64;
        Ok(Problem { features: features.shallow_clone(), labels: labels.unsqueeze(1), classes, moments })
    }

    /// Minimises the objective at `c`, starting from zero or from a layer fitted at another `c`.
    pub fn fit(&self, c: f64, start: Option<&Layer>) -> Result<Fit> {
        let (rows, columns) = (self.features.size()[0] as f64, self.features.size()[1] + 1);
        let decay = 1.0 / (c * rows); // for the objective as a mean over rows
        let inverse = self.precondition(decay)?;
        let zero = || Tensor::zeros([self.classes, columns], (Kind::Float, self.features.device()));
        let weight = start.map_or_else(zero, |layer| layer.0.shallow_clone());
        let mut point = self.point(logits(&self.features, &weight), weight, decay)?;
        let mut gradient = self.gradient(&point, decay);
        let mut memory = Memory { inverse, scale: 1.0, steps: VecDeque::new() };
        let mut steps = 0;
        while steps < MOST_STEPS {
            let direction = -memory.times_inverse_hessian(&gradient);
            let slope = dot(&direction, &gradient)?;
            if -slope / 2.0 <= TOLERANCE * point.value {
                break;
            }
            let Some((next, length)) = self.search(&point, &direction, slope, decay)? else { break };
            let next_gradient = self.gradient(&next, decay);
            memory.remember(direction * length, &next_gradient - &gradient)?;
            (point, gradient, steps) = (next, next_gradient, steps + 1);
        }
        let found = self.point(logits(&self.features, &point.weight), point.weight, decay)?;
        Ok(Fit { layer: Layer(found.weight), objective: found.value * c * rows, steps })
    }

    /// A step length that satisfies the strong Wolfe conditions, by bisection, and the point there;
    /// `None` if rounding prevents a further decrease of the objective.
    fn search(&self, from: &Point, direction: &Tensor, slope: f64, decay: f64) -> Result<Option<(Point, f64)>> {
        let change = logits(&self.features, direction);
        let (mut low, mut high, mut length) = (0.0, f64::INFINITY, 1.0);
        for _ in 0..30 {
            let weight = &from.weight + direction * length;
            let step = if length == 1.0 { change.shallow_clone() } else { &change * length };
            let here = self.point(&from.logits + step, weight, decay)?;
            if here.value > from.value + 1e-4 * length * slope {
                high = length;
            } else {
                let along = f64::try_from(here.residual.view([-1]).dot(&change.view([-1])))?;
                let along = along + decay * dot(&penalised(&here.weight), direction)?;
                match along {
                    _ if along.abs() <= -0.9 * slope => return Ok(Some((here, length))),
                    _ if along > 0.0 => high = length,
                    _ => low = length,
                }
            }
            length = if high.is_finite() { (low + high) / 2.0 } else { 2.0 * length };
        }
        Ok(None)
    }

    fn point(&self, logits: Tensor, weight: Tensor, decay: f64) -> Result<Point> {
        let rows = logits.size()[0] as f64;
        // As few passes over all logits as possible: apart from the products they dominate the cost
        // of a step.
        let mut residual = logits.log_softmax(1, Kind::Float);
        let loss = -residual.gather(1, &self.labels, false).sum(Kind::Double);
        let _ = residual.exp_();
        let _ = residual.scatter_add_(1, &self.labels, &Tensor::full_like(&self.labels, -1.0).to_kind(Kind::Float));
        let _ = residual.g_div_scalar_(rows);
        let bare = penalised(&weight);
        let value = f64::try_from(loss)? / rows + decay / 2.0 * dot(&bare, &bare)?;
        Ok(Point { weight, logits, value, residual })
    }

    fn gradient(&self, point: &Point, decay: f64) -> Tensor {
        let weights = point.residual.tr().matmul(&self.features);
        let intercept = point.residual.sum_dim_intlist([0].as_slice(), false, Kind::Float).unsqueeze(1);
        Tensor::cat(&[weights, intercept], 1) + decay * penalised(&point.weight)
    }

    /// The inverse of the Hessian's bound at equal probabilities: moments / classes + decay.
    fn precondition(&self, decay: f64) -> Result<Tensor> {
        let columns = self.moments.size()[0];
        let ridge = Tensor::full([columns], decay, (Kind::Double, self.moments.device()));
        let _ = ridge.get(columns - 1).fill_(0.0);
        let shape = &self.moments / self.classes as f64 + ridge.diag(0);
        // Linearly dependent features would make it singular.
        let jitter = shape.diagonal(0, 0, 1).mean(Kind::Double) * 1e-9;
        let shape = shape + Tensor::eye(columns, (Kind::Double, self.moments.device())) * jitter;
        Ok(shape.f_linalg_cholesky(false)?.f_cholesky_inverse(false)?.to_kind(Kind::Float))
    }
}

/// The steps that L-BFGS remembers, oldest first.
struct Memory {
    /// The initial estimate, f32 `[features + 1, features + 1]`, the same for each class.
    inverse: Tensor,
    scale: f64,
    steps: VecDeque<Remembered>,
}

struct Remembered {
    step: Tensor,
    change: Tensor,
    /// 1 / (step . change).
    weight: f64,
}

impl Memory {
    /// The two-loop recursion (Nocedal and Wright 2006, algorithm 7.4).
    fn times_inverse_hessian(&self, gradient: &Tensor) -> Tensor {
        let inner = |a: &Tensor, b: &Tensor| (a * b).sum(Kind::Double).to_kind(Kind::Float);
        let mut product = gradient.copy();
        let mut factors = Vec::new();
        for Remembered { step, change, weight } in self.steps.iter().rev() {
            let factor = inner(step, &product) * *weight;
            product -= change * &factor;
            factors.push(factor);
        }
        product = product.matmul(&self.inverse) * self.scale;
        for (Remembered { step, change, weight }, factor) in self.steps.iter().zip(factors.into_iter().rev()) {
            product += step * (factor - inner(change, &product) * *weight);
        }
        product
    }

    fn remember(&mut self, step: Tensor, change: Tensor) -> Result<()> {
        let curvature = dot(&step, &change)?;
        if curvature <= 0.0 {
            return Ok(()); // a rounding error: the objective is convex
        }
        self.scale = curvature / dot(&change, &change.matmul(&self.inverse))?;
        if self.steps.len() == MEMORY {
            self.steps.pop_front();
        }
        self.steps.push_back(Remembered { step, change, weight: 1.0 / curvature });
        Ok(())
    }
}

/// Logits f32 `[rows, classes]`; the last column of `weight` is the intercept.
fn logits(features: &Tensor, weight: &Tensor) -> Tensor {
    let columns = features.size()[1];
    weight.select(1, columns).addmm(features, &weight.narrow(1, 0, columns).tr())
}

/// The weights with the intercept set to zero: the penalised part.
fn penalised(weight: &Tensor) -> Tensor {
    let columns = weight.size()[1] - 1;
    weight.narrow(1, 0, columns).constant_pad_nd([0, 1])
}

fn dot(a: &Tensor, b: &Tensor) -> Result<f64> {
    Ok(f64::try_from((a * b).sum(Kind::Double))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use gauntlet::golden::Golden;

    /// Made by `tests/golden/linear_probe.py`.
    const GOLDEN: &str = "linear_probe";

    /// Objective and predictions at regularisations from strong to weak, on features whose spectrum
    /// falls like a network's.
    #[test]
    fn equals_scikit_learn() {
        let golden = Golden::of_tests(GOLDEN);
        let problem = Problem::new(&golden["fit"], &golden["fit_labels"], 12).unwrap();
        for (number, c) in [1e-3, 0.1, 10.0, 1e3].into_iter().enumerate() {
            let ours = problem.fit(c, None).unwrap();
            let theirs = f64::try_from(golden["objectives"].get(number as i64)).unwrap();
            assert!((ours.objective / theirs - 1.0).abs() < 1e-4, "C {c}: {} and {theirs}", ours.objective);
            let accuracy = |classes: &Tensor| {
                let right = classes.eq_tensor(&golden["test_labels"]);
                f64::try_from(right.to_kind(Kind::Double).mean(None)).unwrap()
            };
            let (ours, theirs) =
                (accuracy(&ours.layer.classify(&golden["test"])), accuracy(&golden[&*format!("classes/{number}")]));
            assert!((ours - theirs).abs() <= 0.003, "C {c}: accuracies of {ours} and {theirs}");
        }
    }

    /// As in a set with few images per class: more features than rows, and almost no penalty.
    #[test]
    fn fits_where_features_outnumber_rows() {
        let golden = Golden::of_tests(GOLDEN);
        let few = |name: &str| golden[name].narrow(0, 0, 20);
        let problem = Problem::new(&few("fit"), &few("fit_labels"), 12).unwrap();
        let objective = |c: f64| problem.fit(c, None).unwrap().objective / c;
        let loss = [1e-6, 1.0, 1e6].map(objective);
        assert!((loss[0] / (20.0 * 12f64.ln()) - 1.0).abs() < 0.2 && loss[2] < 0.01 * loss[1], "{loss:?}");
    }

    #[test]
    fn a_warm_start_ends_where_a_cold_one_does_in_fewer_steps() {
        let golden = Golden::of_tests(GOLDEN);
        let problem = Problem::new(&golden["fit"], &golden["fit_labels"], 12).unwrap();
        let (near, cold) = (problem.fit(0.8, None).unwrap(), problem.fit(1.0, None).unwrap());
        let warm = problem.fit(1.0, Some(&near.layer)).unwrap();
        assert!((warm.objective / cold.objective - 1.0).abs() < 1e-5 && warm.steps < cold.steps);
    }
}
