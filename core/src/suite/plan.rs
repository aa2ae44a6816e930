//! Estimates the cost of a suite before any of its files exist: `gauntlet run --dry-run`.

use super::Suite;
use crate::data::DataConfig;
use crate::model::ModelConfig;
use crate::registry::Configured;
use crate::{Error, Evaluator, Result, downstream};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt::Write;

/// Assumptions of the `--dry-run` estimate; nothing else reads them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Plan {
    /// Number of pairs in the data, held-out pairs included; 0: unknown.
    pub rows: u64,
    /// Training speed in pairs per second; 0: unknown.
    #[schemars(range(min = 0.0))]
    pub train_rate: f64,
    /// Evaluation speed in images per second; 0: unknown.
    #[schemars(range(min = 0.0))]
    pub evaluate_rate: f64,
    /// Source of the two rates; printed next to the estimate.
    pub source: String,
}

/// Measured training speed of finished trials of the same suite.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// Mean, in pairs per second.
    pub train_rate: f64,
    /// Number of trials measured.
    pub trials: usize,
}

/// Workload of one trial of a suite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Size {
    /// Training pairs, without those that poison adds.
    pub train: u64,
    /// Pairs held out.
    pub heldout: u64,
    /// Steps per epoch.
    pub steps: u64,
    /// Epochs.
    pub epochs: u64,
    /// Images that pass through the image tower in evaluation, at most: every attack counts as a
    /// backdoor.
    pub images: f64,
    /// Images whose features are kept in the store.
    pub kept: f64,
}

impl Size {
    /// Steps of a trial.
    pub fn all_steps(&self) -> u64 {
        self.steps * self.epochs
    }
}

impl Suite {
    /// The workload of a trial; `None` if the number of pairs is unknown.
    ///
    /// # Errors
    /// If a table `[downstream]` names a set that does not exist.
    pub fn size(&self) -> Result<Option<Size>> {
        let rows = match &self.data {
            DataConfig::World(world) => world.pairs.into(),
            _ => self.plan.rows,
        };
        if rows == 0 {
            return Ok(None);
        }
        let heldout = (rows as f64 * self.heldout).round() as u64;
        // A separate validation source is held out in addition to all pairs; its size is not known
        // here.
        let train = if self.data.validation().is_some() { rows } else { rows - heldout };
        let (images, kept) = self.images(heldout)?;
        let (steps, epochs) = (train / self.recipe.batch as u64, self.recipe.epochs.into());
        Ok(Some(Size { train, heldout, steps, epochs, images, kept }))
    }

    /// Estimates the cost of `left` of the suite's `trials`. A measured rate takes precedence over
    /// the assumed one.
    ///
    /// # Errors
    /// If a table `[downstream]` names a set that does not exist.
    pub fn estimate(&self, trials: usize, left: usize, measured: Option<Measured>) -> Result<String> {
        let mut text = format!("\n{trials} trials, {left} of them to run");
        let Some(size) = self.size()? else {
            return Ok(text + "; no estimate of their cost: set `plan.rows` to the number of pairs\n");
        };
        let (Size { train, heldout, steps, kept, images, .. }, recipe) = (size, &self.recipe);
        let _ = writeln!(
            text,
            ": {train} pairs to train on, {heldout} held out; {} epochs of {steps} steps of {} = {} steps a trial",
            recipe.epochs,
            recipe.batch,
            size.all_steps()
        );
        let pairs = size.all_steps() * recipe.batch as u64;
        let (rate, source) = match measured {
            Some(Measured { train_rate, trials }) => (train_rate, format!("measured: {trials} finished trials")),
            None => (self.plan.train_rate, self.assumption()),
        };
        text += &cost("training (without idle epochs, at most)", pairs as f64, "pairs", rate, left, &source);
        text += &cost(
            "evaluation (every attack a backdoor, at most)",
            images,
            "images",
            self.plan.evaluate_rate,
            left,
            &self.assumption(),
        );
        if kept > 0.0 {
            let bytes = kept * ModelConfig::named(&self.model)?.embed_dim as f64 * 4.0;
            let all = bytes * left as f64 / 1e9;
            let _ = writeln!(
                text,
                "  features kept in the store for `gauntlet eval`, at most: {:.1} GB a trial, {all:.1} GB in all",
                bytes / 1e9
            );
        }
        Ok(text)
    }

    fn assumption(&self) -> String {
        let source = if self.plan.source.is_empty() { "no source given" } else { &self.plan.source };
        format!("assumed: {source}")
    }

    /// Images that pass through the image tower to evaluate a trial, at most: the held-out images
    /// and those of each set, once plain and once per attack. Second: how many of them have
    /// features that are kept, which are those of the sets.
    fn images(&self, heldout: u64) -> Result<(f64, f64)> {
        let times = 1.0 + self.attacks.len() as f64;
        let evaluators =
            self.evaluators()?.iter().map(Configured::build::<dyn Evaluator>).collect::<Result<Vec<_>>>()?;
        let fits_on = evaluators.iter().map(|evaluator| evaluator.fits_on()).max().unwrap_or(0);
        let mut kept = 0.0;
        for (label, config) in &self.downstream {
            let name = if config.set.is_empty() { label } else { &config.set };
            let place = |error: Error| error.during(format!("table `downstream.{label}`"));
            let size = downstream::about(name).map_err(place)?.size;
            kept += size.fit.min(fits_on) as f64 + size.test as f64 * times;
        }
        Ok((heldout as f64 * times + kept, kept))
    }
}

fn cost(what: &str, count: f64, unit: &str, rate: f64, trials: usize, source: &str) -> String {
    if rate <= 0.0 {
        return format!("  {what}: {count:.0} {unit} a trial; no rate is known\n");
    }
    let hours = count / rate / 3600.0;
    let all = hours * trials as f64;
    format!(
        "  {what}: {count:.0} {unit} a trial, {hours:.2} h; {all:.1} h in all, one at a time ({rate:.0} {unit}/s, {source})\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_follow_from_rows_and_rates_and_a_measured_rate_goes_first() {
        let suite = serde_json::json!({
            "name": "s", "seeds": [0, 1], "model": "tiny", "data": { "kind": "world", "pairs": 1000 }, "heldout": 0.1,
            "recipe": { "epochs": 4, "batch": 64, "warmup_steps": 1 }, "attacks": {}, "arenas": {}, "defenses": { "clip": {} },
            "downstream": { "cifar10": { "path": "nowhere" } },
            "plan": { "train_rate": 10.0, "evaluate_rate": 100.0, "source": "a guess" },
        });
        let suite: Suite = serde_json::from_value(suite).unwrap();
        let text = suite.estimate(2, 2, None).unwrap();
        // 900 / 64 = 14 steps, 4 epochs: 56 steps, 3584 pairs, 358.4 s; 100 + 10000 images: no
        // evaluator here fits anything.
        for part in
            ["2 trials", "= 56 steps", "3584 pairs a trial, 0.10 h; 0.2 h", "a guess", "10100 images a trial, 0.03 h"]
        {
            assert!(text.contains(part), "{part:?} is not in: {text}");
        }
        let measured = Some(Measured { train_rate: 3584.0 / 3600.0, trials: 3 });
        let text = suite.estimate(2, 2, measured).unwrap();
        assert!(
            text.contains("3584 pairs a trial, 1.00 h; 2.0 h in all") && text.contains("3 finished trials"),
            "{text}"
        );
    }
}
