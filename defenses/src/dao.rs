//! Dimensionality-aware outlier detection (DAO; Anderberg et al., SDM 2024), as Huang et al. (ICLR
//! 2025) use it to find backdoor samples among the images that a model trained on them embeds. DAO
//! is SLOF (`local_outlier.rs`) with a weight for each neighbour: the local intrinsic
//! dimensionality (LID) around it. Like the released code of Huang et al. we average
//! `LID log ratio`, where the DAO paper has `ratio ^ LID`.

use crate::filter::{Kept, NEEDS, Steps, density_ratios, finite, nearest_others};
use gauntlet::defense::{Needs, State};
use gauntlet::{Defense, Phase, PlanContext, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

/// Drops the images with the highest DAO score.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Dao {
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

impl Default for Dao {
    fn default() -> Self {
        Dao { neighbours: 16, reference: 1024, drop: 0.1, steps: Steps::Equal, kept: Kept::default() }
    }
}

gauntlet::register!(
    dyn Defense,
    Dao,
    "dao",
    "before training: drops images that are outliers to the undefended model, weighted by the local dimensionality",
    "Huang et al., Detecting Backdoor Samples in Contrastive Language Image Pretraining, ICLR 2025"
);

/// Local intrinsic dimensionality by maximum likelihood (Amsaleg et al. 2015), from the distances
/// to the nearest others `[rows, k]`. The logarithm is kept finite as in the released code.
fn dimensionality(nearest: &Tensor) -> Tensor {
    let ratios = nearest / nearest.narrow(1, nearest.size()[1] - 1, 1);
    let sum = (ratios + 1e-4).log().sum_dim_intlist([1].as_slice(), false, Kind::Float);
    -(nearest.size()[1] as f64) * sum.reciprocal()
}

/// Mean over the `k` nearest others of their dimensionality times the logarithm of SLOF's ratio:
/// `[rows]`.
fn dao(image: &Tensor, k: i64) -> Tensor {
    let (numbers, nearest) = nearest_others(image, k);
    let around = dimensionality(&nearest).index_select(0, &numbers.flatten(0, -1)).view_as(&numbers);
    let scores = around * density_ratios(&numbers, &nearest).log();
    finite(&scores.mean_dim([1].as_slice(), false, Kind::Float))
}

impl Defense for Dao {
    fn needs(&self) -> Needs {
        NEEDS
    }

    fn plan(&mut self, _epoch: u32, bench: &PlanContext) -> Result<Vec<Phase>> {
        self.kept.plan(bench, (self.drop, self.steps), self.reference, |pairs| dao(&pairs.image, self.neighbours))
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
        crate::golden::same("dao", |golden| super::dao(&golden["features"], 16));
    }
}
