//! Simplified local outlier factor (SLOF; Schubert, Zimek and Kriegel 2014), as Huang et al. (ICLR
//! 2025) use it to find backdoor samples among the images that a model trained on them embeds: the
//! neighbourhood of a poisoned image is sparser than those of its neighbours.

use crate::neighbours::{NeighbourFilter, OutlierScore, density_ratios};
use gauntlet::Defense;
use tch::{Kind, Tensor};

/// The local outlier factor.
pub struct LocalOutlier;

gauntlet::register!(
    dyn Defense,
    NeighbourFilter<LocalOutlier>,
    "local-outlier",
    "before training: drops images whose neighbourhood is sparser than those of their neighbours to the undefended model (SLOF)",
    "Huang et al., Detecting Backdoor Samples in Contrastive Language Image Pretraining, ICLR 2025"
);

impl OutlierScore for LocalOutlier {
    /// Mean over the neighbours of the distance to the last of them, divided by that neighbour's
    /// own distance to its last.
    fn score(numbers: &Tensor, nearest: &Tensor) -> Tensor {
        density_ratios(numbers, nearest).mean_dim([1].as_slice(), false, Kind::Float)
    }
}

#[cfg(test)]
mod tests {
    use super::LocalOutlier;
    use crate::neighbours::outlier_scores;

    #[test]
    fn equals_pytorch() {
        crate::golden::same("slof", |golden| outlier_scores::<LocalOutlier>(&golden["features"], 16));
    }
}
