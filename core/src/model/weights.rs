//! Parameters and buffers by name: initialised on the host from keyed streams, stored as
//! safetensors.

use crate::data::files::{read_safetensors, write_safetensors};
use crate::{Error, Result, draw};
use rand::RngExt;
use rand_distr::{Distribution, Normal};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use tch::{Device, Kind, Tensor};

/// Initialisation of a parameter.
#[derive(Clone, Copy, Debug)]
pub enum Init {
    /// The same value in every element.
    Constant(f64),
    /// Normal with mean 0 and this standard deviation.
    Normal(f64),
    /// Uniform between minus and plus this bound.
    Uniform(f64),
}

/// A count shared by a layer and its weights. It is kept on the host: no computation depends on it.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<AtomicI64>);

impl Counter {
    /// Adds one.
    pub fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// The count.
    pub fn value(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }
}

/// PyTorch's name for the number of batches that a batch norm was trained on.
const COUNTER: &str = "num_batches_tracked";

/// Named parameters (trained) and buffers (batch-norm statistics).
pub struct Weights {
    /// Trained tensors.
    pub parameters: BTreeMap<String, Tensor>,
    /// Batch norm's running statistics.
    pub buffers: BTreeMap<String, Tensor>,
    /// Number of batches that each batch norm was trained on, by PyTorch's name.
    counters: BTreeMap<String, Counter>,
    seed: u64,
    device: Device,
}

impl Weights {
    /// No weights yet; parameters added later are drawn from `seed`.
    pub fn new(seed: u64, device: Device) -> Self {
        Weights { parameters: BTreeMap::new(), buffers: BTreeMap::new(), counters: BTreeMap::new(), seed, device }
    }

    /// Adds a parameter, drawn from a stream keyed by its name.
    pub fn parameter(&mut self, name: &str, shape: &[i64], init: Init) -> Tensor {
        let count = shape.iter().product::<i64>() as usize;
        let mut rng = draw::rng(self.seed, &format!("init/{name}"), &[]);
        let values: Vec<f32> = match init {
            Init::Constant(value) => vec![value as f32; count],
            Init::Normal(std) => {
                let normal = Normal::new(0.0, std).expect("a standard deviation is finite");
                (0..count).map(|_| normal.sample(&mut rng) as f32).collect()
            }
            Init::Uniform(bound) => (0..count).map(|_| rng.random_range(-bound..=bound) as f32).collect(),
        };
        let tensor =
            channels_last(Tensor::from_slice(&values).reshape(shape).to_device(self.device)).set_requires_grad(true);
        self.parameters.insert(name.to_string(), tensor.shallow_clone());
        tensor
    }

    /// Adds a buffer with one value throughout.
    pub fn buffer(&mut self, name: &str, shape: &[i64], value: f64) -> Tensor {
        let tensor = Tensor::full(shape, value, (Kind::Float, self.device));
        self.buffers.insert(name.to_string(), tensor.shallow_clone());
        tensor
    }

    /// Adds a counter of the batches that the batch norm `name` is trained on.
    pub fn counter(&mut self, name: &str) -> Counter {
        self.counters.entry(format!("{name}.{COUNTER}")).or_default().clone()
    }

    /// The name of a tensor that holds a NaN or an infinity, if there is one.
    pub fn not_finite(&self) -> Result<Option<String>> {
        for (name, tensor) in self.tensors() {
            if i64::try_from(tensor.isfinite().all())? == 0 {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    /// Parameters and buffers by name: everything that an embedding depends on.
    pub fn tensors(&self) -> BTreeMap<String, Tensor> {
        let all = self.parameters.iter().chain(&self.buffers);
        all.map(|(name, tensor)| (name.clone(), tensor.detach())).collect()
    }

    /// The state dictionary in PyTorch's sense: [`tensors`](Weights::tensors) and, for each batch
    /// norm, the number of batches it was trained on.
    pub fn state(&self) -> BTreeMap<String, Tensor> {
        let counters = self.counters.iter().map(|(name, counter)| (name.clone(), Tensor::from(counter.value())));
        self.tensors().into_iter().chain(counters).collect()
    }

    /// Saves the state with open_clip's names.
    pub fn save(&self, path: &Path) -> Result<()> {
        write_safetensors(path, &self.state(), &HashMap::new())
    }

    /// Loads a file that [`save`](Weights::save) wrote.
    ///
    /// # Errors
    /// Names each tensor that is missing, unknown or of another shape.
    pub fn load(&self, path: &Path) -> Result<()> {
        self.fit(read_safetensors(path)?.0, &path.display().to_string())
    }

    /// Loads a state that was read from `place`. The counts of its batch norms may be missing, as
    /// in files of old PyTorch versions; they are then 0.
    ///
    /// # Errors
    /// Names each tensor that is missing, unknown, of another shape or not of real numbers.
    pub fn fit(&self, mut found: BTreeMap<String, Tensor>, place: &str) -> Result<()> {
        let known = self.tensors();
        if let Some(scale) = found.get_mut("logit_scale").filter(|scale| scale.numel() == 1) {
            *scale = scale.reshape([0i64; 0]); // a scalar or a list of one element in open_clip's files
        }
        let missing = known.keys().filter(|name| !found.contains_key(*name)).map(|name| format!("`{name}` is missing"));
        let unknown = found.keys().filter(|name| !known.contains_key(*name) && !self.counters.contains_key(*name));
        let unknown = unknown.map(|name| format!("`{name}` is unknown"));
        let misfit = known.iter().filter_map(|(name, ours)| {
            let theirs = found.get(name)?;
            let (here, there) = (ours.size(), theirs.size());
            match theirs.is_floating_point() {
                _ if here != there => Some(format!("`{name}` is {there:?}, not {here:?}")),
                false => Some(format!("`{name}` holds whole numbers")),
                true => None,
            }
        });
        let counters = self.counters.keys().filter(|name| found.get(*name).is_some_and(|count| !is_count(count)));
        let counters = counters.map(|name| format!("`{name}` is not a count"));
        let kinds: [Vec<String>; 4] = [missing.collect(), unknown.collect(), misfit.collect(), counters.collect()];
        let count: usize = kinds.iter().map(Vec::len).sum();
        if count > 0 {
            // A few of each kind: missing names are often the unknown ones under another prefix.
            let few = kinds.iter().flat_map(|kind| kind.iter().take(3)).cloned().collect::<Vec<_>>().join(", ");
            return Err(Error::invalid(place, format!("does not fit the model ({count} tensors): {few}")));
        }
        self.counters.values().for_each(|counter| counter.set(0));
        self.assign(&found)
    }

    /// Copies tensors of equal names and shapes into the weights, and counts if present.
    pub fn assign(&self, from: &BTreeMap<String, Tensor>) -> Result<()> {
        tch::no_grad(|| {
            for (name, tensor) in self.parameters.iter().chain(&self.buffers) {
                let source = from.get(name).ok_or_else(|| Error::invalid(format!("weights, `{name}`"), "missing"))?;
                tensor.shallow_clone().f_copy_(source)?;
            }
            for (name, counter) in &self.counters {
                from.get(name).map_or(Ok(()), |count| i64::try_from(count).map(|count| counter.set(count)))?;
            }
            Ok(())
        })
    }
}

fn is_count(tensor: &Tensor) -> bool {
    tensor.numel() == 1 && i64::try_from(tensor).is_ok_and(|count| count >= 0)
}

/// Images and kernels with their channels last in memory (shape unchanged): convolutions are faster
/// in this layout on CPU and GPU, and every layer keeps it.
pub fn channels_last(tensor: Tensor) -> Tensor {
    if tensor.dim() == 4 { tensor.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2]) } else { tensor }
}
