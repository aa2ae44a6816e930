//! Training steps of a model: random canvases are moved to the device, augmented and encoded,
//! followed by the backward pass and AdamW. This is the trainer's own step (`core/src/train.rs`)
//! without the reading of images.

use super::{Bed, scratch};
use crate::output::tell;
use clap::{Args, ValueEnum};
use gauntlet::corpus::Corpus;
use gauntlet::corpus::Shape;
use gauntlet::data::augment::{AugmentParams, Augmentation};
use gauntlet::data::files::write_safetensors;
use gauntlet::data::tokenize::Tokenizer;
use gauntlet::defense::{Needs, clip_loss};
use gauntlet::model::{Clip, ModelConfig, valid_token_indices};
use gauntlet::progress::Silent;
use gauntlet::recipe::Precision;
use gauntlet::run::RunContext;
use gauntlet::suite::Suite;
use gauntlet::train::load::Batch;
use gauntlet::train::{Trainer, normalise};
use gauntlet::{Defense, Error, Result, Trial, draw, trial};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use tch::{Device, Kind, Tensor, no_grad};

/// Times training steps.
#[derive(Args)]
pub struct Steps {
    /// Model: a name, or a .json file in open_clip's form
    #[arg(long, default_value = "RN50")]
    model: String,
    /// Batch size; 0: 512 on CUDA, 8 on the CPU
    #[arg(long, default_value_t = 0)]
    batch: usize,
    /// Precision of the towers
    #[arg(long, value_enum, default_value_t = Numbers::Bf16)]
    precision: Numbers,
    /// Number of steps to time; 0: 20 on CUDA, 3 on the CPU
    #[arg(long, default_value_t = 0)]
    steps: usize,
    /// Number of steps before those
    #[arg(long, default_value_t = 3)]
    warmup: usize,
    /// Tokens per caption; 0: the model's context length
    #[arg(long, default_value_t = 0)]
    tokens: i64,
    /// Defense whose first epoch is timed, with its defaults; `clip` has no augmentation
    #[arg(long, default_value = "augmentation-control")]
    defense: String,
    /// Let cuDNN choose the fastest of its convolutions
    #[arg(long)]
    autotune: bool,
    /// Write the initial weights, the batch and its loss to this folder, so that another program
    /// can compute the loss
    #[arg(long, value_name = "FOLDER")]
    exchange: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Numbers {
    Fp32,
    Bf16,
}

impl Steps {
    /// Seconds, rows per second and memory.
    pub fn measure(&self, bed: &Bed) -> Result<Value> {
        let or = |given: usize, cuda, cpu| match (given, bed.device) {
            (0, Device::Cpu) => cpu,
            (0, _) => cuda,
            (given, _) => given,
        };
        let (batch, steps) = (or(self.batch, 512, 8), or(self.steps, 20, 3));
        let precision = if self.precision == Numbers::Fp32 { Precision::Fp32 } else { Precision::Bf16 };
        tch::Cuda::cudnn_set_benchmark(self.autotune);
        let config = ModelConfig::named(&self.model)?;
        let folder = scratch()?;
        let trial = self.trial(bed, batch, precision)?;
        let stop = AtomicBool::new(false);
        let machine = RunContext::new(&Silent, &stop);
        let prepared_data = trial.prepare(folder.path(), &machine)?;
        let tokenizer = Tokenizer::new(&prepared_data.data.vocabulary, trial.model.text_cfg.vocab_size)?;
        let shape = Shape { batch, context_length: trial.model.text_cfg.context_length };
        let (data, split, poison) = (&prepared_data.data, &prepared_data.split, &prepared_data.poison);
        let corpus = Corpus::new(data, split, poison, &tokenizer, shape, trial.arena.seed, bed.device);
        let model = Clip::new(&config, draw::hash(trial.arena.seed, "model", &[]), bed.device)?;
        let mut defense = trial.defense.build::<dyn Defense>()?;
        if defense.needs() != Needs::default() {
            return Err(Error::invalid("--defense", "needs more than the data, so its step cannot be timed alone"));
        }
        let mut trainer = Trainer::open(&trial.recipe, &corpus, &model, defense.as_mut(), folder.path(), "bench")?;
        let augmentation = trainer.plan(&machine)?.first().and_then(|phase| phase.augmentation);
        let host = HostBatch::draw(&config, batch, self.tokens, augmentation).pinned(bed.device)?;
        if let Some(folder) = &self.exchange {
            host.exchange(&model, precision, bed.device, folder)?;
        }
        let mut step = || trainer.step(host.batch());

        let title = format!("{} batch {batch} {}", self.model, precision.name());
        tell(&format!("{title}: {} warm-up steps", self.warmup));
        let warmup = bed.time(|| (0..self.warmup).try_for_each(|_| step()))?;
        gauntlet_torch::reset_peak_device_memory(bed.device)?;
        tell(&format!("{title}: {steps} steps"));
        let cpu_before = trial::cpu_seconds();
        let seconds = bed.time(|| (0..steps).try_for_each(|_| step()))? / steps as f64;
        let cpu_seconds = (trial::cpu_seconds() - cpu_before) / steps as f64;
        drop(trainer);
        if !f64::try_from(model.logit_scale())?.is_finite() {
            return Err(Error::NotFinite("the temperature is not finite after the last step".into()));
        }
        let peak = gauntlet_torch::peak_device_memory(bed.device)?;
        let rate = batch as f64 / seconds;
        tell(&format!(
            "{title}: {:.1} ms per step, {rate:.1} rows/s, {:.1} CPU ms per step",
            seconds * 1e3,
            cpu_seconds * 1e3
        ));
        Ok(json!({
            "model": self.model,
            "parameters": model.weights.parameters.values().map(Tensor::numel).sum::<usize>(),
            "image_size": config.vision_cfg.image_size,
            "tokens": host.tokens.size()[1],
            "batch": batch,
            "precision": precision,
            "defense": self.defense,
            "autotune": self.autotune,
            "warmup_steps": self.warmup,
            "warmup_seconds": warmup,
            "steps": steps,
            "milliseconds": seconds * 1e3,
            "cpu_milliseconds": cpu_seconds * 1e3,
            "samples_per_second": rate,
            "peak_device_memory": peak,
        }))
    }

    /// A trial whose corpus is large enough for a batch; its images are never read.
    fn trial(&self, bed: &Bed, batch: usize, precision: Precision) -> Result<Trial> {
        let suite = json!({
            "name": "bench",
            "seeds": [0],
            "device": bed.name,
            "threads": bed.threads,
            "model": "tiny",
            "data": { "kind": "world", "pairs": batch * 2 + 200 },
            "recipe": { "epochs": 24, "batch": batch, "learning_rate": 1e-5, "warmup_steps": 0, "precision": precision },
            "attacks": {},
            "arenas": {},
            "baseline": self.defense,
            "defenses": { self.defense.clone(): {} },
        });
        let suite: Suite = serde_json::from_value(suite).expect("a suite");
        Ok(suite.trials()?.remove(0))
    }
}

/// A batch on the host, drawn once.
struct HostBatch {
    keys: Tensor,
    images: Tensor,
    params: Vec<AugmentParams>,
    tokens: Tensor,
    valid: Tensor,
}

impl HostBatch {
    fn draw(config: &ModelConfig, batch: usize, tokens: i64, augmentation: Option<Augmentation>) -> Self {
        let (rows, size, text) = (batch as i64, config.vision_cfg.image_size, &config.text_cfg);
        let length = if tokens > 0 { tokens.min(text.context_length) } else { text.context_length };
        let integers = (Kind::Int64, Device::Cpu);
        // The greatest token ends a caption.
        let before_end = Tensor::randint_low(1, text.vocab_size - 1, [rows, length - 1], integers);
        let end = Tensor::full([rows, 1], text.vocab_size - 1, integers);
        let tokens = Tensor::cat(&[before_end, end], 1);
        let draw_row = |row| augmentation.map(|how| how.draw(size, &mut draw::rng(0, "bench", &[row])));
        HostBatch {
            keys: Tensor::arange(rows, integers),
            images: Tensor::randint(256, [rows, 3, size, size], (Kind::Uint8, Device::Cpu)),
            params: (0..batch as u64).filter_map(draw_row).collect(),
            valid: valid_token_indices(&tokens),
            tokens,
        }
    }

    /// The batch in the form that the loader returns.
    fn pinned(mut self, device: Device) -> Result<Self> {
        if device.is_cuda() {
            for tensor in [&mut self.keys, &mut self.images, &mut self.tokens, &mut self.valid] {
                *tensor = gauntlet_torch::pin_memory(tensor)?;
            }
        }
        Ok(self)
    }

    /// Writes `weights.safetensors` in open_clip's names, and `batch.safetensors` with `images`
    /// (u8), `tokens` and CLIP's `loss`, without augmentation.
    fn exchange(&self, model: &Clip, precision: Precision, device: Device, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
        model.weights.save(&folder.join("weights.safetensors"))?;
        let images = normalise(&(self.images.to_device(device).to_kind(Kind::Float) / 255.0));
        let tokens = self.tokens.to_device(device);
        let loss = no_grad(|| {
            let image = precision.forward(device, || model.encode_image(&images, true));
            let text = precision.forward(device, || model.encode_text(&tokens));
            clip_loss(&image, &text, &model.logit_scale())
        });
        let named = [("images", &self.images), ("tokens", &self.tokens), ("loss", &loss)];
        let named = named.map(|(name, tensor)| (name.to_string(), tensor.shallow_clone()));
        write_safetensors(&folder.join("batch.safetensors"), &BTreeMap::from(named), &HashMap::new())
    }

    fn batch(&self) -> Batch {
        Batch {
            keys: self.keys.shallow_clone(),
            images: self.images.shallow_clone(),
            params: self.params.clone(),
            tokens: self.tokens.shallow_clone(),
            valid: self.valid.shallow_clone(),
            second: None,
        }
    }
}
