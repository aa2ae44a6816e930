//! JSON as written by gauntlet: one value in a file, or one per line. Errors name the file and the
//! line.

use super::{regular, write_atomic};
use crate::{Error, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::Path;

/// A value as JSON text. It must be plain data, as all stored values of gauntlet are.
pub fn json(value: &(impl Serialize + ?Sized)) -> String {
    serde_json::to_string(value).expect("plain data")
}

/// Values, one per line; each line ends with a line feed.
pub fn json_lines<'a, T: Serialize + 'a>(values: impl IntoIterator<Item = &'a T>) -> String {
    values.into_iter().map(|value| json(value) + "\n").collect()
}

/// Writes a value on one line, atomically.
pub fn write_json(path: &Path, value: &(impl Serialize + ?Sized)) -> Result<()> {
    write_atomic(path, json(value).as_bytes())
}

/// Writes values, one per line, atomically.
pub fn write_lines<'a, T: Serialize + 'a>(path: &Path, values: impl IntoIterator<Item = &'a T>) -> Result<()> {
    write_atomic(path, json_lines(values).as_bytes())
}

/// Reads a value that was written atomically.
///
/// # Errors
/// If the file does not exist or holds something else.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = regular::read_to_string(path, regular::LIST).map_err(Error::io(path))?;
    serde_json::from_str(&text).map_err(|error| Error::invalid(path.display(), error))
}

/// Reads values, one per line, from a file that was written atomically.
///
/// # Errors
/// If the file does not exist; names the line that holds something else.
pub fn read_lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    parse_lines(path, &regular::read_to_string(path, regular::LIST).map_err(Error::io(path))?)
}

/// Reads values, one per line, from a file that grows by lines; none if it does not exist. Text
/// after the last line feed was cut by a kill or is being written, and is ignored.
///
/// # Errors
/// Names the line that holds something else.
pub fn read_whole_lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = regular::read_to_string(path, regular::LIST).map_err(Error::io(path))?;
    parse_lines(path, text.rfind('\n').map_or("", |end| &text[..end]))
}

/// Parses values, one per line, from a text that was read from `path`.
///
/// # Errors
/// As [`read_lines`].
pub fn parse_lines<T: DeserializeOwned>(path: &Path, text: &str) -> Result<Vec<T>> {
    text.lines().zip(1..).map(|(line, number)| parse_line(path, number, line)).collect()
}

fn parse_line<T: DeserializeOwned>(path: &Path, number: usize, line: &str) -> Result<T> {
    serde_json::from_str(line).map_err(|error| Error::invalid(format!("{}, line {number}", path.display()), error))
}
