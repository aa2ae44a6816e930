//! RoCLIP: every K-th epoch each picture is matched to the most similar caption of a varying pool, not to its own
//! (Yang, Gao and Mirzasoleiman, Robust Contrastive Language-Image Pretraining against Data Poisoning and Backdoor Attacks,
//! NeurIPS 2023, section 4, algorithm 1). Pictures and captions are augmented in every epoch.
//!
//! The pool is first in, first out. Each knob below is one on which the paper and its released code differ or are silent.

use gauntlet::data::augment::Augmentation;
use gauntlet::defense::{CaptionEdits, State, TextTower, clip_loss, nearest, pad};
use gauntlet::draw::Rng;
use gauntlet::model::normalize;
use gauntlet::{Bench, Defense, Error, Phase, Result, Step};
use rand_distr::{Distribution, StandardNormal};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tch::{Device, Tensor};

/// RoCLIP.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RoClip {
    /// K: every how many epochs pictures are matched to the pool.
    #[schemars(range(min = 1))]
    every: u32,
    /// The first epoch in which they are; 0: the first multiple of K.
    first: u32,
    /// Captions in the pool: a share of the training rows below 1, or a number (paper: 2%; released code: 21845 for 1M).
    #[schemars(range(min = 0.000001))]
    pool: f64,
    /// What the pool holds when the first matching epoch begins.
    pool_start: PoolStart,
    /// Whether a batch is looked up before its own captions enter the pool (released code) or after.
    look_up: LookUp,
    /// Whether the pool also takes in the captions of epochs that do not match to it.
    update_in_plain_epochs: bool,
    /// The text tower in matching epochs. `trained` encodes the matched captions anew, so that the gradient reaches it through
    /// them; the released code has `zero-gradient`, which AdamW still answers with momentum and weight decay.
    text_tower: TextTower,
    /// Whether pictures are augmented, in every epoch.
    augment: bool,
    /// How pictures are augmented.
    augmentation: Augmentation,
    /// When captions are edited by EDA.
    captions: CaptionEdits,
    #[serde(skip)]
    memory: Option<Pool>,
}

/// What the pool holds at first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PoolStart {
    /// Embeddings of captions drawn from the training rows.
    Captions,
    /// Random directions (released code, but for its missing normalisation).
    Noise,
}

/// When a batch is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LookUp {
    /// Before its captions enter the pool.
    BeforePush,
    /// After: a picture may then be matched to its own caption.
    AfterPush,
}

impl Default for RoClip {
    fn default() -> Self {
        RoClip {
            every: 2,
            first: 0,
            pool: 0.02,
            pool_start: PoolStart::Captions,
            look_up: LookUp::BeforePush,
            update_in_plain_epochs: false,
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
    "every K-th epoch matches each picture to the most similar caption of a varying pool, not to its own",
    "Yang, Gao and Mirzasoleiman, Robust Contrastive Language-Image Pretraining against Data Poisoning and Backdoor Attacks, NeurIPS 2023"
);

/// Whether pictures are matched to the pool in an epoch (counted from 1): from `first` on, every `every` epochs.
pub fn is_pool_epoch(epoch: u32, every: u32, first: u32) -> bool {
    let first = if first == 0 { every } else { first };
    epoch >= first && (epoch - first).is_multiple_of(every)
}

/// A training in which no epoch matches to the pool would be the augmentation control under another name.
pub fn check_pool_epochs(every: u32, first: u32, bench: &Bench) -> Result<()> {
    let any = (1..=bench.epochs()).any(|epoch| is_pool_epoch(epoch, every, first));
    let why = || format!("no epoch of {} matches to the pool (every {every}, from {first})", bench.epochs());
    if any { Ok(()) } else { Err(Error::invalid("defense, keys `every` and `first`", why())) }
}

impl RoClip {
    fn matches_in(&self, epoch: u32) -> bool {
        is_pool_epoch(epoch, self.every, self.first)
    }

    /// Captions that the pool holds.
    fn size(&self, bench: &Bench) -> Result<usize> {
        let size = if self.pool < 1.0 { (self.pool * bench.rows() as f64).round() } else { self.pool } as usize;
        let why = || format!("makes {size} captions, and there are {} training rows", bench.rows());
        if (1..=bench.rows()).contains(&size) {
            Ok(size)
        } else {
            Err(Error::invalid("defense `roclip`, key `pool`", why()))
        }
    }

    /// The pool as it starts.
    fn fill(&self, bench: &Bench) -> Result<Pool> {
        let size = self.size(bench)?;
        Ok(match self.pool_start {
            PoolStart::Captions => {
                let captions = bench.captions(size, "roclip/pool");
                Pool { embeddings: captions.embeddings, keys: captions.keys, tokens: captions.tokens, next: 0 }
            }
            PoolStart::Noise => {
                let noise = noise(size as i64 * bench.dimensions(), &mut bench.rng("roclip/noise", &[]));
                let embeddings = normalize(&noise.view([size as i64, bench.dimensions()])).to_device(bench.device());
                let integers = (tch::Kind::Int64, bench.device());
                let keys = Tensor::full([size as i64], -1, integers);
                let tokens = Tensor::zeros([size as i64, bench.context_length()], integers);
                Pool { embeddings, keys, tokens, next: 0 }
            }
        })
    }
}

fn noise(count: i64, rng: &mut Rng) -> Tensor {
    let values: Vec<f32> = (0..count).map(|_| StandardNormal.sample(rng)).collect();
    Tensor::from_slice(&values)
}

impl Defense for RoClip {
    fn plan(&mut self, epoch: u32, bench: &Bench) -> Result<Phase> {
        self.size(bench)?;
        check_pool_epochs(self.every, self.first, bench)?;
        let matching = self.matches_in(epoch);
        if self.memory.is_none() && (matching || self.update_in_plain_epochs) {
            self.memory = Some(self.fill(bench)?);
        }
        let text_tower = if matching { self.text_tower } else { TextTower::Trained };
        let augmentation = self.augment.then_some(self.augmentation);
        Ok(Phase { augmentation, captions: self.captions, text_tower, idle: false })
    }

    fn loss(&mut self, step: &Step) -> Result<Tensor> {
        let matching = self.matches_in(step.epoch);
        let Some(pool) = self.memory.as_mut() else {
            return Ok(clip_loss(step.image, step.text, step.logit_scale));
        };
        if !matching {
            if self.update_in_plain_epochs {
                pool.push(step);
            }
            return Ok(clip_loss(step.image, step.text, step.logit_scale));
        }
        if self.look_up == LookUp::AfterPush {
            pool.push(step);
        }
        let found = nearest(step.image, &pool.embeddings);
        step.record_matches(&pool.keys.index_select(0, &found));
        let text = match self.text_tower {
            // Noise has no tokens to encode; it stays what it is until captions have replaced it.
            TextTower::Trained if pool.is_all_captions() => step.encode_text(&pool.tokens.index_select(0, &found)),
            _ => pool.embeddings.index_select(0, &found),
        };
        if self.look_up == LookUp::BeforePush {
            pool.push(step);
        }
        Ok(clip_loss(step.image, &text, step.logit_scale))
    }

    fn state(&self) -> State {
        self.memory.as_ref().map(Pool::state).unwrap_or_default()
    }

    fn restore(&mut self, state: State, device: Device) -> Result<()> {
        self.memory = if state.is_empty() { None } else { Some(Pool::restore(state, device)?) };
        Ok(())
    }
}

/// Captions of recent batches, first in, first out; lies on the training device.
#[derive(Debug)]
struct Pool {
    /// Normalised f32 `[size, dimensions]`.
    embeddings: Tensor,
    /// Row keys i64 `[size]`, -1 for noise: for diagnostics only.
    keys: Tensor,
    /// Tokens i64 `[size, context length]`.
    tokens: Tensor,
    /// The oldest entry: where the next caption goes.
    next: i64,
}

impl Pool {
    /// Puts a batch's captions in place of the oldest entries, wrapping around at the end.
    fn push(&mut self, step: &Step) {
        let size = self.keys.size()[0];
        let batch = step.keys.size()[0];
        // A batch larger than the pool leaves only its last captions.
        let count = batch.min(size);
        let places = (Tensor::arange(count, (tch::Kind::Int64, self.keys.device())) + self.next).remainder(size);
        let last = |tensor: &Tensor| tensor.detach().narrow(0, batch - count, count);
        let tokens = pad(step.tokens, self.tokens.size()[1]);
        let _ = self.embeddings.index_copy_(0, &places, &last(step.text));
        let _ = self.keys.index_copy_(0, &places, &last(step.keys));
        let _ = self.tokens.index_copy_(0, &places, &last(&tokens));
        self.next = (self.next + count) % size;
    }

    fn is_all_captions(&self) -> bool {
        i64::try_from(self.keys.min()).is_ok_and(|least| least >= 0)
    }

    fn state(&self) -> State {
        State::from([
            ("embeddings".to_string(), self.embeddings.copy()),
            ("keys".to_string(), self.keys.copy()),
            ("tokens".to_string(), self.tokens.copy()),
            ("next".to_string(), Tensor::from(self.next)),
        ])
    }

    fn restore(mut state: State, device: Device) -> Result<Self> {
        let mut take = |name: &str| {
            let missing = || Error::invalid("checkpoint", format!("lacks the pool's `{name}`"));
            state.remove(name).map(|tensor| tensor.to_device(device)).ok_or_else(missing)
        };
        let (embeddings, keys, tokens) = (take("embeddings")?, take("keys")?, take("tokens")?);
        Ok(Pool { embeddings, keys, tokens, next: i64::try_from(take("next")?)? })
    }
}

#[cfg(test)]
mod tests {
    use gauntlet::golden::{Distance, pools};
    use std::path::Path;

    /// Matches, loss, gradients and pool of five steps, with a pool that wraps in the second and one smaller than a batch.
    #[test]
    fn equals_the_papers_algorithm() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden");
        let distances = pools(Path::new(folder), tch::Device::Cpu).unwrap();
        let broken: Vec<&Distance> = distances.iter().filter(|d| !d.holds() || d.error > 1e-5).collect();
        assert!(distances.len() == 4 * 5 * 7 && broken.is_empty(), "{broken:#?}");
    }
}
