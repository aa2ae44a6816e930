//! Row numbers of a data set. Later stages have other row numbers (`gauntlet::corpus`), each with a
//! separate type, so that they cannot be confused.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A row of a data set: its place in the source, counted from 0, without lost rows. Stored, printed
/// and hashed as the plain number.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DataRow(pub u32);

impl DataRow {
    /// The first `count` rows.
    pub fn first(count: u32) -> impl DoubleEndedIterator<Item = DataRow> + ExactSizeIterator + Clone {
        (0..count).map(DataRow)
    }

    /// Its index in a list of all rows.
    pub fn place(self) -> usize {
        self.0.try_into().expect("a row that is in memory is counted by a usize")
    }
}

impl From<DataRow> for u64 {
    /// The key of the row's draws.
    fn from(row: DataRow) -> u64 {
        row.0.into()
    }
}

impl From<DataRow> for i64 {
    /// As an index into a tensor.
    fn from(row: DataRow) -> i64 {
        row.0.into()
    }
}

impl fmt::Display for DataRow {
    fn fmt(&self, to: &mut fmt::Formatter) -> fmt::Result {
        self.0.fmt(to)
    }
}

impl fmt::Debug for DataRow {
    /// The plain number: keys of stored data are hashes of printed lists of rows.
    fn fmt(&self, to: &mut fmt::Formatter) -> fmt::Result {
        self.0.fmt(to)
    }
}

#[cfg(test)]
mod tests {
    use super::DataRow;

    #[test]
    fn a_row_is_stored_and_printed_as_its_number() {
        let rows = vec![DataRow(3), DataRow(70_000)];
        assert_eq!(serde_json::to_string(&rows).unwrap(), "[3,70000]");
        assert_eq!(serde_json::from_str::<Vec<DataRow>>("[3,70000]").unwrap(), rows);
        assert_eq!((format!("{rows:?}"), rows[1].to_string()), ("[3, 70000]".into(), "70000".into()));
        assert!(serde_json::from_str::<DataRow>("-1").is_err());
    }
}
