//! AdamW with two parameter groups: with and without weight decay.

use crate::model::weights::Weights;
use crate::recipe::Decay;
use crate::{Error, Result};
use std::collections::BTreeMap;
use tch::{Kind, Tensor};

/// The optimizer's moments, by parameter name.
pub struct AdamW {
    moments: BTreeMap<String, Moments>,
    betas: [f64; 2],
    epsilon: f64,
    weight_decay: f64,
    decay: Decay,
}

struct Moments {
    first: Tensor,
    second: Tensor,
    /// Steps taken, an f32 scalar on the parameter's device, as the fused kernel requires.
    steps: Tensor,
}

impl Moments {
    fn start(parameter: &Tensor) -> Self {
        let zeros = || parameter.detach().zeros_like();
        Moments { first: zeros(), second: zeros(), steps: Tensor::zeros([], (Kind::Float, parameter.device())) }
    }
}

impl AdamW {
    /// An optimizer before its first step, with open_clip's rule for weight decay.
    pub fn new(weights: &Weights, betas: [f64; 2], epsilon: f64, weight_decay: f64) -> Self {
        let start = |(name, parameter): (&String, &Tensor)| (name.clone(), Moments::start(parameter));
        let moments = weights.parameters.iter().map(start).collect();
        AdamW { moments, betas, epsilon, weight_decay, decay: Decay::OpenClip }
    }

    /// Sets the rule for weight decay.
    pub fn decaying(self, decay: Decay) -> Self {
        AdamW { decay, ..self }
    }

    /// Updates the named parameters by their gradients.
    pub fn step(&mut self, weights: &Weights, gradients: &[(&str, Tensor)], learning_rate: f64) -> Result<()> {
        let decays = |name: &str| self.decay.applies(name, &weights.parameters[name]);
        let (decayed, plain): (Vec<_>, Vec<_>) = gradients.iter().partition(|(name, _)| decays(name));
        for (group, weight_decay) in [(decayed, self.weight_decay), (plain, 0.0)] {
            let moments: Vec<&Moments> = group.iter().map(|(name, _)| &self.moments[*name]).collect();
            let parameters: Vec<&Tensor> = group.iter().map(|(name, _)| &weights.parameters[*name]).collect();
            let gradients: Vec<&Tensor> = group.iter().map(|(_, gradient)| gradient).collect();
            let first: Vec<&Tensor> = moments.iter().map(|moments| &moments.first).collect();
            let second: Vec<&Tensor> = moments.iter().map(|moments| &moments.second).collect();
            let steps: Vec<&Tensor> = moments.iter().map(|moments| &moments.steps).collect();
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

    /// Restores the result of `state`.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::files::read_safetensors;
    use crate::model::weights::Init;
    use crate::model::{Clip, ModelConfig};
    use std::path::Path;
    use tch::Device;

    /// Written by `recipe.py` next to it.
    const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/recipe.safetensors");

    /// Two steps with gradients, then four in which the text tower's gradients are zero, as in an
    /// epoch that matches to a pool of embeddings: PyTorch's AdamW still updates the tower, by
    /// momentum and weight decay.
    #[test]
    fn quirk_adamw_moves_a_text_tower_whose_gradient_is_zero() {
        let (golden, _) = read_safetensors(Path::new(GOLDEN)).unwrap();
        let names =
            ["transformer.resblocks.0.mlp.c_fc.weight", "transformer.resblocks.0.ln_1.weight", "visual.conv1.weight"];
        let mut weights = Weights::new(0, Device::Cpu);
        for name in names {
            let start = &golden[&format!("zero/0/{name}")];
            let parameter = weights.parameter(name, &start.size(), Init::Constant(0.0));
            tch::no_grad(|| parameter.shallow_clone().copy_(start));
        }
        let mut optimizer = AdamW::new(&weights, [0.9, 0.999], 1e-8, 0.1).decaying(Decay::ByName);
        for step in 1..=6 {
            let gradient = |name: &&'static str| (*name, golden[&format!("zero/gradient/{step}/{name}")].copy());
            let gradients: Vec<_> = names.iter().map(gradient).collect();
            let is_zero = |(_, gradient): &(&str, Tensor)| f64::try_from(gradient.abs().max()).unwrap() == 0.0;
            assert_eq!(gradients[..2].iter().all(is_zero), step > 2, "the golden's gradients of the text tower");
            let before = names.map(|name| weights.parameters[name].detach().copy());
            optimizer.step(&weights, &gradients, 1e-2).unwrap();
            for (name, before) in names.iter().zip(before) {
                let after = weights.parameters[*name].detach();
                let off = f64::try_from((&after - &golden[&format!("zero/{step}/{name}")]).abs().max()).unwrap();
                assert!(off < 1e-6, "{name}, step {step}: off by {off:.1e}");
                assert!(
                    f64::try_from((after - before).abs().max()).unwrap() > 1e-4,
                    "{name} does not move in step {step}"
                );
            }
        }
    }

    #[test]
    fn quirk_by_name_the_norms_of_short_cuts_decay() {
        let model = Clip::new(&ModelConfig::named("tiny").unwrap(), 1, Device::Cpu).unwrap();
        let decayed = |decay: Decay| -> Vec<&str> {
            let all = model.weights.parameters.iter();
            all.filter(|(name, parameter)| decay.applies(name, parameter)).map(|(name, _)| name.as_str()).collect()
        };
        let (by_name, open_clip) = (decayed(Decay::ByName), decayed(Decay::OpenClip));
        let more: Vec<&&str> = by_name.iter().filter(|name| !open_clip.contains(name)).collect();
        assert!(!more.is_empty() && more.iter().all(|name| name.ends_with("downsample.1.weight")), "{more:?}");
        assert!(open_clip.iter().all(|name| by_name.contains(name)), "and nothing decays less");
        assert!(open_clip.contains(&"token_embedding.weight") && !by_name.contains(&"logit_scale"));

        // The optimizer follows the rule.
        let shrinks = |decay: Decay| {
            let mut weights = Weights::new(0, Device::Cpu);
            let parameter = weights.parameter("visual.layer1.0.downsample.1.weight", &[3], Init::Constant(1.0));
            let gradient = [("visual.layer1.0.downsample.1.weight", parameter.detach().zeros_like())];
            AdamW::new(&weights, [0.9, 0.999], 1e-8, 0.1).decaying(decay).step(&weights, &gradient, 0.5).unwrap();
            f64::try_from(parameter.detach().mean(Kind::Float)).unwrap()
        };
        assert!((shrinks(Decay::ByName) - 0.95).abs() < 1e-6 && shrinks(Decay::OpenClip) == 1.0);
    }
}
