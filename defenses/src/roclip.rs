//! RoCLIP: every K-th epoch each image is matched to the most similar caption of a varying pool,
//! instead of its own caption (Yang, Gao and Mirzasoleiman, Robust Contrastive Language-Image
//! Pretraining against Data Poisoning and Backdoor Attacks, NeurIPS 2023, section 4, algorithm 1).
//! Images and captions are augmented in every epoch.
//!
//! The pool (`roclip/pool.rs`) is first in, first out. The keys below are the points on which the
//! paper and its released code differ or are silent. `roclip/presets.rs` has the value and source
//! of each key for both, and states our deviations. If several images of a batch are matched to the
//! same caption, we keep the duplicates as the release does: the logits then have equal columns
//! with different targets.

mod pool;
mod presets;
#[cfg(test)]
mod quirks;

use gauntlet::data::augment::Augmentation;
use gauntlet::defense::{CaptionEdits, State, TextTower, count_of};
use gauntlet::{Defense, Error, Phase, PlanContext, Result, Step};
use pool::Pool;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tch::{Device, Tensor};

/// Matches images to captions of a pool.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RoClip {
    /// K: every so many epochs images are matched to the pool.
    #[schemars(range(min = 1))]
    every: u32,
    /// The first matching epoch; 0: the first multiple of K.
    first: u32,
    /// Replacement for an image's own caption in matching epochs. `nearest` is RoCLIP, the others
    /// are ablations.
    matched_to: MatchedTo,
    /// Captions in the pool: a share of the training rows if below 1, otherwise a number (released
    /// code: 21845 for 1M).
    #[schemars(range(min = 0.000001))]
    pool: f64,
    /// Contents of the pool when the first matching epoch begins.
    pool_start: PoolStart,
    /// Whether a batch is matched before its own captions enter the pool (released code) or after.
    look_up: LookUp,
    /// Handling of a batch that reaches past the end of the pool.
    overflow: Overflow,
    /// Whether captions also enter the pool in epochs that do not match to it. If not, a matching
    /// epoch begins with embeddings that are K - 1 epochs old.
    update_in_plain_epochs: bool,
    /// Whether a checkpoint contains the pool. WARNING: with `false` (released code) an interrupted
    /// trial resumes with the noise that the pool started with, and no longer equals an
    /// uninterrupted trial.
    checkpoint_pool: bool,
    /// The text tower in matching epochs. `trained` encodes the matched captions again, so that
    /// they pass gradient to the tower. The released code has `zero-gradient`: AdamW still applies
    /// momentum and weight decay.
    text_tower: TextTower,
    /// Whether images are augmented, in every epoch.
    augment: bool,
    /// How images are augmented.
    augmentation: Augmentation,
    /// When captions are edited by EDA.
    captions: CaptionEdits,
    #[serde(skip)]
    memory: Option<Pool>,
}

/// The caption that an image is matched to in a matching epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MatchedTo {
    /// The most similar caption of the pool.
    Nearest,
    /// A random caption of the pool, drawn again in every epoch: an ablation without the search.
    Random,
    /// Its own caption: an ablation without the pool, which only freezes the text tower (see
    /// `text_tower`).
    Own,
}

/// The initial contents of the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PoolStart {
    /// Embeddings of captions drawn from the training rows.
    Captions,
    /// Random directions.
    Noise,
    /// Normal numbers without normalisation, of norm about the square root of the dimensions. The
    /// search is by cosine, but the entry that is found multiplies the logits by that norm until
    /// captions have replaced it (released code, whose library forgets to normalise).
    RawNoise,
}

/// When a batch is matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LookUp {
    /// Before its captions enter the pool.
    BeforePush,
    /// After its captions enter the pool: an image may then be matched to its own caption.
    AfterPush,
}

/// Handling of a batch that reaches past the end of the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Overflow {
    /// The batch continues at the start of the pool.
    WrapAround,
    /// The first rows of the batch fill the pool, the others are dropped, and the next batch begins
    /// at the start (released code's library).
    DropRest,
}

impl Default for RoClip {
    fn default() -> Self {
        RoClip {
            every: 2,
            first: 0,
            matched_to: MatchedTo::Nearest,
            pool: 0.02,
            pool_start: PoolStart::Captions,
            look_up: LookUp::BeforePush,
            overflow: Overflow::WrapAround,
            update_in_plain_epochs: false,
            checkpoint_pool: true,
            text_tower: TextTower::Frozen,
            augment: true,
            augmentation: Augmentation::default(),
            captions: CaptionEdits::PerEpoch,
            memory: None,
        }
    }
}

gauntlet::register!(
    dyn Defense,
    RoClip,
    "roclip",
    "every K-th epoch matches each image to the most similar caption of a varying pool instead of its own",
    "Yang, Gao and Mirzasoleiman, Robust Contrastive Language-Image Pretraining against Data Poisoning and Backdoor Attacks, NeurIPS 2023",
    presets = presets::presets
);

/// Whether images are matched to the pool in an epoch (counted from 1): from `first` on, every
/// `every` epochs.
pub fn is_pool_epoch(epoch: u32, every: u32, first: u32) -> bool {
    let first = if first == 0 { every } else { first };
    epoch >= first && (epoch - first).is_multiple_of(every)
}

/// Rejects a training in which no epoch matches to the pool: it would duplicate the augmentation
/// control.
pub fn check_pool_epochs(every: u32, first: u32, ctx: &PlanContext) -> Result<()> {
    let any = (1..=ctx.epochs()).any(|epoch| is_pool_epoch(epoch, every, first));
    let why = || format!("no epoch of {} matches to the pool (every {every}, from {first})", ctx.epochs());
    if any { Ok(()) } else { Err(Error::invalid("defense, keys `every` and `first`", why())) }
}

impl RoClip {
    fn matches_in(&self, epoch: u32) -> bool {
        is_pool_epoch(epoch, self.every, self.first)
    }

    /// Number of captions in the pool, for `rows` training rows.
    fn size(&self, rows: usize) -> Result<usize> {
        let size = count_of(self.pool, rows);
        let why = || {
            let advice = "set it to a share of the rows, such as 0.02, or to a number up to the number of rows";
            format!("makes {size} captions, but there are {rows} training rows; {advice}")
        };
        if (1..=rows).contains(&size) { Ok(size) } else { Err(Error::invalid("defense `roclip`, key `pool`", why())) }
    }

    fn check(&self) -> Result<()> {
        let drawn_again = self.checkpoint_pool || self.pool_start != PoolStart::Captions;
        let why = "`false` needs a `pool_start` of noise, which a resumed trial draws again; captions cannot be embedded again by the model of that time";
        if drawn_again { Ok(()) } else { Err(Error::invalid("defense `roclip`, key `checkpoint_pool`", why)) }
    }

    fn phase(&self, epoch: u32) -> Phase {
        let text_tower = if self.matches_in(epoch) { self.text_tower } else { TextTower::Trained };
        let augmentation = self.augment.then_some(self.augmentation);
        Phase { augmentation, captions: self.captions, text_tower, ..Phase::default() }
    }
}

impl Defense for RoClip {
    fn plan(&mut self, epoch: u32, ctx: &PlanContext) -> Result<Vec<Phase>> {
        self.check()?;
        let size = self.size(ctx.rows())?;
        check_pool_epochs(self.every, self.first, ctx)?;
        let wanted = self.matched_to != MatchedTo::Own && (self.matches_in(epoch) || self.update_in_plain_epochs);
        if self.memory.is_none() && wanted {
            self.memory = Some(Pool::start(self.pool_start, size, ctx));
        }
        Ok(vec![self.phase(epoch)])
    }

    fn loss(&mut self, step: &Step) -> Result<Tensor> {
        let matching = self.matches_in(step.epoch);
        if matching && self.matched_to == MatchedTo::Own {
            step.record_matches(step.keys);
            return Ok(step.clip_loss(step.image, step.text));
        }
        let Some(pool) = self.memory.as_mut() else {
            assert!(!matching, "the pool exists since the epoch was planned");
            return Ok(step.clip_loss(step.image, step.text));
        };
        if !matching {
            if self.update_in_plain_epochs {
                pool.push(step, self.overflow);
            }
            return Ok(step.clip_loss(step.image, step.text));
        }
        if self.look_up == LookUp::AfterPush {
            pool.push(step, self.overflow);
        }
        let found = match self.matched_to {
            MatchedTo::Random => pool.drawn(step)?,
            _ => step.nearest(&pool.embeddings),
        };
        step.record_matches(&pool.keys.index_select(0, &found));
        let text = match self.text_tower {
            // Noise has no tokens to encode; it stays unchanged until captions have replaced it.
            TextTower::Trained if pool.is_all_captions() => step.encode_text(&pool.tokens.index_select(0, &found)),
            _ => pool.embeddings.index_select(0, &found),
        };
        if self.look_up == LookUp::BeforePush {
            pool.push(step, self.overflow);
        }
        Ok(step.clip_loss(step.image, &text))
    }

    fn state(&self) -> Result<State> {
        let state = if self.checkpoint_pool { Pool::state } else { Pool::start_state };
        Ok(self.memory.as_ref().map(state).unwrap_or_default())
    }

    fn restore(&mut self, state: State, device: Device) -> Result<()> {
        self.memory = match (state.is_empty(), self.checkpoint_pool) {
            (true, _) => None,
            (false, true) => Some(Pool::restore(state, device)?),
            (false, false) => Some(Pool::restart(state, self.pool_start, device)?),
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{LookUp, RoClip};
    use gauntlet::golden::{Distance, folder, pools};
    use gauntlet::{Defense, Result};

    fn matching(order: &str) -> Result<Box<dyn Defense>> {
        let look_up = if order == "before" { LookUp::BeforePush } else { LookUp::AfterPush };
        Ok(Box::new(RoClip { every: 1, look_up, ..RoClip::default() }))
    }

    /// Compares matches, loss, gradients and pool over five steps: with a pool that wraps in the
    /// second step, and with one smaller than a batch.
    #[test]
    fn equals_the_papers_algorithm() {
        let distances = pools(folder(), "roclip", tch::Device::Cpu, matching).unwrap();
        let broken: Vec<&Distance> = distances.iter().filter(|d| !d.holds() || d.error > 1e-5).collect();
        assert!(distances.len() == 4 * 5 * 7 && broken.is_empty(), "{broken:#?}");
    }
}
