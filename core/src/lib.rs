//! Gauntlet: poisoning and backdoor attacks on CLIP pre-training, and the defenses against them, all run through the
//! same gauntlet: identical poison, identical data order, identical recipe, identical measurements.
//!
//! The road: [`data`] -> [`attack`] (a list of edits) -> [`poison`] (what those edits make) ->
//! [`corpus`] -> [`defense`] and [`train`] -> [`evaluator`] -> [`results`]. [`trial`] walks it from
//! end to end: read it first. A plugin author needs `Attack`, `Defense` or `Evaluator`, and
//! [`register!`].
//!
//! The order of the modules is the order of dependence: each uses those above it and none below. A test keeps it so
//! (`tests/integration/layers.rs`).

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
pub use gauntlet_data::{DataRow, Error, Progress, Result, downstream, draw, error, lock, progress};
pub use trial::Trial;

// Plugins build against these very versions: they are part of the interface.
pub use {inventory, rand, schemars, serde, serde_json, tch};
