//! The training loop. It owns data order, schedule, precision and checkpoints, and asks the defense
//! for the phases of each epoch and for the loss. `train/checkpoint.rs` stores the state for a
//! resume, `train/plan.rs` turns a defense's plan into phases, `train/journal.rs` writes metrics,
//! `train/load.rs` loads batches.

pub mod adamw;
pub mod checkpoint;
mod journal;
pub mod load;
pub mod matches;
mod pixels;
mod plan;
pub mod trajectory;

pub use journal::{Metric, metrics};
pub use matches::Matches;
pub use pixels::normalise;
pub use plan::TrainPhase;

use crate::corpus::{Corpus, TrainRow};
use crate::defense::{Defense, Embedded, State, Step, Suspicion, TextTower};
use crate::model::Clip;
use crate::recipe::{Recipe, schedule};
use crate::run::RunContext;
use crate::{Error, Result, build};
use adamw::AdamW;
use checkpoint::{Parts, Position};
use gauntlet_torch::clip_grad_norm;
use gauntlet_torch::sent;
use journal::LOG_STEPS;
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;
use tch::Tensor;
use trajectory::Recorder;

/// Results of a training besides the weights; empty if nothing was trained.
#[derive(Default)]
pub struct Trained {
    /// The matches that the defense recorded, one entry per epoch with matches.
    pub matches: Vec<Matches>,
    /// Wall seconds of training, over all resumes.
    pub seconds: f64,
    /// Rows passed through the model in training.
    pub rows: u64,
    /// Like `rows`, but each view of a row counts.
    pub samples: u64,
    /// Rows that the defense embedded without training on them.
    pub inference_samples: u64,
    /// Number of builds of gauntlet that took part; more than one if a build resumed another's
    /// checkpoint.
    pub builds: usize,
    /// Cost of the undefended model, if the defense needs it.
    pub undefended: Spent,
}

/// Cost of a training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spent {
    /// Wall seconds.
    pub seconds: f64,
    /// Rows passed through the model.
    pub samples: u64,
}

/// The model at the end of the last epoch with poison, if training continues without poison.
pub const POISONED: &str = "model-poisoned.safetensors";

/// A training and its state.
pub struct Trainer<'a> {
    recipe: &'a Recipe,
    corpus: &'a Corpus<'a>,
    model: &'a Clip,
    defense: &'a mut dyn Defense,
    optimizer: AdamW,
    position: Position,
    /// Index of the current phase.
    phase: usize,
    undefended: Option<&'a Clip>,
    /// The last epoch with poison, if poison ends before training.
    clean_after: Option<u32>,
    matches: RefCell<Vec<Tensor>>,
    pending: Vec<(Tensor, Tensor)>,
    bad_rows: usize,
    recorder: Option<Recorder<'a>>,
    folder: PathBuf,
    trial: String,
}

impl<'a> Trainer<'a> {
    /// Starts in `folder`, or resumes from the checkpoint in it. `trial` is the hash of the
    /// resolved trial.
    pub fn open(
        recipe: &'a Recipe,
        corpus: &'a Corpus<'a>,
        model: &'a Clip,
        defense: &'a mut dyn Defense,
        folder: &Path,
        trial: &str,
    ) -> Result<Self> {
        if corpus.len() < recipe.batch {
            let why = format!("is {}, but there are only {} training rows", recipe.batch, corpus.len());
            return Err(Error::invalid("recipe, key `batch`", why));
        }
        let mut optimizer =
            AdamW::new(&model.weights, recipe.betas, recipe.epsilon, recipe.weight_decay).decaying(recipe.decay);
        let mut position = Position { epoch: 1, ..Position::default() };
        if let Some((saved, mut parts)) = checkpoint::read(&folder.join(checkpoint::FILE), trial)? {
            let mut part = |name: &str| parts.remove(name).unwrap_or_default();
            model.weights.assign(&part("model"))?;
            optimizer.restore(&part("optimizer"))?;
            defense.restore(part("defense"), corpus.device)?;
            position = saved;
            tracing::info!("resumed from epoch {} of {}", position.epoch, folder.join(checkpoint::FILE).display());
            if position.builds.is_empty() {
                position.builds.push("one that did not tell".into());
            }
            for (number, rows) in part("rows") {
                let phase = number.parse::<usize>().ok().and_then(|number| position.phases.as_mut()?.get_mut(number));
                let phase =
                    phase.ok_or_else(|| Error::invalid("checkpoint", "has rows of a phase that it does not have"))?;
                phase.rows = Some(Arc::new(TrainRow::of_tensor(&rows).map_err(|error| error.during("checkpoint"))?));
            }
        }
        let this = blake3::hash(build::key()?.as_bytes()).to_hex()[..32].to_string();
        if !position.builds.contains(&this) {
            position.builds.push(this);
        }
        let (folder, trial, matches) = (folder.to_path_buf(), trial.to_string(), RefCell::default());
        Ok(Trainer {
            recipe,
            corpus,
            model,
            defense,
            optimizer,
            position,
            phase: 0,
            undefended: None,
            clean_after: None,
            matches,
            pending: Vec::new(),
            bad_rows: 0,
            recorder: None,
            folder,
            trial,
        })
    }

    /// With a recorder that measures the poisoned pairs between epochs.
    pub fn recorded_by(self, recorder: Option<Recorder<'a>>) -> Self {
        Trainer { recorder, ..self }
    }

    /// With the undefended model of the same data, for a defense that needs it.
    pub fn beside(self, undefended: Option<&'a Clip>) -> Self {
        Trainer { undefended, ..self }
    }

    /// With poison only up to this epoch.
    pub fn clean_after(self, epoch: Option<u32>) -> Self {
        Trainer { clean_after: epoch, ..self }
    }

    /// Trains to the end.
    ///
    /// # Errors
    /// [`Error::Interrupted`] if asked to stop (a checkpoint is written first),
    /// [`Error::NotFinite`] if the loss or a weight is not finite.
    pub fn run(mut self, machine: &RunContext) -> Result<Trained> {
        self.keep_metrics()?;
        self.recorder.iter().try_for_each(|recorder| recorder.resume(self.position.epoch))?;
        self.keep_matches()?;
        if self.position.epoch == 1 && self.position.phases.is_none() {
            Suspicion::forget(&self.folder)?;
        }
        while self.position.epoch <= self.recipe.epochs {
            self.plan(machine)?;
            self.epoch(machine)?;
            self.finish_epoch()?;
        }
        if let Some(name) = self.model.weights.not_finite()? {
            let why = format!("`{name}` is not finite after the last step; a lower learning rate may help");
            return Err(Error::NotFinite(why));
        }
        let matches = (1..=self.recipe.epochs).map(|epoch| self.matches_of(epoch)).filter(Matches::exists).collect();
        let Position { seconds, rows, samples, inference_samples, builds, .. } = self.position;
        Ok(Trained {
            matches,
            seconds,
            rows,
            samples,
            inference_samples,
            builds: builds.len(),
            undefended: Spent::default(),
        })
    }

    fn epoch(&mut self, machine: &RunContext) -> Result<()> {
        let (phases, corpus, mut before) = (self.plan(machine)?, self.corpus, 0);
        let planned: usize = phases.iter().map(|phase| plan::steps(corpus, phase)).sum();
        for (number, phase) in phases.iter().enumerate() {
            let steps = plan::steps(corpus, phase);
            let first = self.position.step.saturating_sub(before).min(steps);
            let mut clock = Instant::now();
            load::for_each_batch(corpus, self.position.epoch, phase, first, machine.workers, |step, batch| {
                self.phase = number;
                self.step(batch)?;
                self.position.step = before + step + 1;
                self.position.rows += self.recipe.batch as u64;
                self.position.samples += (self.recipe.batch * (1 + usize::from(phase.second.is_some()))) as u64;
                self.position.seconds += std::mem::replace(&mut clock, Instant::now()).elapsed().as_secs_f64();
                if (step + 1) % LOG_STEPS == 0 || self.position.step == planned {
                    self.log(machine.progress)?;
                }
                let done = self.global_step();
                let due = self.recipe.checkpoint_steps > 0 && done.is_multiple_of(self.recipe.checkpoint_steps);
                if due {
                    self.log(machine.progress)?;
                }
                let stop = machine.stop.load(Ordering::Relaxed); // the progress receiver may just have set it
                if stop {
                    self.log(machine.progress)?;
                }
                if due || stop {
                    self.checkpoint()?;
                }
                if stop { Err(Error::Interrupted) } else { Ok(()) }
            })?;
            before += steps;
        }
        Ok(())
    }

    /// One step on a batch, in a planned epoch; called by [`run`](Trainer::run) and by benchmarks.
    pub fn step(&mut self, batch: load::Batch) -> Result<()> {
        let phase = &self.position.phases.as_ref().expect("the epoch is planned")[self.phase];
        let device = self.corpus.device;
        let [keys, tokens] = [&batch.keys, &batch.tokens].map(|tensor| sent(tensor, device));
        let precision = self.recipe.precision;
        let images = self.corpus.normalise(&batch.images, &batch.params);
        let (image, text) = self.embed(&images, &tokens, &sent(&batch.valid, device), phase.text_tower);
        let second = batch.second.as_ref().map(|second| {
            let [tokens, valid] = [&second.tokens, &second.valid].map(|tensor| sent(tensor, device));
            self.embed(&self.corpus.normalise(&batch.images, &second.params), &tokens, &valid, phase.text_tower)
        });
        let logit_scale = self.model.logit_scale();
        let loss = self.defense.loss(&Step {
            epoch: self.position.epoch,
            image: &image,
            text: &text,
            second: second.as_ref().map(|(image, text)| Embedded { image, text }),
            logit_scale: &logit_scale,
            keys: &keys,
            tokens: &tokens,
            half_logits: self.recipe.half_logits,
            model: self.model,
            precision,
            matches: &self.matches,
        })?;
        let (text_tower, factor) = (phase.text_tower, phase.rate);
        let gradients = self.clip(self.gradients(&loss, text_tower)?)?;
        let steps_per_epoch = self.steps_per_epoch() as u64;
        let rate = schedule::learning_rate(
            self.recipe.learning_rate,
            self.recipe.warmup_steps,
            steps_per_epoch * u64::from(self.recipe.epochs),
            self.recipe.schedule.first_step(steps_per_epoch) + self.global_step(),
        );
        self.optimizer.step(&self.model.weights, &gradients, factor * rate)?;
        self.model.clamp_logit_scale();
        self.pending.push((loss.detach(), batch.keys));
        Ok(())
    }

    /// Image and text embeddings of one view of a batch.
    fn embed(&self, images: &Tensor, tokens: &Tensor, valid: &Tensor, text_tower: TextTower) -> (Tensor, Tensor) {
        let (precision, device) = (self.recipe.precision, self.corpus.device);
        let image = precision.forward(device, || self.model.encode_image(images, true));
        let encode_text = || precision.forward(device, || self.model.encode_valid(tokens, valid));
        let text = match text_tower {
            TextTower::Trained => encode_text(),
            TextTower::Frozen | TextTower::ZeroGradient => tch::no_grad(encode_text),
        };
        (image, text)
    }

    /// Gradients of the parameters that this step updates, by name.
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

    /// Clips gradients to the recipe's norm.
    fn clip(&self, gradients: Vec<(&'a str, Tensor)>) -> Result<Vec<(&'a str, Tensor)>> {
        if self.recipe.clip_norm <= 0.0 {
            return Ok(gradients);
        }
        let (names, gradients): (Vec<_>, Vec<_>) = gradients.into_iter().unzip();
        let (clipped, _) = clip_grad_norm(&gradients.iter().collect::<Vec<_>>(), self.recipe.clip_norm)?;
        Ok(names.into_iter().zip(clipped).collect())
    }

    fn steps_per_epoch(&self) -> usize {
        self.position.steps_per_epoch
    }

    /// Steps done, including the steps of epochs that trained nothing.
    fn global_step(&self) -> u64 {
        u64::from(self.position.epoch - 1) * self.steps_per_epoch() as u64 + self.position.step as u64
    }

    fn finish_epoch(&mut self) -> Result<()> {
        self.recorder.iter().try_for_each(|recorder| recorder.epoch_ended(self.position.epoch, self.recipe.epochs))?;
        if self.clean_after == Some(self.position.epoch) {
            self.model.weights.save(&self.folder.join(POISONED))?;
        }
        self.position.epoch += 1;
        self.position.step = 0;
        self.position.phases = None;
        self.position.match_bytes = 0;
        self.checkpoint()
    }

    fn checkpoint(&self) -> Result<()> {
        let mut rows = State::new();
        for (number, phase) in self.position.phases.iter().flatten().enumerate() {
            if let Some(some) = &phase.rows {
                rows.insert(number.to_string(), TrainRow::tensor(some));
            }
        }
        let parts = Parts::from([
            ("rows", rows),
            ("model", self.model.weights.state()),
            ("optimizer", self.optimizer.state()),
            ("defense", self.defense.state()?),
        ]);
        let path = self.folder.join(checkpoint::FILE);
        checkpoint::write(&path, &self.trial, &self.position, &parts)?;
        tracing::debug!("checkpoint written after step {}: {}", self.global_step(), path.display());
        Ok(())
    }
}
