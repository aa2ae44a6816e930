//! Three types of row identifiers: the trainer uses a row's place, a defense its number,
//! diagnostics its key. Only the corpus converts one into another. A row of the data set is a
//! [`DataRow`](crate::data::DataRow).

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use tch::{Device, Kind, Tensor};

/// A row of the corpus by its place: first the training rows of the data set, in their order, then
/// those that poison adds. It reveals the added rows, so no defense receives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TrainRow(pub u32);

/// A defense's number of a row: its place in the order of the keys, counted from 0, which reveals
/// nothing about the row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RowNumber(pub u32);

/// The opaque key of a row, drawn from the seed, not negative. Steps identify their rows by it, and
/// draws are keyed by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RowKey(i64);

impl TrainRow {
    /// The row at a place.
    pub fn at(place: usize) -> TrainRow {
        TrainRow(counted(place))
    }

    /// Its index in a list of all rows.
    pub fn place(self) -> usize {
        placed(self.0)
    }

    /// As a tensor i64 `[rows]`, the form in checkpoints.
    pub fn tensor(rows: &[TrainRow]) -> Tensor {
        tensor_of(rows.iter().map(|row| row.0.into()))
    }

    /// The rows of such a tensor.
    ///
    /// # Errors
    /// If a number in it is not a valid row.
    pub fn of_tensor(tensor: &Tensor) -> Result<Vec<TrainRow>> {
        numbers_of(tensor, TrainRow)
    }
}

impl RowNumber {
    /// The row with this number.
    pub fn at(number: usize) -> RowNumber {
        RowNumber(counted(number))
    }

    /// Its index in a list of all rows.
    pub fn place(self) -> usize {
        placed(self.0)
    }

    /// As a tensor i64 `[rows]`, to index with or to store in a defense's state.
    pub fn tensor(rows: &[RowNumber]) -> Tensor {
        tensor_of(rows.iter().map(|row| row.0.into()))
    }

    /// The rows of such a tensor.
    ///
    /// # Errors
    /// If a number in it is not a valid row.
    pub fn of_tensor(tensor: &Tensor) -> Result<Vec<RowNumber>> {
        numbers_of(tensor, RowNumber)
    }
}

impl RowKey {
    /// Makes a key of a random draw.
    pub(super) fn of_draw(drawn: u64) -> RowKey {
        // One bit less, so that -1 can mean no row.
        RowKey((drawn >> 1).cast_signed())
    }

    /// As a tensor i64 `[rows]`.
    pub fn tensor(keys: &[RowKey]) -> Tensor {
        tensor_of(keys.iter().map(|key| key.0))
    }

    /// The keys of a tensor i64 `[rows]`, the form in a step.
    pub fn of_tensor(tensor: &Tensor) -> Result<Vec<RowKey>> {
        Ok(Vec::<i64>::try_from(tensor)?.into_iter().map(RowKey).collect())
    }

    /// A key as stored in files, little-endian; `None` for -1, which means no row.
    pub(crate) fn of_bytes(bytes: [u8; 8]) -> Option<RowKey> {
        let key = i64::from_le_bytes(bytes);
        (key >= 0).then_some(RowKey(key))
    }
}

impl From<RowKey> for u64 {
    /// The form that keys a draw.
    fn from(key: RowKey) -> u64 {
        key.0.cast_unsigned()
    }
}

impl fmt::Display for TrainRow {
    fn fmt(&self, to: &mut fmt::Formatter) -> fmt::Result {
        self.0.fmt(to)
    }
}

impl fmt::Display for RowNumber {
    fn fmt(&self, to: &mut fmt::Formatter) -> fmt::Result {
        self.0.fmt(to)
    }
}

impl fmt::Display for RowKey {
    fn fmt(&self, to: &mut fmt::Formatter) -> fmt::Result {
        self.0.fmt(to)
    }
}

fn counted(place: usize) -> u32 {
    place.try_into().expect("an index counts its rows by a u32, and poison adds few")
}

fn placed(number: u32) -> usize {
    number.try_into().expect("a row that is in memory is counted by a usize")
}

fn tensor_of(numbers: impl Iterator<Item = i64>) -> Tensor {
    Tensor::from_slice(&numbers.collect::<Vec<_>>())
}

fn numbers_of<T>(tensor: &Tensor, row: fn(u32) -> T) -> Result<Vec<T>> {
    let numbers = Vec::<i64>::try_from(tensor.to_device(Device::Cpu).to_kind(Kind::Int64))?;
    let number = |number: i64| match u32::try_from(number) {
        Ok(number) => Ok(row(number)),
        Err(error) => Err(Error::invalid("numbers of rows", format!("{number} is not valid: {error}"))),
    };
    numbers.into_iter().map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_survive_a_tensor_and_json_as_plain_numbers() {
        let rows: Vec<RowNumber> = [0, 7, 70_000].into_iter().map(RowNumber::at).collect();
        assert_eq!(RowNumber::of_tensor(&RowNumber::tensor(&rows)).unwrap(), rows);
        assert_eq!(serde_json::to_string(&rows).unwrap(), "[0,7,70000]");
        let error = TrainRow::of_tensor(&Tensor::from_slice(&[3i64, -1])).unwrap_err();
        assert!(error.to_string().contains("-1"), "{error}");
    }

    #[test]
    fn a_key_is_never_what_stands_for_no_row() {
        let key = RowKey::of_draw(u64::MAX);
        assert_eq!(u64::from(key), u64::MAX >> 1);
        assert_eq!(RowKey::of_bytes(i64::MAX.to_le_bytes()), Some(key));
        assert_eq!(RowKey::of_bytes((-1i64).to_le_bytes()), None);
    }
}
