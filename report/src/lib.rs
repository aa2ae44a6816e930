//! Reads and presents the results of a suite. Data flows one way: a folder of results is read
//! ([`folder`]), looked up ([`view`]), judged ([`judge`]), laid out ([`layout`]) and written as
//! text ([`table`]), for other programs ([`export`]) or as an HTML page ([`page`]).
//!
//! The order of the modules is the order of dependence: each uses only those above it.
//! [`statistics`] handles only numbers.

pub mod statistics;
pub mod lines;
pub mod differing;
pub mod notes;
pub mod accuracy;
pub mod folder;
pub mod column;
pub mod over_seeds;
pub mod view;
pub mod judge;
pub mod pair;
pub mod layout;
pub mod table;
pub mod export;
pub mod merge;
pub mod record;
pub mod check;
pub mod page;

#[cfg(test)]
mod sample;
