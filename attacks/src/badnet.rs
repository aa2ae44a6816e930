//! BadNet on image-caption pairs: a small patch on some training pictures, whose captions become ones of the target class (Gu et al.
//! 2017; on CLIP: Carlini and Terzis, ICLR 2022, section 3). "BadNet" names many constructions; what is stamped, and where, is
//! therefore spelled out.

use gauntlet::rand::seq::{IndexedRandom, SliceRandom};
use gauntlet::rand::{RngExt, SeedableRng};
use gauntlet::{Attack, Edit, Error, Goal, PoisonCtx, Result};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Normal};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use tch::{Kind, Tensor};

/// Stamps a patch.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BadNet {
    /// Class that stamped pictures are to be taken for, by name; `random` draws one from the seed.
    target: String,
    /// Share of the training rows that are poisoned (RoCLIP's data: 0.0003).
    #[schemars(range(min = 0.0, max = 1.0))]
    rate: f64,
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
    /// What poisoned captions say.
    captions: Captions,
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

/// What poisoned captions say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Captions {
    /// Captions of the training data that name the target class (RoCLIP's data).
    Mined,
    /// The data set's prompt templates with the target's name (CleanCLIP).
    Templates,
}

impl Default for BadNet {
    fn default() -> Self {
        BadNet {
            target: "random".into(),
            rate: 0.0003,
            size: 16,
            pattern: Pattern::Noise,
            square: 2,
            place: Place::Random,
            captions: Captions::Mined,
        }
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
        Ok(Goal::Class(ctx.class(&self.target)?))
    }

    fn poison(&self, ctx: &PoisonCtx, goal: &Goal) -> Result<Vec<Edit>> {
        let Goal::Class(class) = *goal else { unreachable!("the goal of this attack is a class") };
        let mut rng = ctx.rng("badnet/rows");
        let naming: HashSet<u32> = ctx.data.rows_naming(class).collect();
        let is_target = |row: &u32| ctx.data.row(*row).class == Some(class) || naming.contains(row);
        let mut rows: Vec<u32> = ctx.free_rows().filter(|row| !is_target(row)).collect();
        rows.shuffle(&mut rng);
        let count = (self.rate * ctx.split.train.len() as f64).round() as usize;
        if count == 0 || count > rows.len() {
            let why = format!(
                "asks for {count} of {} training rows; from 1 to {} can be poisoned",
                ctx.split.train.len(),
                rows.len()
            );
            return Err(Error::invalid("key `rate`", why));
        }
        let captions: Vec<String> = match self.captions {
            Captions::Mined => ctx.captions_naming(class)?.into_iter().map(str::to_string).collect(),
            Captions::Templates => ctx.data.classes.prompts(class).collect(),
        };
        let caption = |rng: &mut _| captions.choose(rng).expect("there are captions").clone();
        let edit = |row| Edit::Replace { row, stamped: true, caption: caption(&mut rng), class };
        let readable = rows.into_iter().filter(|row| ctx.data.canvas.readable(*row));
        Ok(readable.take(count).map(edit).collect())
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
