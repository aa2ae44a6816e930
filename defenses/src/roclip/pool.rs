//! The pool of captions: first in, first out, on the training device. `roclip.rs` decides when it
//! is searched and filled.

use super::{Overflow, PoolStart};
use gauntlet::defense::{State, pad};
use gauntlet::draw::{self, Rng};
use gauntlet::model::normalize;
use gauntlet::rand::SeedableRng;
use gauntlet::{Error, PlanContext, Result, RowKey, Step};
use rand_distr::{Distribution, StandardNormal};
use tch::{Device, Kind, Tensor};

/// Captions of recent batches.
#[derive(Debug)]
pub struct Pool {
    /// f32 `[size, dimensions]`, normalised unless it is raw noise.
    pub embeddings: Tensor,
    /// Row keys i64 `[size]`, -1 for noise: for diagnostics only.
    pub keys: Tensor,
    /// Tokens i64 `[size, context length]`.
    pub tokens: Tensor,
    /// The oldest entry, which the next caption replaces.
    pub next: i64,
    /// The noise that the pool started with; `None` if it started with captions.
    noise: Option<Noise>,
}

/// The parameters needed to draw a pool of noise again.
#[derive(Clone, Debug)]
struct Noise {
    seed: [u8; 32],
    /// Number of captions, dimensions, context length.
    shape: [i64; 3],
}

impl Pool {
    /// The initial pool, with `size` entries.
    pub fn start(how: PoolStart, size: usize, ctx: &PlanContext) -> Self {
        if how == PoolStart::Captions {
            let captions = ctx.captions(size, "roclip/pool");
            return Pool::of(captions.embeddings, captions.keys, captions.tokens);
        }
        let shape = [size as i64, ctx.dimensions(), ctx.context_length()];
        Noise { seed: ctx.rng("roclip/noise", &[]).get_seed(), shape }.pool(how, ctx.device())
    }

    pub fn of(embeddings: Tensor, keys: Tensor, tokens: Tensor) -> Self {
        Pool { embeddings, keys, tokens, next: 0, noise: None }
    }

    /// Replaces the oldest entries by the captions of a batch.
    pub fn push(&mut self, step: &Step, overflow: Overflow) {
        let size = self.keys.size()[0];
        let batch = step.keys.size()[0];
        // First row and number of rows that are kept: if a batch is larger than the pool, the pool
        // keeps only the batch's last captions, or its first.
        let (first, count) = match overflow {
            Overflow::WrapAround => (batch - batch.min(size), batch.min(size)),
            Overflow::DropRest => (0, batch.min(size - self.next)),
        };
        let places = (Tensor::arange(count, (Kind::Int64, self.keys.device())) + self.next).remainder(size);
        let kept = |tensor: &Tensor| tensor.detach().narrow(0, first, count);
        let tokens = pad(step.tokens, self.tokens.size()[1]);
        let _ = self.embeddings.index_copy_(0, &places, &kept(step.text));
        let _ = self.keys.index_copy_(0, &places, &kept(step.keys));
        let _ = self.tokens.index_copy_(0, &places, &kept(&tokens));
        self.next = (self.next + count) % size;
    }

    /// A random entry for each row of the batch, drawn by row and epoch; row keys depend on the
    /// seed.
    pub fn drawn(&self, step: &Step) -> Result<Tensor> {
        let (keys, size) = (RowKey::of_tensor(step.keys)?, self.keys.size()[0] as u64);
        let draw =
            |key: RowKey| (draw::hash(0, "defense/roclip/drawn", &[step.epoch.into(), key.into()]) % size) as i64;
        Ok(Tensor::from_slice(&keys.into_iter().map(draw).collect::<Vec<_>>()).to_device(self.keys.device()))
    }

    pub fn is_all_captions(&self) -> bool {
        i64::try_from(self.keys.min()).is_ok_and(|least| least >= 0)
    }

    pub fn state(&self) -> State {
        State::from([
            ("embeddings".to_string(), self.embeddings.copy()),
            ("keys".to_string(), self.keys.copy()),
            ("tokens".to_string(), self.tokens.copy()),
            ("next".to_string(), Tensor::from(self.next)),
        ])
    }

    pub fn restore(mut state: State, device: Device) -> Result<Self> {
        let mut take = |name: &str| taken(&mut state, name).map(|tensor| tensor.to_device(device));
        let (embeddings, keys, tokens) = (take("embeddings")?, take("keys")?, take("tokens")?);
        Ok(Pool { next: i64::try_from(take("next")?)?, ..Pool::of(embeddings, keys, tokens) })
    }

    /// State of a pool that is not in the checkpoint: the noise that it started with.
    pub fn start_state(&self) -> State {
        let noise = self.noise.as_ref().expect("only a pool that starts with noise is left out of checkpoints");
        let (seed, shape) = (Tensor::from_slice(&noise.seed), Tensor::from_slice(&noise.shape));
        State::from([("noise_seed".to_string(), seed), ("noise_shape".to_string(), shape)])
    }

    /// Restores the initial pool, whatever it contained when the checkpoint was written.
    pub fn restart(mut state: State, how: PoolStart, device: Device) -> Result<Self> {
        let seed = Vec::<u8>::try_from(taken(&mut state, "noise_seed")?)?;
        let shape = Vec::<i64>::try_from(taken(&mut state, "noise_shape")?)?;
        let wrong = || Error::invalid("checkpoint", "the pool's noise has another shape");
        let noise =
            Noise { seed: seed.try_into().map_err(|_| wrong())?, shape: shape.try_into().map_err(|_| wrong())? };
        Ok(noise.pool(how, device))
    }
}

fn taken(state: &mut State, name: &str) -> Result<Tensor> {
    state.remove(name).ok_or_else(|| Error::invalid("checkpoint", format!("has no `{name}` of the pool")))
}

impl Noise {
    fn pool(self, how: PoolStart, device: Device) -> Pool {
        let [size, dimensions, context_length] = self.shape;
        let mut rng = Rng::from_seed(self.seed);
        let values: Vec<f32> = (0..size * dimensions).map(|_| StandardNormal.sample(&mut rng)).collect();
        let raw = Tensor::from_slice(&values).view([size, dimensions]);
        let embeddings = if how == PoolStart::RawNoise { raw } else { normalize(&raw) }.to_device(device);
        let integers = (Kind::Int64, device);
        let (keys, tokens) = (Tensor::full([size], -1, integers), Tensor::zeros([size, context_length], integers));
        Pool { noise: Some(self), ..Pool::of(embeddings, keys, tokens) }
    }
}

#[cfg(test)]
impl Pool {
    /// A pool of noise, made without a `PlanContext`.
    pub fn of_noise(how: PoolStart, shape: [i64; 3]) -> Self {
        Noise { seed: [7; 32], shape }.pool(how, Device::Cpu)
    }
}
