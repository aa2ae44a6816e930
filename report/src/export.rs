//! The results of a suite for other programs: CSV for a data frame, Markdown for a page, LaTeX for
//! a paper. Each has one file in `export/`; `layout.rs` has the tables that Markdown and LaTeX
//! share with `table.rs`.

mod csv;
mod latex;
mod markdown;

pub use csv::csv;
pub use latex::latex;
pub use markdown::markdown;

#[cfg(test)]
mod tests;
