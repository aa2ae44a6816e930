//! What a suite's results say: a folder of results is read ([`folder`]), looked up ([`view`]), judged ([`judge`]), laid out ([`layout`]) and
//! written: as text ([`table`]), for other programs ([`export`]) or as a page to look at ([`page`]).

pub mod accuracy;
pub mod export;
pub mod folder;
pub mod judge;
pub mod layout;
pub mod merge;
pub mod notes;
pub mod page;
#[cfg(test)]
mod sample;
pub mod table;
pub mod view;
