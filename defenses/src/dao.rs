//! Dimensionality-aware outlier detection (DAO; Anderberg et al., SDM 2024), as Huang et al. (ICLR
//! 2025) use it to find backdoor samples among the images that a model trained on them embeds. DAO
//! is SLOF (`local_outlier.rs`) with a weight for each neighbour: the local intrinsic
//! dimensionality (LID) around it. Like the released code of Huang et al. we average
//! `LID log ratio`, where the DAO paper has `ratio ^ LID`.

use crate::neighbours::{NeighbourFilter, OutlierScore, density_ratios};
use gauntlet::Defense;
use tch::{Kind, Tensor};

/// The DAO score.
pub struct Dao;

gauntlet::register!(
    dyn Defense,
    NeighbourFilter<Dao>,
    "dao",
    "before training: drops images that are outliers to the undefended model, weighted by the local dimensionality",
    "Huang et al., Detecting Backdoor Samples in Contrastive Language Image Pretraining, ICLR 2025"
);

impl OutlierScore for Dao {
    /// Mean over the neighbours of their dimensionality times the logarithm of SLOF's ratio.
    fn score(numbers: &Tensor, nearest: &Tensor) -> Tensor {
        let around = dimensionality(nearest).index_select(0, &numbers.flatten(0, -1)).view_as(numbers);
        let scores = around * density_ratios(numbers, nearest).log();
        scores.mean_dim([1].as_slice(), false, Kind::Float)
    }
}

/// Local intrinsic dimensionality by maximum likelihood (Amsaleg et al. 2015), from the distances
/// to the nearest others `[rows, k]`. The logarithm is kept finite as in the released code.
fn dimensionality(nearest: &Tensor) -> Tensor {
    let ratios = nearest / nearest.narrow(1, nearest.size()[1] - 1, 1);
    let sum = (ratios + 1e-4).log().sum_dim_intlist([1].as_slice(), false, Kind::Float);
    -(nearest.size()[1] as f64) * sum.reciprocal()
}

#[cfg(test)]
mod tests {
    use super::Dao;
    use crate::neighbours::outlier_scores;

    #[test]
    fn equals_pytorch() {
        crate::golden::same("dao", |golden| outlier_scores::<Dao>(&golden["features"], 16));
    }
}
