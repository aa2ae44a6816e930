//! Fine-tuning: the undefended model is trained on for a while, on pairs that somebody has checked
//! to be clean. The control of every defense that does the same and more, such as CleanCLIP: what
//! only fine-tuning does is not that defense's merit.

use gauntlet::defense::{Needs, Undefended};
use gauntlet::recipe::Recipe;
use gauntlet::{Defense, Phase, PlanContext, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// How a trained model is trained further on clean pairs.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FineTune {
    /// Clean pairs: a share of the training rows below 1, or a number.
    #[schemars(range(min = 0.0001))]
    pub clean_pairs: f64,
    /// Passes over them.
    #[schemars(range(min = 1))]
    pub epochs: u32,
    /// Rows of a step at most; fewer where there are not so many clean pairs.
    #[schemars(range(min = 2))]
    pub batch: usize,
    /// Greatest learning rate; the optimizer starts afresh.
    pub learning_rate: f64,
    /// Steps of linear warm-up.
    pub warmup_steps: u64,
}

/// CleanCLIP's own values for fine-tuning: 100,000 of 3 million pairs, 10 epochs, batch 64,
/// learning rate 1e-5, 50 steps of warm-up.
impl Default for FineTune {
    fn default() -> Self {
        FineTune { clean_pairs: 0.033, epochs: 10, batch: 64, learning_rate: 1e-5, warmup_steps: 50 }
    }
}

gauntlet::register!(
    dyn Defense,
    FineTune,
    "fine-tune",
    "after training: trains the undefended model on with clean pairs; the control of cleanclip",
    ""
);

impl FineTune {
    pub fn needs(&self) -> Needs {
        Needs { undefended: Undefended::Start, clean_pairs: self.clean_pairs }
    }

    pub fn recipe(&self, suite: &Recipe, rows: usize) -> Recipe {
        let clean = FineTune::needs(self).clean_rows(rows);
        Recipe {
            epochs: self.epochs,
            batch: self.batch.min(clean).max(2),
            learning_rate: self.learning_rate,
            warmup_steps: self.warmup_steps,
            init: String::new(),
            ..suite.clone()
        }
    }

    /// The clean rows, as they are.
    pub fn phase(bench: &PlanContext) -> Result<Phase> {
        Ok(Phase { rows: Some(Arc::new(bench.clean_rows()?)), ..Phase::default() })
    }
}

impl Defense for FineTune {
    fn needs(&self) -> Needs {
        FineTune::needs(self)
    }

    fn recipe(&self, suite: &Recipe, rows: usize) -> Result<Recipe> {
        Ok(FineTune::recipe(self, suite, rows))
    }

    fn plan(&mut self, _epoch: u32, bench: &PlanContext) -> Result<Vec<Phase>> {
        Ok(vec![FineTune::phase(bench)?])
    }
}
