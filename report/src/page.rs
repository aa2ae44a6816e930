//! The results of a suite as one HTML page. `page/frame.rs` writes the whole page; each other file
//! writes a part.
//!
//! Parts are maud templates, which escape all inputs. The data of the plots is in one block of JSON
//! (`plots.rs`).

mod cell;
mod cost;
mod curves;
mod frame;
mod gallery;
mod glance;
mod marker;
mod plots;
mod rows;
mod scores;
mod setup;
mod tradeoff;
mod trajectory;
mod verdicts;

use crate::column::Column;
use crate::folder::Folder;
use crate::judge::{self, Comparison};
use crate::view::ResultsView;
use gauntlet::poison::CLEAN;
use gauntlet::{Progress, Result, build};
use marker::Marker;

/// The page of a folder. With `gallery` it has images of the poison: the data is opened for that,
/// with reports to `progress`.
pub fn html(folder: &Folder, gallery: Option<&dyn Progress>) -> Result<String> {
    let view = ResultsView::new(&folder.suite, &folder.lines)?;
    let comparisons = judge::compare(&view, &folder.suite.baseline)?;
    frame::render(&Story { folder, view, comparisons }, gallery)
}

/// The input of every part of the page.
struct Story<'a> {
    folder: &'a Folder,
    view: ResultsView<'a>,
    /// Comparisons of every defense with the baseline and with its controls.
    comparisons: Vec<Comparison>,
}

impl<'a> Story<'a> {
    /// The marker of a defense, the same everywhere.
    fn marker(&self, defense: &str) -> Marker {
        let others = self.view.defenses().filter(|label| *label != self.view.suite.baseline);
        Marker(others.zip(1..).find(|(label, _)| *label == defense).map_or(0, |(_, place)| place))
    }

    /// The poisoned arenas.
    fn poisoned(&self) -> impl Iterator<Item = &'a str> {
        self.view.suite.arenas.keys().map(String::as_str)
    }

    /// The success columns of attacks on an arena's own data.
    fn successes(&self, arena: &str) -> Vec<Column> {
        let success = |column: &Column| column.higher_is_better == Some(false) && column.set.is_none();
        self.columns(arena).0.into_iter().filter(|column| column.attack.is_some() && success(column)).collect()
    }

    /// The columns of an arena's first table, and the other columns. A score without a base rate,
    /// such as the trajectory of poisoned pairs, is no success of an attack, whichever direction is
    /// better, so it is among the others.
    fn columns(&self, arena: &str) -> (Vec<Column>, Vec<Column>) {
        let clean = self.view.columns(CLEAN);
        let has_base = |column: &Column| column.attack.is_none() || clean.is_empty() || clean.contains(column);
        let is_main = |column: &Column| column.set.is_none() && column.is_main() && has_base(column);
        self.view.columns(arena).into_iter().partition(is_main)
    }
}

/// The build of gauntlet that writes the page.
fn written_by() -> String {
    let build = build::get();
    let changed = if build.dirty { ", changed" } else { "" };
    let commit = build.commit.get(..12).map(|commit| format!(" of commit {commit}{changed}")).unwrap_or_default();
    format!("gauntlet {}{commit}", build.version)
}

/// An identifier for an anchor: letters, digits and dashes only.
fn anchor(parts: &[&str]) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    parts.iter().map(|part| part.chars().map(letter).collect::<String>()).collect::<Vec<_>>().join("-")
}
