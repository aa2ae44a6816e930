//! Gauntlet compares poisoning and backdoor attacks on CLIP pre-training, and the defenses against
//! them. Every method meets identical poison, data order, recipe and measurements.
//!
//! Data flow: [`data`] -> [`attack`] (a list of edits) -> [`poison`] (the edits applied) ->
//! [`corpus`] -> [`defense`] and [`train`] -> [`evaluator`] -> [`results`]. [`trial`] runs it from
//! end to end: read it first. A plugin author needs `Attack`, `Defense` or `Evaluator`, and
//! [`register!`].
//!
//! Modules are listed in order of dependence: each uses only those above it.
//! `tests/integration/layers.rs` checks this.

pub mod registry;
pub mod build;
pub mod run;
pub mod recipe;
pub mod model;
pub mod attack;
pub mod poison;
pub mod corpus;
pub mod defense;
pub mod train;
pub mod evaluator;
pub mod results;
pub mod library;
pub mod trial;
pub mod conformance;
pub mod golden;
pub mod suite;

pub use attack::{Attack, Backdoor, Edit, Goal, ImageSource, PoisonCtx, Target};
pub use corpus::{RowKey, RowNumber, TrainRow};
pub use defense::{Defense, Phase, PlanContext, Step};
pub use evaluator::{EvalContext, Evaluator, Score};
pub use gauntlet_data as data;
pub use gauntlet_data::{DataRow, Error, Progress, Result, downstream, draw, error, lease, progress};
pub use trial::Trial;

// Plugins build against exactly these versions: they are part of the plugin interface.
pub use {inventory, rand, schemars, serde, serde_json, tch};
