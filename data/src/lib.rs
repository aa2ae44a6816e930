//! Image-caption pairs and downstream sets: rows, their classes, their canvases, and which of them
//! are held out. Knows no training, attack or plugin.
//!
//! The road: a [`Source`] (tar shards, a table, the embedded world) is scanned once into a
//! memory-mapped index of its rows ([`index`]); its images become canvases, from a cache or afresh
//! each time ([`canvas`]). The two are a [`Dataset`]. Nothing in memory grows with the number of
//! rows but the numbers of those that are held out, and of those that an attack chooses among.
//!
//! The order of the modules is the order of dependence: each uses those above it and none below. A test keeps it so
//! (`tests/integration/layers.rs`).

pub mod error;
mod numbers;
pub mod progress;
pub mod draw;
pub mod ordered;
pub mod files;
pub mod store;
pub mod lock;
pub mod rows;
mod intake;
pub mod decode;
mod json;
pub mod pickle;
pub mod eda;
pub mod tokenize;
pub mod classes;
pub mod source;
pub mod downstream;
pub mod config;
pub mod world;
pub mod webdataset;
pub mod csv;
pub mod labelled;
mod validation;
mod open;
pub mod vocabulary;
pub mod index;
pub mod canvas;
mod dataset;
mod split;
pub mod augment;

pub use classes::{Class, ClassFile, Classes};
pub use config::DataConfig;
pub use dataset::Dataset;
pub use error::{Error, Result};
pub use files::regular;
pub use numbers::DataRow;
pub use progress::Progress;
pub use rows::BadRow;
pub use source::{Entry, Row, Source, Stamp};
pub use split::{Split, TrainRows};
pub use tokenize::words;

/// Hash of the sources that make indexes and canvases, and of the versions of what they are built
/// on: part of the keys of both. They are keyed by less than the rest, since they take longest to
/// make and no attack, defense or evaluator has a part in them.
pub const SOURCES: &str = env!("GAUNTLET_DATA");
