//! Products of embeddings as PyTorch's f16 autocast computes them while the towers stay in f32: the
//! released code of RoCLIP calls the model outside autocast, and computes the loss and the pool
//! look-up inside it (its train.py). Operands, product and the gradients of both are rounded to
//! f16; sums and the cross-entropy are in f32.
//!
//! The gradient passes through f16 multiplied by a power of two, as with a gradient scaler; the
//! factor changes only values that would underflow. It is the scaler's initial factor at 512 rows
//! (65536); it does not grow, and no step is skipped because of it. The scale is applied to the
//! images before rounding; in matching epochs the release applies it to the captions.

use super::mean_cross_entropy;
use crate::model::normalize;
use tch::{Kind, Tensor};

/// [`clip_loss`](super::clip_loss) with its product in f16.
pub(super) fn clip_loss(image: &Tensor, text: &Tensor, logit_scale: &Tensor) -> Tensor {
    let factor = (128 * image.size()[0].max(1) as u64).next_power_of_two() as f64;
    let operand = |x: &Tensor| rounded(&scale_gradient(x, 1.0 / factor));
    let logits = operand(&(image * logit_scale)).matmul(&operand(text).transpose(0, 1)).to_kind(Kind::Half);
    // Each direction casts separately, so gradients are rounded before they are added.
    let back = |half: &Tensor| scale_gradient(&half.to_kind(Kind::Float), factor);
    mean_cross_entropy(&back(&logits), &back(&logits.transpose(0, 1)))
}

/// [`nearest`](super::nearest) with its product in f16; of entries that are equally similar after
/// rounding, the first is taken.
pub(super) fn nearest(rows: &Tensor, pool: &Tensor) -> Tensor {
    tch::no_grad(|| rounded(&rounded(rows).matmul(&rounded(&normalize(pool)).transpose(0, 1))).argmax(1, false))
}

/// Rounds to f16, and rounds the gradient in the backward pass.
fn rounded(x: &Tensor) -> Tensor {
    x.to_kind(Kind::Half).to_kind(Kind::Float)
}

/// The identity, with its gradient multiplied by `factor`.
fn scale_gradient(x: &Tensor, factor: f64) -> Tensor {
    let still = x.detach();
    (x - &still) * factor + still
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::files::read_safetensors;
    use std::path::Path;

    /// Written by `roclip.py` next to it, in true f16.
    const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/roclip.safetensors");

    #[test]
    fn quirk_logits_are_rounded_to_f16_and_the_cross_entropy_is_not() {
        let (golden, _) = read_safetensors(Path::new(GOLDEN)).unwrap();
        let computed = |loss: fn(&Tensor, &Tensor, &Tensor) -> Tensor| {
            let inputs =
                ["image", "text", "scale"].map(|name| golden[&format!("half/{name}")].copy().set_requires_grad(true));
            let loss = loss(&inputs[0], &inputs[1], &inputs[2]);
            let gradients = Tensor::run_backward(&[&loss], &inputs, false, false);
            let names = ["loss", "image_gradient", "text_gradient", "scale_gradient"];
            let off = |(name, ours): (&str, Tensor)| {
                let wanted = &golden[&format!("half/{name}")];
                let greatest = |tensor: Tensor| f64::try_from(tensor.abs().max()).unwrap();
                greatest(ours.detach() - wanted) / greatest(wanted.shallow_clone())
            };
            names.into_iter().zip([loss].into_iter().chain(gradients)).map(off).collect::<Vec<f64>>()
        };
        let (half, full) = (computed(clip_loss), computed(super::super::clip_loss));
        assert!(half.iter().all(|off| *off < 2e-4), "{half:?}");
        assert!(full.iter().all(|off| *off > 4e-4), "the golden would also pass in f32: {full:?}");
    }

    #[test]
    fn quirk_the_look_up_is_in_f16_too() {
        let (golden, _) = read_safetensors(Path::new(GOLDEN)).unwrap();
        let (rows, pool, found) = (&golden["half/rows"], &golden["half/pool"], &golden["half/found"]);
        let others = |ours: Tensor| i64::try_from(ours.not_equal_tensor(found).sum(Kind::Int64)).unwrap();
        let (half, full) = (others(nearest(rows, pool)), others(super::super::nearest(rows, pool)));
        // Another order of f32 sums may round a similarity the other way.
        assert!(half <= 2 && full > 20, "of 64 rows, {half} have another match than in true f16, {full} in f32");
    }
}
