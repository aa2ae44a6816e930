//! Gauntlet: poisoning and backdoor attacks on CLIP pre-training, and the defenses against them, all run through the
//! same gauntlet: identical poison, identical data order, identical recipe, identical measurements.
//!
//! The road, in the order of the modules: [`data`] -> [`attack`] (a list of edits) -> [`poison`] (what those edits make)
//! -> [`model`] -> [`defense`] and [`train`] -> [`evaluator`] -> [`report`] -> [`judge`]. [`trial`] walks it from end to end: read it first.
//! A plugin author needs `Attack`, `Defense` or `Evaluator`, and [`register!`].

pub mod attack;
pub mod build;
pub mod conformance;
pub mod data;
pub mod defense;
pub mod downstream;
pub mod draw;
pub mod error;
pub mod evaluator;
pub mod golden;
pub mod judge;
pub mod lock;
pub mod model;
pub mod plugin;
pub mod poison;
pub mod progress;
pub mod report;
pub mod suite;
pub mod train;
mod transfer;
pub mod trial;

pub use attack::{Attack, Backdoor, Edit, Goal, Picture, PoisonCtx, Target};
pub use defense::{Bench, Defense, Phase, Step};
pub use error::{Error, Result};
pub use evaluator::{Evaluator, Score, Subject};
pub use progress::Progress;
pub use trial::Trial;

// Plugins build against these very versions: they are part of the interface.
pub use {inventory, rand, schemars, serde, serde_json, tch};
