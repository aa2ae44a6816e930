//! Counts the rows of a source: found, kept and lost, for which reasons, and losses that could not
//! be counted. The counts are made together with the index and the canvases, stored beside them,
//! reported whenever the data is opened, and part of the results.

mod dropped;

pub(crate) use dropped::DropList;

use serde::{Deserialize, Serialize};

/// Maximum number of shards that a message names; the results name all of them.
const NAMED: usize = 20;

/// Maximum length of a reason in one line, in characters.
const LETTERS: usize = 300;

/// The kind of a lost row. The names of the kinds are stable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Loss {
    /// The row itself cannot be read: a wrong number of fields, an invalid path.
    #[default]
    MalformedRow,
    /// A sample has no image.
    NoImage,
    /// The image is missing, or cannot be decoded.
    UnreadableImage,
    /// There is no caption, or it has no letter or digit, or it is not text.
    NoCaption,
    /// The caption is longer than the limit.
    LongCaption,
    /// The JSON beside an image cannot be read.
    UnreadableJson,
    /// The class label cannot be read.
    UnreadableLabel,
    /// Members with one key that may belong to several samples, which would be mixed.
    RepeatedKey,
    /// Rows that were merged under one key, because their names have dots.
    DottedName,
    /// Members of one sample that are not next to each other.
    ScatteredMembers,
    /// The sample at which a shard is cut; `cut_shards` allows it, so `max_bad` does not count it.
    CutShard,
}

impl Loss {
    /// Its name in results.
    pub fn name(self) -> &'static str {
        match self {
            Loss::MalformedRow => "malformed-row",
            Loss::NoImage => "no-image",
            Loss::UnreadableImage => "unreadable-image",
            Loss::NoCaption => "no-caption",
            Loss::LongCaption => "long-caption",
            Loss::UnreadableJson => "unreadable-json",
            Loss::UnreadableLabel => "unreadable-label",
            Loss::RepeatedKey => "repeated-key",
            Loss::DottedName => "dotted-name",
            Loss::ScatteredMembers => "scattered-members",
            Loss::CutShard => "cut-shard",
        }
    }
}

/// The fault of a row: the kind, and a description. A plain string is a [`Loss::MalformedRow`].
#[derive(Clone, Debug, PartialEq)]
pub struct Why {
    /// The kind.
    pub kind: Loss,
    /// The description, for repairing the row.
    pub text: String,
}

impl Loss {
    /// This kind with this description. Also for `map_err`.
    pub fn because(self, text: impl Into<String>) -> Why {
        Why { kind: self, text: text.into() }
    }
}

impl From<String> for Why {
    fn from(text: String) -> Self {
        Loss::default().because(text)
    }
}

/// A row that cannot be used, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BadRow {
    /// The name of the row in messages.
    pub name: String,
    /// What is wrong with it.
    pub why: String,
    /// The kind of the loss.
    #[serde(default)]
    pub kind: Loss,
    /// Number of rows that are lost by it: one, unless several were merged.
    #[serde(default = "one")]
    pub rows: u64,
}

fn one() -> u64 {
    1
}

impl BadRow {
    /// One row.
    pub fn new(name: impl Into<String>, why: impl Into<Why>) -> Self {
        BadRow::several(name, why, 1)
    }

    /// Several rows under one name.
    pub fn several(name: impl Into<String>, why: impl Into<Why>, rows: u64) -> Self {
        let Why { kind, text } = why.into();
        BadRow { name: name.into(), why: text, kind, rows }
    }
}

/// The remarks of a source besides its rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Remarks {
    /// Incomplete shards that the suite allows, each with its fault.
    pub cut: Vec<String>,
    /// Other remarks for the user.
    pub notes: Vec<String>,
}

/// Rows found, kept and lost.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tally {
    /// Rows that exist, as far as they can be counted.
    pub found: u64,
    /// Rows that can be used.
    pub kept: u64,
    /// Rows that cannot be used, by kind.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<Lost>,
    /// Incomplete shards: their number of rows is not known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cut: Vec<String>,
    /// Other remarks for the user.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// The rows lost to one kind of fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lost {
    /// The kind.
    pub kind: Loss,
    /// How many.
    pub rows: u64,
    /// The first of them, and its fault.
    pub first: String,
}

impl Tally {
    /// Counts rows that were not counted as kept.
    pub fn lose(&mut self, bad: &BadRow) {
        self.found += bad.rows;
        self.count(bad.kind, bad.rows, || format!("{}: {}", bad.name, bad.why));
    }

    /// Counts rows that were kept until now.
    pub fn lose_kept(&mut self, lost: &Lost) {
        self.kept = self.kept.saturating_sub(lost.rows);
        self.lose_too(lost);
    }

    /// Counts rows as lost that are already counted as found.
    fn lose_too(&mut self, lost: &Lost) {
        self.count(lost.kind, lost.rows, || lost.first.clone());
    }

    fn count(&mut self, kind: Loss, rows: u64, first: impl FnOnce() -> String) {
        if rows == 0 {
            return; // a shard with an unknown number of rows is listed in `cut`
        }
        match self.lost.iter_mut().find(|lost| lost.kind == kind) {
            Some(lost) => lost.rows += rows,
            None => self.lost.push(Lost { kind, rows, first: first() }),
        }
        self.lost.sort_by_key(|lost| lost.kind);
    }

    /// Rows that were lost.
    pub fn lost_rows(&self) -> u64 {
        self.lost.iter().map(|lost| lost.rows).sum()
    }

    /// Lost rows that `max_bad` counts.
    pub fn bad_rows(&self) -> u64 {
        self.lost.iter().filter(|lost| lost.kind != Loss::CutShard).map(|lost| lost.rows).sum()
    }

    /// `dotted-name 50, no-caption 2`.
    pub fn kinds(&self) -> String {
        self.lost.iter().map(|lost| format!("{} {}", lost.kind.name(), lost.rows)).collect::<Vec<_>>().join(", ")
    }

    /// `250 found, 200 kept, 50 lost (dotted-name 50); 1 shard is not whole`.
    pub fn summary(&self) -> String {
        let mut text = format!("{} found, {} kept", self.found, self.kept);
        if !self.lost.is_empty() {
            text += &format!(", {} lost ({})", self.lost_rows(), self.kinds());
        }
        match self.cut.len() {
            0 => {}
            1 => text += "; 1 shard is not whole, and its missing rows are not counted",
            count => text += &format!("; {count} shards are not whole, and their missing rows are not counted"),
        }
        text
    }

    /// Messages for the user besides the counts: the first row of each kind of loss, incomplete
    /// shards, remarks.
    pub fn details(&self) -> Vec<String> {
        // Rows lost at a cut are reported with the shard.
        let lost = self.lost.iter().filter(|lost| lost.kind != Loss::CutShard).map(|lost| {
            let first = if lost.rows == 1 { "" } else { "the first: " };
            format!("lost, {} ({}): {first}{}", lost.kind.name(), lost.rows, short(&lost.first))
        });
        let cut = self.cut.iter().take(NAMED).map(|cut| format!("not whole: {cut}"));
        let more = self.cut.len().checked_sub(NAMED + 1).map(|more| format!("not whole: {} more shards", more + 1));
        lost.chain(cut).chain(more).chain(self.notes.iter().map(|note| format!("note: {note}"))).collect()
    }

    /// Whether all rows were kept and there are no remarks.
    pub fn is_plain(&self) -> bool {
        self.lost.is_empty() && self.cut.is_empty() && self.notes.is_empty()
    }
}

fn short(text: &str) -> String {
    let short: String = text.chars().take(LETTERS).collect();
    if short.len() < text.len() { short + " .." } else { short }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn loss_is_counted_in_rows_and_by_kind() {
        let mut tally = Tally { found: 8, kept: 8, ..Tally::default() };
        tally.lose(&BadRow::several("s.tar:v1", Loss::DottedName.because("dots"), 50));
        tally.lose(&BadRow::new("s.tar:w", Loss::NoCaption.because("none")));
        tally.lose(&BadRow::new("s.tar:v2", Loss::DottedName.because("more dots")));
        tally.lose(&BadRow::several("t.tar", Loss::CutShard.because("empty"), 0));
        tally.cut.push("t.tar: it is empty".into());
        tally.lose_kept(&Lost { kind: Loss::UnreadableImage, rows: 2, first: "s.tar:a: grey".into() });
        assert_eq!((tally.found, tally.kept, tally.lost_rows(), tally.bad_rows()), (60, 6, 54, 54));
        let expected = "60 found, 6 kept, 54 lost (unreadable-image 2, no-caption 1, dotted-name 51); \
                        1 shard is not whole, and its missing rows are not counted";
        assert_eq!(tally.summary(), expected);
        assert_eq!(
            tally.details(),
            [
                "lost, unreadable-image (2): the first: s.tar:a: grey",
                "lost, no-caption (1): s.tar:w: none",
                "lost, dotted-name (51): the first: s.tar:v1: dots",
                "not whole: t.tar: it is empty",
            ]
        );
        tally.lose(&BadRow::new("t.tar:9", Loss::CutShard.because("cut")));
        assert_eq!((tally.lost_rows(), tally.bad_rows()), (55, 54), "rows of allowed shards are not bad rows");
    }

    #[test]
    fn the_names_of_kinds_are_those_that_are_written() {
        for kind in [Loss::MalformedRow, Loss::NoImage, Loss::ScatteredMembers, Loss::CutShard, Loss::RepeatedKey] {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
        let old: BadRow = serde_json::from_str(r#"{"name": "a", "why": "b"}"#).unwrap();
        assert_eq!(old.rows, 1, "lists that an earlier version wrote have a row a line");
    }
}
