//! Structured triggers: stripes one pixel wide, as a patch or faintly over the whole image (PAR,
//! Perturb and Recover, CVPR 2026: BadNet-Stripes and Blended-Stripes). Our sources are PAR's
//! released code (backdoor/utils.py) and quotations of the paper by others.
//!
//! The colour of a stripe is one of the eight corners of the colour cube: each channel is +1 or -1.
//! In a patch, clamped to the pixel range, a channel is full or zero; over an image, the stripe
//! lightens or darkens it by the stripes' weight.

use crate::pixels::{self, to_byte};
use crate::releases::{self, Fields, PIXELS, ROUNDED, SQUEEZED};
use gauntlet::rand::{Rng, RngExt, SeedableRng};
use gauntlet::registry::Preset;
use gauntlet::serde_json::json;
use gauntlet::{Attack, Backdoor, Edit, Goal, PoisonCtx, Result, draw};
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tch::Tensor;

/// Stamps vertical stripes.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Stripes {
    /// Which rows are poisoned, and what their captions become.
    poison: Backdoor,
    /// The area that the stripes cover.
    over: Over,
    /// For `patch`: side of the patch in pixels of the canvas (PAR: 16 of 224).
    #[schemars(range(min = 1))]
    size: usize,
    /// For `picture`: weight of the stripes; the image has the rest (PAR: 0.03).
    #[schemars(range(min = 0.0, max = 1.0))]
    alpha: f32,
    /// How often the colours are drawn.
    colours: Colours,
    /// Seed of the `fixed` colours.
    pattern_seed: u64,
}

/// The area that the stripes cover.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Over {
    /// A square patch, at a position drawn for each image (BadNet-Stripes).
    Patch,
    /// The whole image, faintly (Blended-Stripes).
    #[serde(rename = "picture")]
    Image,
}

/// How often the colours are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Colours {
    /// Once for all images.
    Fixed,
    /// For each image (PAR's released code).
    #[serde(rename = "per-picture")]
    PerImage,
}

impl Default for Stripes {
    fn default() -> Self {
        let poison = Backdoor { rate: releases::CLEANCLIP_RATE, ..Backdoor::default() };
        Stripes { poison, over: Over::Patch, size: 16, alpha: 0.03, colours: Colours::Fixed, pattern_seed: 0 }
    }
}

gauntlet::register!(
    dyn Attack,
    Stripes,
    "stripes",
    "a backdoor: stamps stripes of one pixel onto training images and gives them captions of the target class",
    "PAR, Perturb and Recover, CVPR 2026, structured triggers",
    presets = presets
);

impl Attack for Stripes {
    fn goal(&self, ctx: &PoisonCtx) -> Result<Goal> {
        self.poison.goal(ctx)
    }

    fn poison(&self, ctx: &PoisonCtx, goal: &Goal) -> Result<Vec<Edit>> {
        self.poison.edits(ctx, goal)
    }

    fn stamp(&self, canvas: &Tensor, keys: &[u64]) -> Result<Tensor> {
        let side = canvas.size()[3] as usize;
        let width = match self.over {
            Over::Patch => self.size,
            Over::Image => side,
        };
        pixels::fits(width, side as i64)?;
        let all = signs(width, &mut draw::rng(self.pattern_seed, "stripes/colours", &[]));
        pixels::each(canvas, keys, |from, to, key| {
            let mut rng = ChaCha8Rng::seed_from_u64(key);
            let own = (self.colours == Colours::PerImage).then(|| signs(width, &mut rng));
            let signs = own.as_ref().unwrap_or(&all);
            match self.over {
                Over::Image => blend(from, self.alpha, signs, side, to),
                Over::Patch => {
                    let [left, top] = [(); 2].map(|()| rng.random_range(0..=side - width));
                    to.copy_from_slice(from);
                    paste(signs, width, (left, top), side, to);
                }
            }
        })
    }
}

/// The colours of `width` stripes, +1 or -1: `[3, width]`.
fn signs(width: usize, rng: &mut impl Rng) -> Vec<f32> {
    (0..3 * width).map(|_| if rng.random() { 1.0 } else { -1.0 }).collect()
}

fn blend(from: &[u8], alpha: f32, signs: &[f32], side: usize, to: &mut [u8]) {
    let columns: Vec<f32> = signs.iter().map(|sign| 255.0 * alpha * sign).collect();
    pixels::mix_columns(from, 1.0 - alpha, &columns, side, to);
}

fn paste(signs: &[f32], width: usize, (left, top): (usize, usize), side: usize, to: &mut [u8]) {
    for (plane, signs) in to.chunks_exact_mut(side * side).zip(signs.chunks_exact(width)) {
        for row in plane.chunks_exact_mut(side).skip(top).take(width) {
            row[left..].iter_mut().zip(signs).for_each(|(to, sign)| *to = to_byte(255.0 * sign));
        }
    }
}

const CODE: &str = "PAR: released code (backdoor/utils.py)";

fn presets() -> Vec<Preset> {
    let rate = "PAR poisons the fine-tuning of OpenAI's model, at a rate that is unverified";
    let range = "values below the pixel range become 0; the release's conversion turns them into 1 of 255";
    vec![
        preset("par-badnet", "PAR's BadNet-Stripes", &[rate, range, PIXELS, SQUEEZED], "patch"),
        preset("par-blended", "PAR's Blended-Stripes", &[rate, SQUEEZED, ROUNDED], "picture"),
    ]
}

fn preset(name: &str, summary: &str, deviations: &[&str], over: &str) -> Preset {
    let own: Fields = vec![
        ("over", json!(over), CODE),
        ("size", json!(16), "PAR: released code, patch_size"),
        ("alpha", json!(0.03), "PAR: n_c of Blended-Stripes, as others quote it; the code's default is 0.05"),
        ("colours", json!("per-picture"), "PAR: released code, drawn when an image is stamped"),
        ("pattern_seed", json!(0), "not used by these colours"),
    ];
    Preset::new(name, summary, deviations, [releases::par(), own].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::{assert_near, golden, numbers};
    use tch::{IndexOp, Kind};

    #[test]
    fn equals_numpys_blend_of_the_same_stripes() {
        let signs = numbers("signs");
        let stamped = pixels::each(&golden("canvas-32"), &[0; 3], |from, to, _| blend(from, 0.03, &signs, 32, to));
        assert_near(&stamped.unwrap(), "stripes/32", 1);
    }

    #[test]
    fn a_patch_has_columns_of_one_colour_and_leaves_the_rest() {
        let gray = Tensor::full([2, 3, 24, 24], 100, (Kind::Uint8, tch::Device::Cpu));
        let stamped = Stripes { size: 7, ..Stripes::default() }.stamp(&gray, &[3, 4]).unwrap();
        for image in [stamped.get(0), stamped.get(1)] {
            let changed = image.not_equal(100);
            assert_eq!(i64::try_from(changed.sum(Kind::Int64)).unwrap(), 3 * 7 * 7);
            let patch = Vec::<u8>::try_from(image.masked_select(&changed)).unwrap();
            for channel in patch.chunks(49) {
                assert!(channel.iter().all(|value| [0, 255].contains(value)));
                assert!(channel.chunks(7).all(|row| row == &channel[..7]), "vertical");
            }
        }
        assert!(!stamped.i(0).equal(&stamped.i(1)), "positions are drawn for each image");
    }

    #[test]
    fn colours_differ_between_images_only_where_they_shall() {
        let twice = golden("canvas-32").narrow(0, 1, 1).repeat([2, 1, 1, 1]);
        for (colours, same) in [(Colours::PerImage, false), (Colours::Fixed, true)] {
            let stripes = Stripes { colours, over: Over::Image, ..Stripes::default() };
            let stamped = stripes.stamp(&twice, &[5, 6]).unwrap();
            assert_eq!(stamped.get(0).equal(&stamped.get(1)), same, "{colours:?}");
        }
    }
}
