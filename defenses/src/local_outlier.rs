//! Simplified local outlier factor (SLOF; Schubert, Zimek and Kriegel 2014), as Huang et al. (ICLR
//! 2025) use it to find backdoor samples among the images that a model trained on them embeds: the
//! neighbourhood of a poisoned image is sparser than those of its neighbours.

use crate::filter::{Kept, NEEDS, Steps, density_ratios, finite, nearest_others};
use gauntlet::defense::{Needs, State};
use gauntlet::{Defense, Phase, PlanContext, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

/// Drops the images with the highest local outlier factor.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LocalOutlier {
    /// Number of neighbours of each image.
    #[schemars(range(min = 2))]
    neighbours: i64,
    /// Images among which neighbours are searched: chunks of about this size, drawn from all rows.
    #[schemars(range(min = 32))]
    reference: usize,
    /// Share of the rows to drop.
    #[schemars(range(min = 0.0, max = 0.9))]
    drop: f64,
    /// How long to train on the remaining rows.
    steps: Steps,
    #[serde(skip)]
    kept: Kept,
}

impl Default for LocalOutlier {
    fn default() -> Self {
        LocalOutlier { neighbours: 16, reference: 1024, drop: 0.1, steps: Steps::Equal, kept: Kept::default() }
    }
}

gauntlet::register!(
    dyn Defense,
    LocalOutlier,
    "local-outlier",
    "before training: drops images whose neighbourhood is sparser than those of their neighbours to the undefended model (SLOF)",
    "Huang et al., Detecting Backdoor Samples in Contrastive Language Image Pretraining, ICLR 2025"
);

/// Mean over the `k` nearest others of the row's distance to its `k`-th neighbour, divided by that
/// neighbour's distance to its own `k`-th: `[rows]`.
fn slof(image: &Tensor, k: i64) -> Tensor {
    let (numbers, nearest) = nearest_others(image, k);
    finite(&density_ratios(&numbers, &nearest).mean_dim([1].as_slice(), false, Kind::Float))
}

impl Defense for LocalOutlier {
    fn needs(&self) -> Needs {
        NEEDS
    }

    fn plan(&mut self, _epoch: u32, bench: &PlanContext) -> Result<Vec<Phase>> {
        self.kept.plan(bench, (self.drop, self.steps), self.reference, |pairs| slof(&pairs.image, self.neighbours))
    }

    fn state(&self) -> Result<State> {
        Ok(self.kept.state())
    }

    fn restore(&mut self, state: State, _device: Device) -> Result<()> {
        self.kept.restore(state)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn equals_pytorch() {
        crate::golden::same("slof", |golden| super::slof(&golden["features"], 16));
    }
}
