//! What a reader must know beside the scores, in lines of text: rows lost, libraries loaded,
//! downstream sets read otherwise than published.

use crate::lines::{self, data};
use gauntlet::data::rows::Tally;
use gauntlet::results::Line;
use std::collections::BTreeSet;

/// The libraries that plugins of these lines were loaded from, a line a content: two of one file are two builds of it.
pub fn libraries(lines: &[Line]) -> String {
    let said = lines::libraries(lines).map(|line| &line.library).collect::<BTreeSet<_>>().into_iter();
    said.map(|library| format!("plugins of {}: BLAKE3 {}, {}\n", library.file, library.blake3, library.built)).collect()
}

/// What became of the rows that the trials of these lines read, each different answer once with the
/// number of trials that gave it.
pub fn tallies(lines: &[Line]) -> Vec<(&Tally, usize)> {
    let mut rows: Vec<(&Tally, usize)> = Vec::new();
    for line in data(lines) {
        match rows.iter_mut().find(|(tally, _)| **tally == line.rows) {
            Some((_, trials)) => *trials += 1,
            None => rows.push((&line.rows, 1)),
        }
    }
    rows
}

/// What was lost of the rows that the trials of these lines read, and what else is to be known of
/// them; nothing where all were kept.
pub fn losses(lines: &[Line]) -> String {
    let rows = tallies(lines);
    let said = rows.iter().filter(|(tally, _)| !tally.is_plain()).flat_map(|(tally, trials)| {
        let of = if rows.len() > 1 { format!(" in {trials} trials") } else { String::new() };
        std::iter::once(format!("rows{of}: {}\n", tally.summary()))
            .chain(tally.details().into_iter().map(|line| format!("  {line}\n")))
    });
    said.chain(leaks(lines)).collect()
}

/// What held-out rows were dropped, because their images are trained on, too.
fn leaks(lines: &[Line]) -> Option<String> {
    let leaked = data(lines).map(|line| line.leaked);
    let [least, most] = [leaked.clone().min()?, leaked.max()?];
    let count = if least == most { most.to_string() } else { format!("{least} to {most}, by seed") };
    (most > 0).then(|| format!("held-out rows that were dropped, because their images are trained on, too: {count}\n"))
}

/// What there is to know about the downstream sets that these lines are about, a line a set; sets
/// without a note have none.
pub fn sets(lines: &[Line]) -> String {
    let notes = lines::sets(lines)
        .filter(|set| !set.notes.is_empty())
        .map(|set| format!("{}: {}\n", set.dataset, set.notes.join("; ")));
    notes.collect::<BTreeSet<String>>().into_iter().collect()
}
