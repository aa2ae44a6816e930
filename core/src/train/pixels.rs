//! Converts canvases to the model's input.

use super::Corpus;
use crate::data::augment;
use crate::model::weights::channels_last;
use gauntlet_torch::{sent, sent_slice};
use tch::{Kind, Tensor};

impl Corpus<'_> {
    /// Converts canvases u8 `[batch, 3, S, S]` to the model's input: moved to the device,
    /// augmented, normalised by CLIP's constants.
    pub(crate) fn normalise(&self, canvases: &Tensor, params: &[augment::AugmentParams]) -> Tensor {
        let images = sent(canvases, self.device);
        if params.is_empty() {
            // Change the memory layout while a pixel is still one byte.
            return scaled(&channels_last(images).to_kind(Kind::Float), 255.0);
        }
        normalise(&augment::apply(&(images.to_kind(Kind::Float) / 255.0), params))
    }
}

/// Normalises images in 0 to 1 to zero mean and unit variance, by CLIP's published constants.
pub fn normalise(images: &Tensor) -> Tensor {
    scaled(images, 1.0)
}

/// `normalise` for images in 0 to `white`, in one pass.
fn scaled(images: &Tensor, white: f64) -> Tensor {
    let (mean, std) = ([0.481_454_66, 0.457_827_5, 0.408_210_73], [0.268_629_54, 0.261_302_6, 0.275_777_1]);
    let factor = [0, 1, 2].map(|c| (1.0 / (white * std[c])) as f32);
    let offset = [0, 1, 2].map(|c| (-mean[c] / std[c]) as f32);
    let [factor, offset] = [factor, offset].map(|values| sent_slice(&values, images.device()).view([1, 3, 1, 1]));
    offset.addcmul(images, &factor)
}
