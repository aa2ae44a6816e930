//! Simplified local outlier factor (Schubert, Zimek and Kriegel 2014), as Huang et al. (ICLR 2025)
//! use it to find backdoor samples among the images that a model trained on them embeds: a poisoned
//! image lies where it is sparser than around its neighbours.

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
    /// Neighbours of each image.
    #[schemars(range(min = 2))]
    neighbours: i64,
    /// Images among which neighbours are sought, drawn from all: about so many at a time.
    #[schemars(range(min = 32))]
    reference: usize,
    /// Share of the rows that is dropped.
    #[schemars(range(min = 0.0, max = 0.9))]
    drop: f64,
    /// How long is trained on the rest.
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
    "before training: drops images that the undefended model puts where it is sparser than around their neighbours (SLOF)",
    "Huang et al., Detecting Backdoor Samples in Contrastive Language Image Pretraining, ICLR 2025"
);

/// Mean over the `k` nearest others of the distance to the `k`-th of them over that neighbour's own
/// distance to its `k`-th: `[rows]`.
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
