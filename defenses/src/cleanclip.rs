//! CleanCLIP: the undefended model is fine-tuned on clean pairs with two losses at once: CLIP's
//! loss, and a loss within each modality, between an image and its augmentation and between a
//! caption and its edit (Bansal et al., CleanCLIP: Mitigating Data Poisoning Attacks in Multimodal
//! Contrastive Learning, ICCV 2023, section 4). The second loss has no term that ties a trigger to
//! a caption.
//!
//! The losses within a modality have one direction (original to augmented), as in the released
//! code. The released code augments images by AutoAugment; ours are RoCLIP's operations, a stated
//! deviation.

use crate::fine_tune::FineTune;
use gauntlet::data::augment::Augmentation;
use gauntlet::defense::{CaptionEdits, Needs, View};
use gauntlet::recipe::Recipe;
use gauntlet::{Defense, Error, Phase, PlanContext, Result, Step};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

/// Fine-tunes with losses within each modality.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CleanClip {
    /// Clean pairs: a share of the training rows if below 1, otherwise a number.
    #[schemars(range(min = 0.0001))]
    clean_pairs: f64,
    /// Passes over the clean pairs.
    #[schemars(range(min = 1))]
    epochs: u32,
    /// Maximum batch size; smaller if there are fewer clean pairs.
    #[schemars(range(min = 2))]
    batch: usize,
    /// Peak learning rate; the optimizer starts with fresh state.
    learning_rate: f64,
    /// Steps of linear warm-up.
    warmup_steps: u64,
    /// Lambda: weight of the losses within the modalities relative to CLIP's loss.
    within: f64,
    /// How images are augmented.
    augmentation: Augmentation,
}

impl Default for CleanClip {
    fn default() -> Self {
        let FineTune { clean_pairs, epochs, batch, learning_rate, warmup_steps } = FineTune::default();
        let augmentation = Augmentation::default();
        CleanClip { clean_pairs, epochs, batch, learning_rate, warmup_steps, within: 1.0, augmentation }
    }
}

gauntlet::register!(
    dyn Defense,
    CleanClip,
    "cleanclip",
    "after training: fine-tunes the undefended model on clean pairs, with losses within images and within captions in addition to CLIP's",
    "Bansal et al., CleanCLIP: Mitigating Data Poisoning Attacks in Multimodal Contrastive Learning, ICCV 2023"
);

impl CleanClip {
    fn tuning(&self) -> FineTune {
        let CleanClip { clean_pairs, epochs, batch, learning_rate, warmup_steps, .. } = *self;
        FineTune { clean_pairs, epochs, batch, learning_rate, warmup_steps }
    }
}

/// Cross-entropy of each row of `from` `[batch, dimensions]` against all rows of `to`; the target
/// is the row with the same number.
pub fn one_way(from: &Tensor, to: &Tensor, logit_scale: &Tensor) -> Tensor {
    let own = Tensor::arange(from.size()[0], (Kind::Int64, from.device()));
    (from.matmul(&to.tr()) * logit_scale).cross_entropy_for_logits(&own)
}

impl Defense for CleanClip {
    fn needs(&self) -> Needs {
        self.tuning().needs()
    }

    fn recipe(&self, suite: &Recipe, rows: usize) -> Result<Recipe> {
        Ok(self.tuning().recipe(suite, rows))
    }

    fn plan(&mut self, _epoch: u32, ctx: &PlanContext) -> Result<Vec<Phase>> {
        let second = View { augmentation: Some(self.augmentation), captions: CaptionEdits::PerEpoch };
        Ok(vec![Phase { second: Some(second), ..FineTune::phase(ctx)? }])
    }

    fn loss(&mut self, step: &Step) -> Result<Tensor> {
        let second = step.second.ok_or_else(|| Error::invalid("cleanclip", "got no second view"))?;
        let within =
            one_way(step.image, second.image, step.logit_scale) + one_way(step.text, second.text, step.logit_scale);
        Ok(step.clip_loss(step.image, step.text) + within * (self.within / 2.0))
    }
}

#[cfg(test)]
mod tests {
    use super::CleanClip;
    use gauntlet::Defense;
    use gauntlet::defense::Embedded;

    #[test]
    fn equals_pytorch() {
        crate::golden::same("cleanclip", |golden| {
            let given = crate::golden::given(golden);
            let second = Embedded { image: &golden["image_2"], text: &golden["text_2"] };
            CleanClip::default().loss(&given.step(1).with_second(second)).unwrap()
        });
    }
}
