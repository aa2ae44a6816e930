//! What became of the rows of a source: how many were found, kept and lost, for which reasons, and
//! what could not be counted. It is made while the index and the canvases are, kept beside them,
//! told whenever the data is opened, and part of the results.

mod dropped;

pub(crate) use dropped::DropList;

use serde::{Deserialize, Serialize};

/// Shards that are named one by one; the results name all of them.
const NAMED: usize = 20;

/// Letters of a reason that one line has room for.
const LETTERS: usize = 300;

/// Why a row is lost, in few kinds whose names do not change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Loss {
    /// The row itself cannot be read: a number of fields that is wrong, a path that is none.
    #[default]
    MalformedRow,
    /// A sample has no image.
    NoImage,
    /// The image is not there, or cannot be decoded.
    UnreadableImage,
    /// There is no caption, or one without a letter or digit, or one that is not text.
    NoCaption,
    /// The JSON beside an image cannot be read.
    UnreadableJson,
    /// The class label cannot be read.
    UnreadableLabel,
    /// Members of one key that may be of several samples, which would mix.
    RepeatedKey,
    /// Rows that fell together under one key, because their names have dots.
    DottedName,
    /// Members of one sample that do not lie next to each other.
    ScatteredMembers,
    /// The sample at which a shard is cut; allowed by name, so that `max_bad` does not count it.
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
            Loss::UnreadableJson => "unreadable-json",
            Loss::UnreadableLabel => "unreadable-label",
            Loss::RepeatedKey => "repeated-key",
            Loss::DottedName => "dotted-name",
            Loss::ScatteredMembers => "scattered-members",
            Loss::CutShard => "cut-shard",
        }
    }
}

/// What is wrong with a row: the kind, and the words. A plain string is a [`Loss::MalformedRow`].
#[derive(Clone, Debug, PartialEq)]
pub struct Why {
    /// The kind.
    pub kind: Loss,
    /// The words, for whoever wants to mend the row.
    pub text: String,
}

impl Loss {
    /// For `map_err`, too: this kind, in these words.
    pub fn because(self, text: impl Into<String>) -> Why {
        Why { kind: self, text: text.into() }
    }
}

impl From<String> for Why {
    fn from(text: String) -> Self {
        Loss::default().because(text)
    }
}

/// Something that cannot be used, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BadRow {
    /// What a person would call the row.
    pub name: String,
    /// What is wrong with it.
    pub why: String,
    /// Which kind of loss it is.
    #[serde(default)]
    pub kind: Loss,
    /// How many rows are lost by it: one, but where several fell together.
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

    /// So many rows under one name.
    pub fn several(name: impl Into<String>, why: impl Into<Why>, rows: u64) -> Self {
        let Why { kind, text } = why.into();
        BadRow { name: name.into(), why: text, kind, rows }
    }
}

/// What a source has to say beside its rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Remarks {
    /// Shards that are not whole, each with what is wrong with it; the suite allows them.
    pub cut: Vec<String>,
    /// What else a person should know.
    pub notes: Vec<String>,
}

/// Rows found, kept and lost.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tally {
    /// Rows that there are, as far as they can be counted.
    pub found: u64,
    /// Rows that can be used.
    pub kept: u64,
    /// Rows that cannot, by kind.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<Lost>,
    /// Shards that are not whole: how many rows they held is not known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cut: Vec<String>,
    /// What else a person should know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Rows that one kind of loss cost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lost {
    /// The kind.
    pub kind: Loss,
    /// How many.
    pub rows: u64,
    /// The first of them, and what is wrong with it.
    pub first: String,
}

impl Tally {
    /// Counts what was lost before it was counted as kept.
    pub fn lose(&mut self, bad: &BadRow) {
        self.found += bad.rows;
        self.count(bad.kind, bad.rows, || format!("{}: {}", bad.name, bad.why));
    }

    /// Counts rows that were kept until now.
    pub fn lose_kept(&mut self, lost: &Lost) {
        self.kept = self.kept.saturating_sub(lost.rows);
        self.lose_too(lost);
    }

    /// Counts rows among the lost that are counted among the found.
    fn lose_too(&mut self, lost: &Lost) {
        self.count(lost.kind, lost.rows, || lost.first.clone());
    }

    fn count(&mut self, kind: Loss, rows: u64, first: impl FnOnce() -> String) {
        if rows == 0 {
            return; // a shard of which nothing is known stands in `cut`
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

    /// Rows that were lost and that `max_bad` counts.
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
            1 => text += "; 1 shard is not whole, and what it lacks is not counted",
            count => text += &format!("; {count} shards are not whole, and what they lack is not counted"),
        }
        text
    }

    /// What a person must know beside the counts: the first row of each kind of loss, shards that
    /// are not whole, remarks.
    pub fn details(&self) -> Vec<String> {
        // What is lost at a cut is told with the shard.
        let lost = self.lost.iter().filter(|lost| lost.kind != Loss::CutShard).map(|lost| {
            let first = if lost.rows == 1 { "" } else { "the first: " };
            format!("lost, {} ({}): {first}{}", lost.kind.name(), lost.rows, short(&lost.first))
        });
        let cut = self.cut.iter().take(NAMED).map(|cut| format!("not whole: {cut}"));
        let more = self.cut.len().checked_sub(NAMED + 1).map(|more| format!("not whole: {} more shards", more + 1));
        lost.chain(cut).chain(more).chain(self.notes.iter().map(|note| format!("note: {note}"))).collect()
    }

    /// Whether there is more to tell than that all rows were kept.
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
                        1 shard is not whole, and what it lacks is not counted";
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
        assert_eq!((tally.lost_rows(), tally.bad_rows()), (55, 54), "what is allowed by name is no bad row");
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
