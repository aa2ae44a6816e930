//! Image-caption pairs and downstream sets: rows, their classes, their canvases, and which of them are held out. Knows no training, attack
//! or plugin.
//!
//! The road: a [`Source`] (tar shards, a table, the embedded world) is scanned once into a memory-mapped index of its rows
//! ([`index`]); its pictures become canvases, from a cache or afresh each time ([`canvas`]). The two are a [`Dataset`]. Nothing in memory
//! grows with the number of rows but the numbers of those that are held out, and of those that an attack chooses among.

pub mod augment;
pub mod canvas;
pub mod classes;
pub mod csv;
mod dataset;
pub mod downstream;
pub mod draw;
pub mod eda;
pub mod error;
pub mod files;
mod folder;
pub mod index;
mod json;
pub mod labelled;
pub mod lock;
mod numbers;
pub mod ordered;
pub mod progress;
pub mod rows;
mod split;
pub mod tokenize;
mod validation;
pub mod vocabulary;
pub mod webdataset;
pub mod world;

pub use classes::{Class, ClassFile, Classes, words};
pub use dataset::{DataConfig, Dataset, Entry, Source, Stamp};
pub use error::{Error, Result};
pub use files::regular;
pub use numbers::DataRow;
pub use progress::Progress;
pub use rows::BadRow;
pub use split::{Split, TrainRows};

/// Hash of the sources that make indexes and canvases, and of the versions of what they are built on: part of the keys of both. They are keyed by
/// less than the rest, since they take longest to make and no attack, defense or evaluator has a part in them.
pub const SOURCES: &str = env!("GAUNTLET_DATA");
