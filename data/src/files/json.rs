//! JSON as gauntlet writes it: a value in a file, or one a line. Errors name the file, and the line.

use super::write_atomic;
use crate::{Error, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::Path;

/// A value that is plain data, which is all that gauntlet writes.
pub fn json(value: &(impl Serialize + ?Sized)) -> String {
    serde_json::to_string(value).expect("plain data")
}

/// Values one a line, each line with its end.
pub fn json_lines<'a, T: Serialize + 'a>(values: impl IntoIterator<Item = &'a T>) -> String {
    values.into_iter().map(|value| json(value) + "\n").collect()
}

/// Writes a value on one line, whole or not at all.
pub fn write_json(path: &Path, value: &(impl Serialize + ?Sized)) -> Result<()> {
    write_atomic(path, json(value).as_bytes())
}

/// Writes values one a line, whole or not at all.
pub fn write_lines<'a, T: Serialize + 'a>(path: &Path, values: impl IntoIterator<Item = &'a T>) -> Result<()> {
    write_atomic(path, json_lines(values).as_bytes())
}

/// Reads a value that was written whole.
///
/// # Errors
/// If the file is not there, or holds something else.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
    serde_json::from_str(&text).map_err(|error| Error::invalid(path.display(), error))
}

/// Reads values one a line, of a file that was written whole.
///
/// # Errors
/// If the file is not there; names the line that holds something else.
pub fn read_lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    parse_lines(path, &std::fs::read_to_string(path).map_err(Error::io(path))?)
}

/// Reads values one a line, of a file that grows by lines; none if it is not there. What follows
/// its last line end was cut short by a kill, or is being written: it counts for nothing.
///
/// # Errors
/// Names the line that holds something else.
pub fn read_whole_lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
    parse_lines(path, text.rfind('\n').map_or("", |end| &text[..end]))
}

/// Values one a line of a text that was read from `path`.
///
/// # Errors
/// As [`read_lines`].
pub fn parse_lines<T: DeserializeOwned>(path: &Path, text: &str) -> Result<Vec<T>> {
    text.lines().zip(1..).map(|(line, number)| parse_line(path, number, line)).collect()
}

fn parse_line<T: DeserializeOwned>(path: &Path, number: usize, line: &str) -> Result<T> {
    serde_json::from_str(line).map_err(|error| Error::invalid(format!("{}, line {number}", path.display()), error))
}
