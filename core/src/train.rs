//! The training loop: it owns data order, schedule, precision and checkpoints, and asks the defense what to show the model
//! and what the loss is. `train/checkpoint.rs` says what a resume needs,
//! `train/journal.rs` what is written down, `data/load.rs` how batches come.

pub mod adamw;
pub mod checkpoint;
pub mod corpus;
mod journal;
pub mod matches;
mod pixels;
pub mod precision;
pub mod preset;
mod recipe;
pub mod schedule;
pub mod trajectory;

pub use corpus::Corpus;
pub use journal::{Metric, metrics};
pub use matches::Matches;
pub use pixels::normalise;
pub use precision::Precision;
pub use recipe::Recipe;

use crate::data::{augment, load};
use crate::defense::{Bench, Defense, Phase, Step, TextTower};
use crate::model::Clip;
use crate::{Error, Progress, Result};
use adamw::AdamW;
use checkpoint::{Parts, Position};
use gauntlet_torch::clip_grad_norm;
use journal::LOG_STEPS;
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use tch::Tensor;
use trajectory::Recorder;

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
        let [keys, tokens, words] =
            [&batch.keys, &batch.tokens, &batch.words].map(|tensor| pixels::sent(tensor, device));
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

    fn finish_epoch(&mut self) -> Result<()> {
        self.recorder.iter().try_for_each(|recorder| recorder.epoch_ended(self.position.epoch, self.recipe.epochs))?;
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
            ("defense", self.defense.state()?),
        ]);
        checkpoint::write(&self.folder.join("checkpoint.safetensors"), &self.trial, &self.position, &parts)
    }
}
