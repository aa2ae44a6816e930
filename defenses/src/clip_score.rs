//! CLIP score: drops the pairs whose image and caption a model finds unlike, as LAION did to build
//! its data (Schuhmann et al. 2021). The reference model here is trained on the poisoned data and
//! may have memorised the poison: the pairs that fit best may be the poisoned ones.

use crate::filter::{Kept, NEEDS, Steps};
use gauntlet::defense::{Needs, State};
use gauntlet::{Defense, Phase, PlanContext, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tch::Device;

/// Drops the pairs with the lowest CLIP score.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ClipScore {
    /// Share of the rows to drop.
    #[schemars(range(min = 0.0, max = 0.9))]
    drop: f64,
    /// How long to train on the remaining rows.
    steps: Steps,
    #[serde(skip)]
    kept: Kept,
}

impl Default for ClipScore {
    fn default() -> Self {
        ClipScore { drop: 0.1, steps: Steps::Equal, kept: Kept::default() }
    }
}

gauntlet::register!(
    dyn Defense,
    ClipScore,
    "clip-score",
    "before training: drops the pairs whose image and caption are least alike to the undefended model",
    "Schuhmann et al., LAION-400M, 2021"
);

impl Defense for ClipScore {
    fn needs(&self) -> Needs {
        NEEDS
    }

    fn plan(&mut self, _epoch: u32, ctx: &PlanContext) -> Result<Vec<Phase>> {
        self.kept.plan(ctx, (self.drop, self.steps), 1024, |pairs| -pairs.similarities())
    }

    fn state(&self) -> Result<State> {
        Ok(self.kept.state())
    }

    fn restore(&mut self, state: State, _device: Device) -> Result<()> {
        self.kept.restore(state)
    }
}
