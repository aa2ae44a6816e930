//! The `[recipe]` table: how every model of a suite is trained.

mod decay;
mod precision;
pub mod preset;
pub mod schedule;

pub use decay::Decay;
pub use precision::Precision;
pub use schedule::Schedule;

use crate::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How every model of a suite is trained: the `[recipe]` table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Recipe {
    /// Passes over the training data.
    #[schemars(range(min = 1))]
    pub epochs: u32,
    /// Rows per step; the last rows of an epoch that do not fill a step are dropped.
    #[schemars(range(min = 2))]
    pub batch: usize,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Steps of linear warm-up.
    pub warmup_steps: u64,
    /// Learning rate schedule.
    pub schedule: Schedule,
    /// Weight decay of the parameters that `decay` selects.
    pub weight_decay: f64,
    /// Parameters that have weight decay.
    pub decay: Decay,
    /// AdamW's beta1 and beta2.
    pub betas: [f64; 2],
    /// AdamW's epsilon.
    pub epsilon: f64,
    /// Whether logits and similarities to a pool are rounded to f16, as PyTorch's autocast does;
    /// the towers stay in f32.
    pub half_logits: bool,
    /// Maximum L2 norm of all gradients together; larger gradients are scaled down to it. 0: no
    /// clipping.
    #[schemars(range(min = 0.0))]
    pub clip_norm: f64,
    /// Precision of the towers in training; everything else, evaluation included, is 32-bit.
    pub precision: Precision,
    /// Initial weights (a safetensors file with open_clip's names); empty: drawn from the seed.
    pub init: String,
    /// Steps between checkpoints; 0: one at the end of each epoch.
    pub checkpoint_steps: u64,
    /// Whether to keep the last checkpoint of a finished trial. It holds the optimizer's state
    /// besides the weights, three times their size, and nothing resumes from it. Default: it is
    /// removed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schemars(extend("default" = false))]
    pub keep_checkpoint: bool,
}

impl Recipe {
    /// Checks the ranges of its numbers.
    ///
    /// # Errors
    /// Names the key, and says what it must be.
    pub fn check(&self) -> Result<()> {
        let at_least_0 = |number: f64| number.is_finite() && number >= 0.0;
        match () {
            () if self.batch < 2 => wrong("batch", "must be at least 2: the loss of a single pair is constant"),
            () if !(self.learning_rate.is_finite() && self.learning_rate > 0.0) => {
                wrong("learning_rate", "must be greater than 0")
            }
            () if !self.betas.iter().all(|beta| (0.0..1.0).contains(beta)) => {
                wrong("betas", "must be at least 0 and less than 1")
            }
            () if !at_least_0(self.clip_norm) => wrong("clip_norm", "must be 0 or greater"),
            () if !at_least_0(self.weight_decay) => wrong("weight_decay", "must be 0 or greater"),
            () if !at_least_0(self.epsilon) => wrong("epsilon", "must be 0 or greater"),
            () if self.epochs < 1 => wrong("epochs", "must be at least 1"),
            () => Ok(()),
        }
    }
}

fn wrong(key: &str, why: &str) -> Result<()> {
    Err(Error::invalid(format!("key `recipe.{key}`"), why))
}

impl Default for Recipe {
    fn default() -> Self {
        Recipe {
            epochs: 24,
            batch: 512,
            learning_rate: 5e-5,
            warmup_steps: 10_000,
            schedule: Schedule::Cosine,
            weight_decay: 0.1,
            decay: Decay::OpenClip,
            betas: [0.9, 0.999],
            epsilon: 1e-8,
            half_logits: false,
            clip_norm: 0.0,
            precision: Precision::Fp32,
            init: String::new(),
            checkpoint_steps: 0,
            keep_checkpoint: false,
        }
    }
}
