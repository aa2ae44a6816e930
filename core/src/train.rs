//! The training loop: it owns data order, schedule, precision and checkpoints, and asks the defense what to show the model
//! and what the loss is. `train/checkpoint.rs` says what a resume needs, `data/load.rs` how batches come.

pub mod adamw;
pub mod checkpoint;
pub mod corpus;
pub mod matches;
pub mod precision;
pub mod preset;
pub mod schedule;
pub mod trajectory;

pub use corpus::Corpus;
pub use matches::Matches;
pub use precision::Precision;

use crate::data::{augment, load};
use crate::defense::{Bench, Defense, Phase, Step, TextTower};
use crate::model::Clip;
use crate::model::weights::{channels_last, write_atomic};
use crate::{Error, Progress, Result};
use adamw::{AdamW, Decay};
use checkpoint::{Parts, Position};
use gauntlet_torch::clip_grad_norm;
use schedule::Schedule;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use tch::{Device, Kind, Tensor};
use trajectory::Recorder;

/// How every model of a suite is trained: the `[recipe]` table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Recipe {
    /// Passes over the training data.
    #[schemars(range(min = 1))]
    pub epochs: u32,
    /// Rows of a step; the rest of an epoch that does not fill one is dropped.
    #[schemars(range(min = 2))]
    pub batch: usize,
    /// Greatest learning rate.
    pub learning_rate: f64,
    /// Steps of linear warm-up.
    pub warmup_steps: u64,
    /// How the learning rate goes up and down.
    pub schedule: Schedule,
    /// Weight decay of the parameters that `decay` names.
    pub weight_decay: f64,
    /// Which parameters have weight decay.
    pub decay: Decay,
    /// AdamW's averaging factors.
    pub betas: [f64; 2],
    /// AdamW's epsilon.
    pub epsilon: f64,
    /// Whether logits, and similarities to a pool, are rounded to f16 as PyTorch's autocast does, the towers staying in f32.
    pub half_logits: bool,
    /// Greatest L2 norm of all gradients together; where it is exceeded they are scaled down to it. 0: never.
    #[schemars(range(min = 0.0))]
    pub clip_norm: f64,
    /// What the towers compute in while they train; all else, evaluation included, is 32-bit.
    pub precision: Precision,
    /// Weights to start from (a safetensors file in open_clip's names); empty: drawn from the seed.
    pub init: String,
    /// Steps between checkpoints; 0: one at the end of each epoch.
    pub checkpoint_steps: u64,
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
        }
    }
}

/// What a run has to do with this machine rather than with the result.
pub struct Machine<'a> {
    /// Threads that read batches ahead.
    pub workers: usize,
    /// Who hears how far it is.
    pub progress: &'a dyn Progress,
    /// Set by a signal: write a checkpoint and stop.
    pub stop: &'a AtomicBool,
}

/// What a training leaves behind besides the weights; nothing where there was none.
#[derive(Default)]
pub struct Trained {
    /// What the defense recorded as matched, for each epoch in which it did.
    pub matches: Vec<Matches>,
    /// Wall seconds of training, over all the times it was resumed.
    pub seconds: f64,
    /// Rows that went through the model.
    pub samples: u64,
}

/// Steps between lines of `metrics.jsonl`; losses are looked at together then, so that a step need not wait for the device.
const LOG_STEPS: usize = 10;

/// A training and everything it remembers from one step to the next.
pub struct Trainer<'a> {
    recipe: &'a Recipe,
    corpus: &'a Corpus<'a>,
    model: &'a Clip,
    defense: &'a mut dyn Defense,
    optimizer: AdamW,
    position: Position,
    matches: RefCell<Vec<Tensor>>,
    pending: Vec<(Tensor, Tensor)>,
    bad_rows: usize,
    recorder: Option<Recorder<'a>>,
    folder: PathBuf,
    trial: String,
}

impl<'a> Trainer<'a> {
    /// Starts in `folder`, or goes on from the checkpoint that lies there. `trial` is the hash of the resolved trial.
    pub fn open(
        recipe: &'a Recipe,
        corpus: &'a Corpus<'a>,
        model: &'a Clip,
        defense: &'a mut dyn Defense,
        folder: &Path,
        trial: &str,
    ) -> Result<Self> {
        if corpus.len() < recipe.batch {
            let why = format!("is {}, and there are {} training rows", recipe.batch, corpus.len());
            return Err(Error::invalid("recipe, key `batch`", why));
        }
        let steps = (corpus.len() / recipe.batch) as u64 * u64::from(recipe.epochs);
        if recipe.warmup_steps >= steps {
            let why = format!("is {}, and the whole training has {steps} steps", recipe.warmup_steps);
            return Err(Error::invalid("recipe, key `warmup_steps`", why));
        }
        let mut optimizer =
            AdamW::new(&model.weights, recipe.betas, recipe.epsilon, recipe.weight_decay).decaying(recipe.decay);
        let start =
            Position { epoch: 1, step: 0, phase: None, metrics_lines: 0, match_bytes: 0, seconds: 0.0, samples: 0 };
        let mut position = start;
        if let Some((saved, mut parts)) = checkpoint::read(&folder.join("checkpoint.safetensors"), trial)? {
            let mut part = |name: &str| parts.remove(name).unwrap_or_default();
            model.weights.assign(&part("model"))?;
            optimizer.restore(&part("optimizer"))?;
            defense.restore(part("defense"), corpus.device)?;
            position = saved;
        }
        let (folder, trial, matches) = (folder.to_path_buf(), trial.to_string(), RefCell::default());
        Ok(Trainer {
            recipe,
            corpus,
            model,
            defense,
            optimizer,
            position,
            matches,
            pending: Vec::new(),
            bad_rows: 0,
            recorder: None,
            folder,
            trial,
        })
    }

    /// With someone who looks at the poisoned pairs between epochs.
    pub fn recorded_by(self, recorder: Option<Recorder<'a>>) -> Self {
        Trainer { recorder, ..self }
    }

    /// Trains to the end.
    ///
    /// # Errors
    /// [`Error::Interrupted`] when asked to stop (a checkpoint is written first), [`Error::NotFinite`] when the loss is not finite.
    pub fn run(mut self, machine: &Machine) -> Result<Trained> {
        self.keep_metrics()?;
        self.recorder.iter().try_for_each(|recorder| recorder.resume(self.position.epoch))?;
        self.keep_matches()?;
        while self.position.epoch <= self.recipe.epochs {
            self.plan()?;
            self.epoch(machine)?;
            self.finish_epoch()?;
        }
        if let Some(name) = self.model.weights.not_finite()? {
            let why = format!("`{name}` is not finite after the last step; a lower learning rate may help");
            return Err(Error::NotFinite(why));
        }
        let matches = (1..=self.recipe.epochs).map(|epoch| self.matches_of(epoch)).filter(Matches::exists).collect();
        Ok(Trained { matches, seconds: self.position.seconds, samples: self.position.samples })
    }

    /// Asks the defense what happens in this epoch, unless it has said so already.
    pub fn plan(&mut self) -> Result<Phase> {
        if let Some(phase) = &self.position.phase {
            return Ok(phase.clone());
        }
        let (seed, epochs, precision) = (self.corpus.seed, self.recipe.epochs, self.recipe.precision);
        let bench = Bench { model: self.model, corpus: self.corpus, seed, epochs, precision };
        let phase = self.defense.plan(self.position.epoch, &bench)?;
        phase.augmentation.as_ref().map_or(Ok(()), augment::Augmentation::check)?;
        self.position.phase = Some(phase.clone());
        Ok(phase)
    }

    fn epoch(&mut self, machine: &Machine) -> Result<()> {
        let (epoch, first) = (self.position.epoch, self.position.step);
        let phase = self.plan()?;
        if phase.idle {
            return Ok(());
        }
        let corpus = self.corpus;
        let mut clock = Instant::now();
        load::for_each_batch(corpus, epoch, &phase, first, machine.workers, |number, batch| {
            self.step(batch)?;
            self.position.step = number + 1;
            self.position.samples += self.recipe.batch as u64;
            self.position.seconds += std::mem::replace(&mut clock, Instant::now()).elapsed().as_secs_f64();
            if (number + 1) % LOG_STEPS == 0 || number + 1 == self.steps_per_epoch() {
                self.log(machine.progress)?;
            }
            let done = self.global_step();
            let due = self.recipe.checkpoint_steps > 0 && done.is_multiple_of(self.recipe.checkpoint_steps);
            let stop = machine.stop.load(Ordering::Relaxed);
            if due || stop {
                self.log(machine.progress)?;
                self.checkpoint()?;
            }
            if stop { Err(Error::Interrupted) } else { Ok(()) }
        })
    }

    /// One step on a batch, in an epoch that is planned; [`run`](Trainer::run) calls it, and whoever measures it.
    pub fn step(&mut self, batch: load::Batch) -> Result<()> {
        let phase = self.position.phase.as_ref().expect("the epoch is planned");
        let device = self.corpus.device;
        let images = self.corpus.normalise(&batch.images, &batch.drawings);
        let [keys, tokens, words] = [&batch.keys, &batch.tokens, &batch.words].map(|tensor| sent(tensor, device));
        let precision = self.recipe.precision;
        let image = precision.forward(device, || self.model.encode_image(&images, true));
        let encode_text = || precision.forward(device, || self.model.encode_words(&tokens, &words));
        let text = match phase.text_tower {
            TextTower::Trained => encode_text(),
            TextTower::Frozen | TextTower::ZeroGradient => tch::no_grad(encode_text),
        };
        let logit_scale = self.model.logit_scale();
        let loss = self.defense.loss(&Step {
            epoch: self.position.epoch,
            image: &image,
            text: &text,
            logit_scale: &logit_scale,
            keys: &keys,
            tokens: &tokens,
            half_logits: self.recipe.half_logits,
            model: self.model,
            precision,
            matches: &self.matches,
        })?;
        let gradients = self.clip(self.gradients(&loss, phase.text_tower)?)?;
        let steps_per_epoch = self.steps_per_epoch() as u64;
        let rate = schedule::learning_rate(
            self.recipe.learning_rate,
            self.recipe.warmup_steps,
            steps_per_epoch * u64::from(self.recipe.epochs),
            self.recipe.schedule.first_step(steps_per_epoch) + self.global_step(),
        );
        self.optimizer.step(&self.model.weights, &gradients, rate)?;
        self.model.clamp_logit_scale();
        self.pending.push((loss.detach(), batch.keys));
        Ok(())
    }

    /// Gradients of the parameters that move in this step, by name.
    fn gradients(&self, loss: &Tensor, text_tower: TextTower) -> Result<Vec<(&'a str, Tensor)>> {
        let is_text = |name: &str| !name.starts_with("visual.") && name != "logit_scale";
        let model: &'a Clip = self.model;
        let (text, rest): (Vec<_>, Vec<_>) = model.weights.parameters.iter().partition(|(name, _)| is_text(name));
        let with_gradient = match text_tower {
            TextTower::Trained => [rest, text.clone()].concat(),
            TextTower::Frozen | TextTower::ZeroGradient => rest,
        };
        let inputs: Vec<&Tensor> = with_gradient.iter().map(|(_, parameter)| *parameter).collect();
        let found = Tensor::f_run_backward(&[loss], &inputs, false, false)?;
        let named = with_gradient.iter().zip(found).filter(|(_, gradient)| gradient.defined());
        let mut gradients: Vec<_> = named.map(|((name, _), gradient)| (name.as_str(), gradient)).collect();
        if text_tower == TextTower::ZeroGradient {
            gradients.extend(text.iter().map(|(name, parameter)| (name.as_str(), parameter.detach().zeros_like())));
        }
        Ok(gradients)
    }

    /// Scales gradients down to the recipe's norm.
    fn clip(&self, gradients: Vec<(&'a str, Tensor)>) -> Result<Vec<(&'a str, Tensor)>> {
        if self.recipe.clip_norm <= 0.0 {
            return Ok(gradients);
        }
        let (names, gradients): (Vec<_>, Vec<_>) = gradients.into_iter().unzip();
        let (clipped, _) = clip_grad_norm(&gradients.iter().collect::<Vec<_>>(), self.recipe.clip_norm)?;
        Ok(names.into_iter().zip(clipped).collect())
    }

    fn steps_per_epoch(&self) -> usize {
        self.corpus.len() / self.recipe.batch
    }

    /// Steps done, idle ones counted.
    fn global_step(&self) -> u64 {
        (self.position.epoch as u64 - 1) * self.steps_per_epoch() as u64 + self.position.step as u64
    }

    /// Reads the losses since the last time, stops if one is not finite, and appends a line to `metrics.jsonl`.
    fn log(&mut self, progress: &dyn Progress) -> Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let losses: Vec<&Tensor> = self.pending.iter().map(|(loss, _)| loss).collect();
        let losses: Vec<f64> = Vec::try_from(Tensor::stack(&losses, 0).to_device(Device::Cpu).to_kind(Kind::Double))?;
        if let Some(bad) = losses.iter().position(|loss| !loss.is_finite()) {
            let step = self.position.step - losses.len() + bad + 1;
            let rows = self.corpus.places(&Vec::try_from(&self.pending[bad].1)?).join(", ");
            let (epoch, loss) = (self.position.epoch, losses[bad]);
            let what = format!(
                "the loss is {loss} at epoch {epoch}, step {step}; a lower learning rate may help; its rows: {rows}"
            );
            return Err(Error::NotFinite(what));
        }
        self.pending.clear();
        let matches = self.matches.take();
        if !matches.is_empty() {
            self.position.match_bytes += self.matches_of(self.position.epoch).append(&matches)?;
        }
        self.list_bad_rows()?;
        let loss = losses.iter().sum::<f64>() / losses.len() as f64;
        let scale = f64::try_from(self.model.logit_scale())?;
        let (epoch, step) = (self.position.epoch, self.position.step);
        let line = serde_json::json!({ "epoch": epoch, "step": step, "loss": loss, "logit_scale": scale });
        let path = self.folder.join("metrics.jsonl");
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&path).map_err(Error::io(&path))?;
        writeln!(file, "{line}").map_err(Error::io(&path))?;
        self.position.metrics_lines += 1;
        let total = self.steps_per_epoch() as u64 * u64::from(self.recipe.epochs);
        progress.report("train", self.global_step(), total, &format!("loss {loss:.2}"));
        Ok(())
    }

    /// Lines of `metrics.jsonl` written after the checkpoint are about steps that will be done again.
    fn keep_metrics(&self) -> Result<()> {
        let path = self.folder.join("metrics.jsonl");
        let text =
            if path.exists() { std::fs::read_to_string(&path).map_err(Error::io(&path))? } else { String::new() };
        let kept: String = text.lines().take(self.position.metrics_lines).map(|line| format!("{line}\n")).collect();
        std::fs::write(&path, kept).map_err(Error::io(&path))
    }

    /// So are matches; those of later epochs may even be of another training, whose checkpoint somebody deleted.
    fn keep_matches(&self) -> Result<()> {
        let epoch = self.position.epoch;
        self.matches_of(epoch).cut(self.position.match_bytes)?;
        (epoch + 1..=self.recipe.epochs).try_for_each(|epoch| self.matches_of(epoch).remove())
    }

    /// Rows that turned out to be bad while they were read lie in `bad_rows.jsonl`.
    fn list_bad_rows(&mut self) -> Result<()> {
        let bad = self.corpus.bad_rows();
        if bad.len() == self.bad_rows {
            return Ok(());
        }
        self.bad_rows = bad.len();
        let path = self.folder.join("bad_rows.jsonl");
        // Those that were met before an interruption stay listed.
        let before =
            if path.exists() { std::fs::read_to_string(&path).map_err(Error::io(&path))? } else { String::new() };
        let mut lines: BTreeSet<String> = before.lines().map(str::to_string).collect();
        lines.extend(bad.iter().map(|bad| serde_json::to_string(bad).expect("plain data")));
        write_atomic(&path, lines.into_iter().map(|line| line + "\n").collect::<String>().as_bytes())
    }

    fn matches_of(&self, epoch: u32) -> Matches {
        Matches::of_epoch(&self.folder, epoch, self.recipe.batch)
    }

    fn finish_epoch(&mut self) -> Result<()> {
        self.recorder.iter().try_for_each(|recorder| recorder.epoch_ended(self.position.epoch))?;
        self.position.epoch += 1;
        self.position.step = 0;
        self.position.phase = None;
        self.position.match_bytes = 0;
        self.checkpoint()
    }

    fn checkpoint(&self) -> Result<()> {
        let parts = Parts::from([
            ("model", self.model.weights.tensors()),
            ("optimizer", self.optimizer.state()),
            ("defense", self.defense.state()),
        ]);
        checkpoint::write(&self.folder.join("checkpoint.safetensors"), &self.trial, &self.position, &parts)
    }
}

impl Corpus<'_> {
    /// Canvases u8 `[batch, 3, S, S]` to what the model reads: on the device, augmented, normalised by CLIP's constants.
    pub(crate) fn normalise(&self, canvases: &Tensor, drawings: &[augment::Drawing]) -> Tensor {
        let images = sent(canvases, self.device);
        if drawings.is_empty() {
            // Laid out as the model wants it while a pixel still is a byte.
            return scaled(&channels_last(images).to_kind(Kind::Float), 255.0);
        }
        normalise(&augment::apply(&(images.to_kind(Kind::Float) / 255.0), drawings))
    }
}

/// On the device; where the tensor lies in pinned memory, nobody waits for it.
fn sent(tensor: &Tensor, device: Device) -> Tensor {
    tensor.to_device_(device, tensor.kind(), true, false)
}

/// Pictures within 0 to 1 to zero mean and unit variance, by the constants published with CLIP.
pub fn normalise(images: &Tensor) -> Tensor {
    scaled(images, 1.0)
}

/// `normalise` of pictures within 0 to `white`, in one pass.
fn scaled(images: &Tensor, white: f64) -> Tensor {
    let constant = |values: [f64; 3]| Tensor::from_slice(&values.map(|value| value as f32)).view([1, 3, 1, 1]);
    let (mean, std) = ([0.481_454_66, 0.457_827_5, 0.408_210_73], [0.268_629_54, 0.261_302_6, 0.275_777_1]);
    let (factor, offset) = ([0, 1, 2].map(|c| 1.0 / (white * std[c])), [0, 1, 2].map(|c| -mean[c] / std[c]));
    let [factor, offset] = [factor, offset].map(|values| constant(values).to_device(images.device()));
    offset.addcmul(images, &factor)
}
