//! Image-caption pairs and downstream sets: rows, their classes, their canvases, and the held-out
//! split. This crate has no code for training, attacks or plugins.
//!
//! The data flow: a [`Source`] (tar shards, a table, the embedded world) is scanned once into a
//! memory-mapped index of its rows ([`index`]). Its images become canvases, from a cache or decoded
//! on request ([`canvas`]). A [`Dataset`] holds both. Memory grows with the number of rows only in
//! two lists of row numbers: the held-out rows, and the rows that an attack chooses from.
//!
//! The modules are in the order of dependence: each uses modules above it and none below. A test
//! checks this (`tests/integration/layers.rs`).

pub mod error;
mod numbers;
mod visible;
pub mod progress;
pub mod draw;
pub mod ordered;
pub mod files;
pub mod lease;
pub mod store;
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
pub use visible::{visible, visible_line};

/// Hash of the sources that make indexes and canvases, and of the versions of their dependencies;
/// part of the keys of both. It covers less than the other keys: indexes and canvases take longest
/// to make, and no attack, defense or evaluator affects them.
pub const SOURCES: &str = env!("GAUNTLET_DATA");
