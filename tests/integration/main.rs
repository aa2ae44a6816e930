//! Tests from outside: the program as a user runs it, and every registered plugin.
//!
//! Each file has one subject. `program.rs` runs the program and writes the small suites for the
//! other files; read it first.

#![allow(clippy::unwrap_used)]

mod attacks;
mod canvas;
mod cli;
mod cluster;
mod conformance;
mod data;
mod defenses;
mod downstream;
mod exports;
mod frozen;
mod hostile;
mod judge;
mod keys;
mod layers;
mod open_clip;
mod out;
mod plugin_docs;
mod plugins;
mod poison;
mod precision;
mod presets;
mod program;
mod protocol;
mod readme;
mod report;
mod resume;
mod schema;
mod smoke;
mod store;
mod suite;
mod verify;
mod words;
