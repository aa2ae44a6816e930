//! Notes to the scores as lines of text: lost rows, loaded libraries, downstream sets that differ
//! from the published ones.

use crate::lines::{self, data};
use gauntlet::data::rows::Tally;
use gauntlet::results::Line;
use std::collections::BTreeSet;

/// The libraries that plugins of these lines were loaded from, one line per content: one file name
/// with two contents is two builds.
pub fn libraries(lines: &[Line]) -> String {
    let said = lines::libraries(lines).map(|line| &line.library).collect::<BTreeSet<_>>().into_iter();
    said.map(|library| format!("plugins of {}: BLAKE3 {}, {}\n", library.file, library.blake3, library.built)).collect()
}

/// The row counts of the trials of these lines: each different result once, with the number of
/// trials that have it.
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

/// The rows that the trials of these lines lost, with notes; empty if all rows were kept.
pub fn losses(lines: &[Line]) -> String {
    let rows = tallies(lines);
    let said = rows.iter().filter(|(tally, _)| !tally.is_plain()).flat_map(|(tally, trials)| {
        let of = if rows.len() > 1 { format!(" in {trials} trials") } else { String::new() };
        std::iter::once(format!("rows{of}: {}\n", tally.summary()))
            .chain(tally.details().into_iter().map(|line| format!("  {line}\n")))
    });
    said.chain(leaks(lines)).collect()
}

/// The number of held-out rows that were dropped because their images are also trained on.
fn leaks(lines: &[Line]) -> Option<String> {
    let leaked = data(lines).map(|line| line.leaked);
    let [least, most] = [leaked.clone().min()?, leaked.max()?];
    let count = if least == most { most.to_string() } else { format!("{least} to {most}, by seed") };
    (most > 0).then(|| format!("held-out rows that were dropped, because their images are trained on, too: {count}\n"))
}

/// Notes on the downstream sets of these lines, one line per set; sets without a note have none.
pub fn sets(lines: &[Line]) -> String {
    let notes = lines::sets(lines)
        .filter(|set| !set.notes.is_empty())
        .map(|set| format!("{}: {}\n", set.dataset, set.notes.join("; ")));
    notes.collect::<BTreeSet<String>>().into_iter().collect()
}
