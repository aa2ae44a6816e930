//! Shared by the filters that compare the distances around an image with those around its nearest
//! neighbours: `dao.rs` and `local_outlier.rs`, which differ in the score alone.

use crate::filter::{Kept, NEEDS, Steps};
use gauntlet::defense::{Needs, State};
use gauntlet::{Defense, Phase, PlanContext, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::marker::PhantomData;
use tch::{Device, Kind, Tensor};

/// A score of images by their nearest neighbours.
pub trait OutlierScore: 'static {
    /// f32 `[rows]`, higher for outliers, of the `k` nearest others of each row: their numbers i64
    /// `[rows, k]` and distances f32 `[rows, k]`, nearest first.
    fn score(numbers: &Tensor, nearest: &Tensor) -> Tensor;
}

/// Drops the images with the highest score `S`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, bound = "")]
#[schemars(bound = "", rename = "NeighbourFilter")]
pub struct NeighbourFilter<S: OutlierScore> {
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
    #[serde(skip)]
    score: PhantomData<fn() -> S>,
}

impl<S: OutlierScore> Default for NeighbourFilter<S> {
    fn default() -> Self {
        let (kept, score) = (Kept::default(), PhantomData);
        NeighbourFilter { neighbours: 16, reference: 1024, drop: 0.1, steps: Steps::Equal, kept, score }
    }
}

impl<S: OutlierScore> Defense for NeighbourFilter<S> {
    fn needs(&self) -> Needs {
        NEEDS
    }

    fn plan(&mut self, _epoch: u32, ctx: &PlanContext) -> Result<Vec<Phase>> {
        let score = |pairs: &gauntlet::defense::EmbeddedPairs| outlier_scores::<S>(&pairs.image, self.neighbours);
        self.kept.plan(ctx, (self.drop, self.steps), self.reference, score)
    }

    fn state(&self) -> Result<State> {
        Ok(self.kept.state())
    }

    fn restore(&mut self, state: State, _device: Device) -> Result<()> {
        self.kept.restore(state)
    }
}

/// Scores f32 `[rows]` of image embeddings `[rows, dimensions]`, from the `k` nearest others of each.
pub fn outlier_scores<S: OutlierScore>(image: &Tensor, k: i64) -> Tensor {
    let (numbers, nearest) = nearest_others(image, k);
    finite(&S::score(&numbers, &nearest))
}

/// The `k` nearest others of each row: their numbers i64 `[rows, k]` and their Euclidean distances
/// `[rows, k]`, nearest first.
fn nearest_others(rows: &Tensor, k: i64) -> (Tensor, Tensor) {
    let n = rows.size()[0];
    let k = k.min(n - 1);
    // Distances from sums of squares: if computed from products, the distance of equal rows is not
    // 0.
    let distances = Tensor::cdist(rows, rows, 2.0, 2);
    let itself = Tensor::eye(n, (Kind::Bool, rows.device()));
    let (nearest, numbers) = distances.masked_fill(&itself, f64::INFINITY).topk(k, 1, false, true);
    (numbers, nearest)
}

/// A row's distance to its `k`-th neighbour, divided by the distance of each of its neighbours to
/// their own `k`-th neighbour: `[rows, k]`. The inputs are the results of `nearest_others`.
pub fn density_ratios(numbers: &Tensor, nearest: &Tensor) -> Tensor {
    let last = nearest.select(1, -1);
    last.unsqueeze(1) / last.index_select(0, &numbers.flatten(0, -1)).view_as(numbers)
}

/// Replaces values that are not finite, which come from coinciding rows, as the released code of
/// DAO and SLOF does: such rows are the most suspicious.
fn finite(suspicion: &Tensor) -> Tensor {
    suspicion.nan_to_num(1000.0, 1000.0, 0.0)
}
