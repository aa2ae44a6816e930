//! AdamW with open_clip's two groups: weight decay for matrices, none for vectors, norms and the temperature.

use crate::model::weights::Weights;
use crate::{Error, Result};
use std::collections::BTreeMap;
use tch::{Kind, Tensor};

/// The optimizer's moments, by parameter name.
pub struct AdamW {
    moments: BTreeMap<String, Moments>,
    betas: [f64; 2],
    epsilon: f64,
    weight_decay: f64,
}

struct Moments {
    first: Tensor,
    second: Tensor,
    /// Steps taken, an f32 scalar on the parameter's device, as the fused kernel wants it.
    steps: Tensor,
}

impl AdamW {
    /// No step taken yet.
    pub fn new(weights: &Weights, betas: [f64; 2], epsilon: f64, weight_decay: f64) -> Self {
        let start = |parameter: &Tensor| Moments {
            first: parameter.detach().zeros_like(),
            second: parameter.detach().zeros_like(),
            steps: Tensor::zeros([], (Kind::Float, parameter.device())),
        };
        let moments = weights.parameters.iter().map(|(name, parameter)| (name.clone(), start(parameter))).collect();
        AdamW { moments, betas, epsilon, weight_decay }
    }

    /// Moves the named parameters against their gradients.
    pub fn step(&mut self, weights: &Weights, gradients: &[(&str, Tensor)], learning_rate: f64) -> Result<()> {
        let decays = |name: &str| Weights::decays(name, &weights.parameters[name]);
        let (decayed, plain): (Vec<_>, Vec<_>) = gradients.iter().partition(|(name, _)| decays(name));
        for (group, weight_decay) in [(decayed, self.weight_decay), (plain, 0.0)] {
            let moments: Vec<&Moments> = group.iter().map(|(name, _)| &self.moments[*name]).collect();
            let parameters: Vec<&Tensor> = group.iter().map(|(name, _)| &weights.parameters[*name]).collect();
            let gradients: Vec<&Tensor> = group.iter().map(|(_, gradient)| gradient).collect();
            let list = |pick: fn(&Moments) -> &Tensor| moments.iter().map(|moment| pick(moment)).collect::<Vec<_>>();
            let (first, second, steps) = (list(|m| &m.first), list(|m| &m.second), list(|m| &m.steps));
            gauntlet_torch::fused_adamw(
                &parameters,
                &gradients,
                &first,
                &second,
                &steps,
                learning_rate,
                self.betas[0],
                self.betas[1],
                weight_decay,
                self.epsilon,
            )
            .map_err(|why| Error::invalid("optimizer", why.to_string()))?;
        }
        Ok(())
    }

    /// The moments as named tensors.
    pub fn state(&self) -> BTreeMap<String, Tensor> {
        let parts = |(name, m): (&String, &Moments)| {
            [("first", &m.first), ("second", &m.second), ("steps", &m.steps)]
                .map(|(part, tensor)| (format!("{part}.{name}"), tensor.shallow_clone()))
        };
        self.moments.iter().flat_map(parts).collect()
    }

    /// Takes back what `state` gave.
    pub fn restore(&mut self, state: &BTreeMap<String, Tensor>) -> Result<()> {
        for (name, moments) in &mut self.moments {
            for (part, tensor) in
                [("first", &mut moments.first), ("second", &mut moments.second), ("steps", &mut moments.steps)]
            {
                let name = format!("{part}.{name}");
                let saved = state.get(&name).ok_or_else(|| Error::invalid("checkpoint", format!("lacks `{name}`")))?;
                tensor.f_copy_(saved)?;
            }
        }
        Ok(())
    }
}
