//! `gauntlet report`: what a suite's run left, as one HTML page to look at. `report/page.rs` is the page; each other file is a part of it.
//!
//! Parts are maud templates, which escape all that they are given; what the plots read goes into one block of JSON (`plots.rs`).

mod cell;
mod cost;
mod curves;
mod gallery;
mod glance;
mod marker;
mod page;
mod plots;
mod rows;
mod scores;
mod setup;
mod tradeoff;
mod trajectory;
mod verdicts;

use crate::say;
use clap::Args;
use gauntlet::judge::{self, Comparison};
use gauntlet::model::weights::write_atomic;
use gauntlet::report::board::{Board, Column};
use gauntlet::report::folder::Folder;
use gauntlet::suite::CLEAN;
use gauntlet::{Error, Result};
use marker::Marker;
use std::path::{Path, PathBuf};

/// Writes the page.
#[derive(Args)]
#[command(after_help = "\
  gauntlet report out/mine --html mine.html

Scores with every seed, accuracy against attack success, training curves, what became of poisoned pairs, pictures of the poison and what the
models take them for, cost and configuration. The page needs no network: send it to whom you like. It may be written while the suite runs.")]
pub struct Report {
    /// The folder given to `run` as --out
    folder: PathBuf,
    /// The page [default: report.html in that folder]
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Leave out the pictures of the poison, which need the data
    #[arg(long)]
    no_gallery: bool,
}

impl Report {
    /// Writes it.
    pub fn run(self) -> Result<()> {
        let folder = Folder::read(&self.folder)?;
        let out = self.html.clone().unwrap_or_else(|| self.folder.join("report.html"));
        let html = page(&folder, !self.no_gallery)?;
        let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::create_dir_all(parent).map_err(Error::io(parent))?;
        write_atomic(&out, html.as_bytes())?;
        say(&format!("{} ({:.1} MB)\n", out.display(), html.len() as f64 / 1e6));
        Ok(())
    }
}

fn page(folder: &Folder, gallery: bool) -> Result<String> {
    let board = Board::new(&folder.suite, &folder.lines)?;
    let comparisons = judge::compare(&board, &folder.suite.baseline)?;
    page::render(&Story { folder, board, comparisons }, gallery)
}

/// What every part of the page is made from.
struct Story<'a> {
    folder: &'a Folder,
    board: Board<'a>,
    /// Of every defense with the baseline and with its controls.
    comparisons: Vec<Comparison>,
}

impl<'a> Story<'a> {
    /// How a defense is drawn, the same everywhere.
    fn marker(&self, defense: &str) -> Marker {
        let others = self.board.defenses().filter(|label| *label != self.board.suite.baseline);
        Marker(others.zip(1..).find(|(label, _)| *label == defense).map_or(0, |(_, place)| place))
    }

    /// Arenas that are poisoned.
    fn poisoned(&self) -> impl Iterator<Item = &'a str> {
        self.board.suite.arenas.keys().map(String::as_str)
    }

    /// The successes of attacks on an arena's own data.
    fn successes(&self, arena: &str) -> Vec<Column> {
        let success = |column: &Column| column.higher_is_better == Some(false) && column.set.is_none();
        self.columns(arena).0.into_iter().filter(|column| column.attack.is_some() && success(column)).collect()
    }

    /// The columns of an arena's first table, and the others. What has no base rate (how poisoned pairs fare while a model trains) is no
    /// success of an attack, whichever way is better, so it is among the others.
    fn columns(&self, arena: &str) -> (Vec<Column>, Vec<Column>) {
        let clean = self.board.columns(CLEAN);
        let has_base = |column: &Column| column.attack.is_none() || clean.is_empty() || clean.contains(column);
        let is_main = |column: &Column| column.set.is_none() && column.is_main() && has_base(column);
        self.board.columns(arena).into_iter().partition(is_main)
    }
}

/// An identifier for a place on the page: letters, digits and dashes only.
fn anchor(parts: &[&str]) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    parts.iter().map(|part| part.chars().map(letter).collect::<String>()).collect::<Vec<_>>().join("-")
}
