//! Selects lines of one kind from the lines of results.

use gauntlet::results::{Cost, DataLine, LibraryLine, Line, ScoreLine, SetLine};

/// Scores of trials.
pub fn scores(lines: &[Line]) -> impl Iterator<Item = &ScoreLine> + Clone {
    lines.iter().filter_map(|line| if let Line::Score(line) = line { Some(line) } else { None })
}

/// The cost of trials.
pub fn costs(lines: &[Line]) -> impl Iterator<Item = &Cost> + Clone {
    lines.iter().filter_map(|line| if let Line::Cost(line) = line { Some(line) } else { None })
}

/// The rows that trials read.
pub fn data(lines: &[Line]) -> impl Iterator<Item = &DataLine> + Clone {
    lines.iter().filter_map(|line| if let Line::Data(line) = line { Some(line) } else { None })
}

/// The downstream sets that trials read.
pub fn sets(lines: &[Line]) -> impl Iterator<Item = &SetLine> + Clone {
    lines.iter().filter_map(|line| if let Line::Set(line) = line { Some(line) } else { None })
}

/// The libraries that plugins of trials were loaded from.
pub fn libraries(lines: &[Line]) -> impl Iterator<Item = &LibraryLine> + Clone {
    lines.iter().filter_map(|line| if let Line::Library(line) = line { Some(line) } else { None })
}

/// The tier of a score as text.
pub fn tier(line: &ScoreLine) -> &str {
    if line.tier.is_empty() { "none" } else { &line.tier }
}
