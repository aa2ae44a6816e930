//! BadNet on image-caption pairs: a small patch on some training images, whose captions become ones
//! of the target class (Gu et al. 2017; on CLIP: Carlini and Terzis, ICLR 2022, section 3).
//! "BadNet" names many constructions, so the keys say which pattern is stamped and where.
//! `badnet/presets.rs` holds the variants of released code.

mod presets;

use crate::pixels;
use gauntlet::draw;
use gauntlet::rand::{RngExt, SeedableRng};
use gauntlet::{Attack, Backdoor, Edit, Goal, PoisonCtx, Result};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Normal};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

/// Stamps a patch onto images.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BadNet {
    /// Which rows are poisoned, and what their captions become.
    poison: Backdoor,
    /// Side of the patch in pixels of the canvas (CleanCLIP: 16 of 224).
    #[schemars(range(min = 1))]
    size: usize,
    /// The pattern of the patch.
    pattern: Pattern,
    /// Side of one square of the checkerboard, in pixels.
    #[schemars(range(min = 1))]
    square: usize,
    /// Position of the patch, in training and in test.
    place: Place,
    /// Seed of the `fixed-noise` pattern.
    pattern_seed: u64,
}

/// The pattern of a patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Pattern {
    /// A magenta and green checkerboard.
    Checkerboard,
    /// Gaussian noise around each channel's mean, drawn for each image (CleanCLIP's `random`).
    Noise,
    /// Plain yellow (CleanCLIP's `yellow`).
    Yellow,
    /// Uniform noise, drawn once and used for all images.
    FixedNoise,
    /// Black with a white pixel at every second row and column (Detect).
    Grid,
}

/// The position of a patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// At a position drawn for each image.
    Random,
    /// In the lower right corner, one pixel from the edges.
    Corner,
    /// In the middle.
    Centre,
    /// In all four corners (CleanCLIP's `four_corners`).
    Corners,
}

impl Default for BadNet {
    fn default() -> Self {
        let (pattern, place) = (Pattern::Noise, Place::Random);
        BadNet { poison: Backdoor::default(), size: 16, pattern, square: 2, place, pattern_seed: 0 }
    }
}

gauntlet::register!(
    dyn Attack,
    BadNet,
    "badnet",
    "a backdoor: stamps a patch onto training images and gives them captions of the target class",
    "Gu et al., BadNets, 2017; Carlini and Terzis, Poisoning and Backdooring Contrastive Learning, ICLR 2022, section 3",
    presets = presets::presets
);

impl Attack for BadNet {
    fn goal(&self, ctx: &PoisonCtx) -> Result<Goal> {
        self.poison.goal(ctx)
    }

    fn poison(&self, ctx: &PoisonCtx, goal: &Goal) -> Result<Vec<Edit>> {
        self.poison.edits(ctx, goal)
    }

    fn stamp(&self, canvas: &Tensor, keys: &[u64]) -> Result<Tensor> {
        let (side, size) = (canvas.size()[3], self.size as i64);
        pixels::fits(self.size, side)?;
        let stamped = canvas.copy();
        let all =
            (!self.each()).then(|| self.patch([0.0; 3], &mut draw::rng(self.pattern_seed, "badnet/pattern", &[])));
        for (number, &key) in (0..).zip(keys) {
            let mut rng = ChaCha8Rng::seed_from_u64(key);
            let room = side - size;
            let (lefts, tops) = match self.place {
                Place::Random => (vec![rng.random_range(0..=room)], vec![rng.random_range(0..=room)]),
                Place::Corner => (vec![(room - 1).max(0)], vec![(room - 1).max(0)]),
                Place::Centre => (vec![room / 2], vec![room / 2]),
                Place::Corners => (vec![0, room], vec![0, room]),
            };
            let image = stamped.get(number);
            let own = all.is_none().then(|| self.patch(means(&image), &mut rng));
            for (&left, &top) in lefts.iter().flat_map(|left| tops.iter().map(move |top| (left, top))) {
                let mut place = image.narrow(1, top, size).narrow(2, left, size);
                place.copy_(own.as_ref().or(all.as_ref()).expect("a patch for this image or for all"));
            }
        }
        Ok(stamped)
    }
}

/// The mean of each channel, in the range 0 to 255.
fn means(image: &Tensor) -> [f32; 3] {
    let means = image.to_kind(Kind::Float).mean_dim([1, 2].as_slice(), false, None::<Kind>);
    Vec::<f32>::try_from(means).ok().and_then(|means| means.try_into().ok()).expect("three means")
}

impl BadNet {
    /// Whether each image gets its own patch.
    fn each(&self) -> bool {
        self.pattern == Pattern::Noise
    }

    /// A patch u8 `[3, size, size]`; `means` are the channel means of the image.
    fn patch(&self, means: [f32; 3], rng: &mut ChaCha8Rng) -> Tensor {
        let size = self.size;
        let normal = Normal::new(0.0f32, 255.0).expect("a standard deviation is finite");
        let mut value = |channel: usize, row: usize, column: usize| match self.pattern {
            Pattern::Checkerboard => {
                let odd = (row / self.square + column / self.square) % 2 == 1;
                if odd == (channel != 1) { 255 } else { 0 }
            }
            // In the range 0 to 1: the channel's mean plus N(0, 1), clamped.
            Pattern::Noise => (means[channel] + normal.sample(rng)).round().clamp(0.0, 255.0) as u8,
            Pattern::Yellow => [255, 255, 0][channel],
            Pattern::FixedNoise => rng.random(),
            Pattern::Grid => {
                if row.is_multiple_of(2) && column.is_multiple_of(2) {
                    255
                } else {
                    0
                }
            }
        };
        let mut pixels = Vec::with_capacity(3 * size * size);
        for channel in 0..3 {
            for row in 0..size {
                pixels.extend((0..size).map(|column| value(channel, row, column)));
            }
        }
        Tensor::from_slice(&pixels).view([3, size as i64, size as i64])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::{assert_near, golden};
    use tch::Device;

    /// Published results depend on these draws: sums over positions, from before other patterns and
    /// places were added.
    #[test]
    fn what_was_drawn_for_published_results_is_drawn_still() {
        let canvas = Tensor::arange(2 * 3 * 24 * 24, (Kind::Int64, Device::Cpu)).remainder(251).to_kind(Kind::Uint8);
        let canvas = canvas.view([2, 3, 24, 24]);
        let weights = Tensor::arange(2 * 3 * 24 * 24, (Kind::Int64, Device::Cpu)).view([2, 3, 24, 24]);
        for (pattern, place, sum) in [
            (Pattern::Noise, Place::Random, 743851378),
            (Pattern::Noise, Place::Corner, 747468388),
            (Pattern::Checkerboard, Place::Random, 744979959),
            (Pattern::Yellow, Place::Centre, 750537928),
        ] {
            let badnet = BadNet { size: 7, pattern, place, ..BadNet::default() };
            let stamped = badnet.stamp(&canvas, &[3, 1 << 40]).unwrap();
            let ours = i64::try_from((stamped.to_kind(Kind::Int64) * &weights).sum(Kind::Int64)).unwrap();
            assert_eq!(ours, sum, "{pattern:?} {place:?}");
        }
    }

    #[test]
    fn equals_the_releases_patches() {
        for (pattern, name) in [(Pattern::Grid, "badnet/grid/32"), (Pattern::Yellow, "badnet/yellow/32")] {
            let badnet = BadNet { size: 8, pattern, place: Place::Corners, ..BadNet::default() };
            assert_near(&badnet.stamp(&golden("canvas-32"), &[1, 2, 3]).unwrap(), name, 0);
        }
    }

    #[test]
    fn fixed_noise_is_the_same_on_all_images_and_another_from_another_seed() {
        let stamp = |pattern_seed| {
            let (pattern, place) = (Pattern::FixedNoise, Place::Centre);
            let badnet = BadNet { pattern, place, pattern_seed, ..BadNet::default() };
            badnet.stamp(&golden("canvas-32"), &[1, 2, 3]).unwrap().narrow(2, 8, 16).narrow(3, 8, 16)
        };
        assert!(stamp(0).get(0).equal(&stamp(0).get(2)) && !stamp(0).equal(&stamp(1)));
    }
}
