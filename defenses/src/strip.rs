//! STRIP: an image that keeps its class under any overlay is suspicious (Gao et al., STRIP: A
//! Defence Against Trojan Attacks on Deep Neural Networks, ACSAC 2019). The image is blended with
//! clean images. A low mean entropy of the model's class probabilities over the blends suggests a
//! trigger that is effective in all of them. The model is plain CLIP's, unchanged; only its use
//! differs.
//!
//! The paper adds the images; we blend them, so that the result stays in the range of an image. The
//! paper's model has a softmax over its own classes; ours is over the class names, at the model's
//! own scale.

use gauntlet::defense::{Inference, Needs};
use gauntlet::{Defense, Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

/// Rejects images whose class is the same under every overlay.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Strip {
    /// Number of clean images that each image is blended with.
    #[schemars(range(min = 1))]
    overlays: i64,
    /// Weight of the image in the blend.
    #[schemars(range(min = 0.0, max = 1.0))]
    share: f64,
    /// Clean pairs for the overlays and the threshold: a share of the training rows if below 1,
    /// otherwise a number.
    #[schemars(range(min = 0.0001))]
    clean_pairs: f64,
}

impl Default for Strip {
    fn default() -> Self {
        Strip { overlays: 16, share: 0.5, clean_pairs: 0.033 }
    }
}

gauntlet::register!(
    dyn Defense,
    Strip,
    "strip",
    "at inference: rejects images whose class stays the same under any overlay; the model is plain CLIP's",
    "Gao et al., STRIP: A Defence Against Trojan Attacks on Deep Neural Networks, ACSAC 2019"
);

/// Mean entropy in nats of each image's class probabilities `[images]`, from logits
/// `[images x overlays, classes]`.
fn entropy(logits: &Tensor, overlays: i64) -> Tensor {
    let log = logits.log_softmax(-1, Kind::Float);
    let each = -(log.exp() * &log).sum_dim_intlist([1].as_slice(), false, Kind::Float);
    each.view([-1, overlays]).mean_dim([1].as_slice(), false, Kind::Float)
}

impl Defense for Strip {
    fn needs(&self) -> Needs {
        Needs { clean_pairs: self.clean_pairs, ..Needs::default() }
    }

    fn suspicion(&self, canvases: &Tensor, inference: &Inference) -> Result<Option<Tensor>> {
        let overlays = self.overlays.min(inference.clean.size()[0]);
        if overlays < 1 {
            return Err(Error::invalid("strip, key `clean_pairs`", "leaves no clean image for the overlays"));
        }
        let under = inference.clean.narrow(0, 0, overlays).to_kind(Kind::Float) * (1.0 - self.share);
        let over = canvases.to_kind(Kind::Float) * self.share;
        let blends = (over.unsqueeze(1) + under.unsqueeze(0)).round().clamp(0.0, 255.0).to_kind(Kind::Uint8);
        Ok(Some(-entropy(&(inference.classify)(&blends.flatten(0, 1)), overlays)))
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn equals_pytorch() {
        crate::golden::same("strip", |golden| super::entropy(&golden["logits"], 4));
    }
}
