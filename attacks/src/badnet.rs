//! BadNet on image-caption pairs: a small patch on some training pictures, whose captions become ones of the target class (Gu et al.
//! 2017; on CLIP: Carlini and Terzis, ICLR 2022, section 3). "BadNet" names many constructions; what is stamped, and where, is
//! therefore spelled out.

use gauntlet::rand::{RngExt, SeedableRng};
use gauntlet::{Attack, Backdoor, Edit, Error, Goal, PoisonCtx, Result};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Normal};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

/// Stamps a patch.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BadNet {
    /// Whom it hits, and what their captions become.
    poison: Backdoor,
    /// Side of the patch in pixels of the canvas (CleanCLIP: 16 of 224).
    #[schemars(range(min = 1))]
    size: usize,
    /// What is stamped.
    pattern: Pattern,
    /// Side of a square of the checkerboard in pixels.
    #[schemars(range(min = 1))]
    square: usize,
    /// Where it is stamped, in training and in test.
    place: Place,
}

/// What is stamped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Pattern {
    /// A magenta and green checkerboard.
    Checkerboard,
    /// Gaussian noise around each channel's mean, drawn for each picture (CleanCLIP's `random`).
    Noise,
    /// Plain yellow (CleanCLIP's `yellow`).
    Yellow,
}

/// Where the patch goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// Drawn for each picture.
    Random,
    /// The lower right corner, one pixel from the edges.
    Corner,
    /// The middle.
    Centre,
}

impl Default for BadNet {
    fn default() -> Self {
        BadNet { poison: Backdoor::default(), size: 16, pattern: Pattern::Noise, square: 2, place: Place::Random }
    }
}

gauntlet::register!(
    dyn Attack,
    BadNet,
    "badnet",
    "a backdoor: stamps a patch onto training pictures and gives them captions of the target class",
    "Gu et al., BadNets, 2017; Carlini and Terzis, Poisoning and Backdooring Contrastive Learning, ICLR 2022, section 3"
);

impl Attack for BadNet {
    fn goal(&self, ctx: &PoisonCtx) -> Result<Goal> {
        self.poison.goal(ctx)
    }

    fn poison(&self, ctx: &PoisonCtx, goal: &Goal) -> Result<Vec<Edit>> {
        let Goal::Class(class) = *goal else { unreachable!("the goal of this attack is a class") };
        self.poison.edits(ctx, class)
    }

    fn stamp(&self, canvas: &Tensor, keys: &[u64]) -> Result<Tensor> {
        let (side, size) = (canvas.size()[3], self.size as i64);
        if size > side {
            return Err(Error::invalid("key `size`", format!("is {size}, and pictures are {side} pixels wide")));
        }
        let stamped = canvas.copy();
        for (number, &key) in keys.iter().enumerate() {
            let mut rng = ChaCha8Rng::seed_from_u64(key);
            let (left, top) = match self.place {
                Place::Random => (rng.random_range(0..=side - size), rng.random_range(0..=side - size)),
                Place::Corner => ((side - size - 1).max(0), (side - size - 1).max(0)),
                Place::Centre => ((side - size) / 2, (side - size) / 2),
            };
            let picture = stamped.get(number as i64);
            let patch = self.patch(&picture, &mut rng);
            picture.narrow(1, top, size).narrow(2, left, size).copy_(&patch);
        }
        Ok(stamped)
    }
}

impl BadNet {
    /// The patch for one picture u8 `[3, S, S]`: u8 `[3, size, size]`.
    fn patch(&self, picture: &Tensor, rng: &mut ChaCha8Rng) -> Tensor {
        let size = self.size;
        let means = picture.to_kind(Kind::Float).mean_dim([1, 2].as_slice(), false, None::<Kind>);
        let means = Vec::<f32>::try_from(means).expect("three means");
        let normal = Normal::new(0.0f32, 255.0).expect("a standard deviation is finite");
        let mut value = |channel: usize, row: usize, column: usize| match self.pattern {
            Pattern::Checkerboard => {
                let odd = (row / self.square + column / self.square) % 2 == 1;
                if odd == (channel != 1) { 255 } else { 0 }
            }
            // In the unit range: the channel's mean plus N(0, 1), clamped.
            Pattern::Noise => (means[channel] + normal.sample(rng)).round().clamp(0.0, 255.0) as u8,
            Pattern::Yellow => [255, 255, 0][channel],
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
