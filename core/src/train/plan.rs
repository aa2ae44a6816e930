//! Turns a defense's plan for an epoch into the trainer's phases: rows of the corpus, the end of
//! poison, and a number of steps that fits the schedule.

use super::Trainer;
use crate::corpus::{Corpus, TrainRow};
use crate::data::augment;
use crate::defense::{Phase, PlanContext};
use crate::run::RunContext;
use crate::{Error, Result};
use std::cell::Cell;
use std::sync::Arc;
use std::time::Instant;

/// A phase on rows of the corpus: the trainer makes it from a defense's plan and stores it in
/// checkpoints.
pub type TrainPhase = Phase<TrainRow>;

impl Trainer<'_> {
    /// Asks the defense for its plan of this epoch, once per epoch.
    pub fn plan(&mut self, machine: &RunContext) -> Result<Vec<TrainPhase>> {
        if let Some(phases) = &self.position.phases {
            return Ok(phases.clone());
        }
        let clock = Instant::now();
        let (seed, epochs, precision) = (self.corpus.seed, self.recipe.epochs, self.recipe.precision);
        let inference_samples = Cell::new(0);
        let ctx = PlanContext {
            model: self.model,
            undefended: self.undefended,
            needs: self.defense.needs(),
            corpus: self.corpus,
            folder: &self.folder,
            seed,
            epochs,
            precision,
            inference_samples: &inference_samples,
            machine,
        };
        let planned = self.defense.plan(self.position.epoch, &ctx)?;
        let phases = planned.into_iter().map(|phase| self.take(phase)).collect::<Result<Vec<_>>>()?;
        self.check(&phases)?;
        self.position.inference_samples += inference_samples.get();
        self.position.seconds += clock.elapsed().as_secs_f64();
        self.position.phases = Some(phases.clone());
        Ok(phases)
    }

    /// Converts the defense's row numbers to rows of the corpus; drops poisoned rows in epochs
    /// without poison.
    fn take(&self, planned: Phase) -> Result<TrainPhase> {
        let mut rows = None;
        if let Some(numbers) = &planned.rows {
            if let Some(row) = numbers.iter().find(|row| row.place() >= self.corpus.len()) {
                return Err(Error::invalid("the defense's plan", format!("names row {row} of {}", self.corpus.len())));
            }
            rows = Some(Arc::new(self.corpus.places_of(numbers)));
        }
        let mut phase = planned.on(rows);
        if self.clean_after.is_some_and(|last| self.position.epoch > last) {
            phase.steps = Some(steps(self.corpus, &phase));
            phase.rows = Some(Arc::new(self.corpus.without_poison(phase.rows.as_deref())));
        }
        Ok(phase)
    }

    /// The first epoch determines the number of steps per epoch: the schedule covers that number
    /// times the number of epochs.
    fn check(&mut self, phases: &[TrainPhase]) -> Result<()> {
        let steps = phases.iter().map(|phase| steps(self.corpus, phase)).sum();
        let wrong =
            |why: String| Err(Error::invalid(format!("the defense's plan of epoch {}", self.position.epoch), why));
        for phase in phases {
            phase.augmentation.as_ref().map_or(Ok(()), augment::Augmentation::check)?;
            let second = phase.second.and_then(|view| view.augmentation);
            second.as_ref().map_or(Ok(()), augment::Augmentation::check)?;
            let rows = phase.rows.as_ref().map_or(self.corpus.len(), |rows| rows.len());
            if rows < self.recipe.batch {
                return wrong(format!("has a phase of {rows} rows; a batch is {}", self.recipe.batch));
            }
        }
        if self.position.steps_per_epoch == 0 {
            let idle = phases.is_empty();
            self.position.steps_per_epoch = if idle { self.corpus.len() / self.recipe.batch } else { steps };
            let all = self.position.steps_per_epoch as u64 * u64::from(self.recipe.epochs);
            if self.recipe.warmup_steps >= all {
                let why = format!("is {}, but the whole training has only {all} steps", self.recipe.warmup_steps);
                return Err(Error::invalid("recipe, key `warmup_steps`", why));
            }
        }
        let all = self.position.steps_per_epoch;
        if steps > all { wrong(format!("has {steps} steps, but the first epoch had {all}")) } else { Ok(()) }
    }
}

/// Number of steps in a phase.
pub(super) fn steps(corpus: &Corpus, phase: &TrainPhase) -> usize {
    let rows = phase.rows.as_ref().map_or(corpus.len(), |rows| rows.len());
    phase.steps.unwrap_or(rows / corpus.batch)
}
