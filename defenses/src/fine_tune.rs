//! Fine-tuning: the undefended model is trained further on pairs that are known to be clean. It is
//! the control of every defense that fine-tunes and does more, such as CleanCLIP: an effect of
//! fine-tuning alone is no merit of that defense.

use gauntlet::defense::{Needs, Undefended};
use gauntlet::recipe::Recipe;
use gauntlet::{Defense, Phase, PlanContext, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Trains the finished model further on clean pairs.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FineTune {
    /// Clean pairs: a share of the training rows if below 1, otherwise a number.
    #[schemars(range(min = 0.0001))]
    pub clean_pairs: f64,
    /// Passes over the clean pairs.
    #[schemars(range(min = 1))]
    pub epochs: u32,
    /// Maximum batch size; smaller if there are fewer clean pairs.
    #[schemars(range(min = 2))]
    pub batch: usize,
    /// Peak learning rate; the optimizer starts with fresh state.
    pub learning_rate: f64,
    /// Steps of linear warm-up.
    pub warmup_steps: u64,
}

/// CleanCLIP's values for fine-tuning: 100,000 of 3 million pairs, 10 epochs, batch 64, learning
/// rate 1e-5, 50 steps of warm-up.
impl Default for FineTune {
    fn default() -> Self {
        FineTune { clean_pairs: 0.033, epochs: 10, batch: 64, learning_rate: 1e-5, warmup_steps: 50 }
    }
}

gauntlet::register!(
    dyn Defense,
    FineTune,
    "fine-tune",
    "after training: fine-tunes the undefended model on clean pairs; the control of cleanclip",
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

    /// The clean rows, without augmentation.
    pub fn phase(ctx: &PlanContext) -> Result<Phase> {
        Ok(Phase { rows: Some(Arc::new(ctx.clean_rows()?)), ..Phase::default() })
    }
}

impl Defense for FineTune {
    fn needs(&self) -> Needs {
        FineTune::needs(self)
    }

    fn recipe(&self, suite: &Recipe, rows: usize) -> Result<Recipe> {
        Ok(FineTune::recipe(self, suite, rows))
    }

    fn plan(&mut self, _epoch: u32, ctx: &PlanContext) -> Result<Vec<Phase>> {
        Ok(vec![FineTune::phase(ctx)?])
    }
}
