//! A training step built by hand, so that a defense's own tests can call its loss without training.

use super::Step;
use crate::model::{Clip, ModelConfig};
use crate::recipe::Precision;
use std::cell::RefCell;
use tch::{Device, Tensor};

/// Everything that a step needs, on the CPU, in f32. It contains a model too small to learn
/// anything, so that captions can be embedded.
pub struct GivenStep {
    /// Normalised image embeddings `[batch, dimensions]`.
    pub image: Tensor,
    /// Normalised text embeddings `[batch, dimensions]`.
    pub text: Tensor,
    /// A scalar.
    pub logit_scale: Tensor,
    /// Row keys i64 `[batch]`.
    pub keys: Tensor,
    /// Tokens i64 `[batch, length]`.
    pub tokens: Tensor,
    model: Clip,
    matches: RefCell<Vec<Tensor>>,
}

impl GivenStep {
    /// A step on these embeddings, of rows with these keys and captions.
    pub fn new(image: Tensor, text: Tensor, logit_scale: Tensor, keys: Tensor, tokens: Tensor) -> Self {
        let config = ModelConfig::named("tiny").expect("it ships");
        let model = Clip::new(&config, 1, Device::Cpu).expect("a model that ships can be built");
        GivenStep { image, text, logit_scale, keys, tokens, model, matches: RefCell::default() }
    }

    /// A step in the given epoch, counted from 1.
    pub fn step(&self, epoch: u32) -> Step<'_> {
        let GivenStep { image, text, logit_scale, keys, tokens, model, matches } = self;
        let (second, half_logits, precision) = (None, false, Precision::Fp32);
        Step { epoch, image, text, logit_scale, keys, second, tokens, half_logits, model, precision, matches }
    }

    /// What the defense recorded in all steps so far ([`Step::record_matches`]): i64 `[2, batch]`
    /// each, the keys of the batch and the matched keys.
    pub fn matches(&self) -> Vec<Tensor> {
        self.matches.borrow().iter().map(Tensor::shallow_clone).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::defense::Embedded;
    use tch::Kind;

    #[test]
    fn a_given_step_has_clips_loss_embeds_captions_and_keeps_what_is_matched() {
        let embeddings = Tensor::eye(3, (Kind::Float, Device::Cpu));
        let (keys, scale) = (Tensor::from_slice(&[7i64, 8, 9]), Tensor::from(2f32));
        let given = GivenStep::new(embeddings.copy(), embeddings.copy(), scale, keys.copy(), keys.unsqueeze(1));
        let step = given.step(4);
        assert_eq!(step.epoch, 4);
        assert_eq!(
            step.clip_loss(step.image, step.text),
            super::super::clip_loss(&embeddings, &embeddings, step.logit_scale)
        );
        assert_eq!(step.encode_text(step.tokens).size()[0], 3);
        step.record_matches(&(&keys + 1));
        assert_eq!(Vec::<i64>::try_from(given.matches()[0].get(1)).unwrap(), [8, 9, 10]);
        let second = Embedded { image: &embeddings, text: &embeddings };
        assert!(step.second.is_none() && step.with_second(second).second.is_some());
    }
}
