//! Text files that list images or classes. Every line knows its place, so that errors name file and
//! line.

use crate::regular;
use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// Maximum size of a list in bytes; the largest published one, Food-101's, has two million.
const MOST_BYTES: u64 = 64 << 20;

/// The non-empty lines of a list.
pub(super) struct List {
    path: PathBuf,
    /// Number of the line, from 1 on, and its text, trimmed.
    pub(super) lines: Vec<(usize, String)>,
}

impl List {
    /// Reads a list.
    ///
    /// # Errors
    /// If it has no lines, or is not UTF-8 text.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = text(path)?;
        let lines = text.lines().map(str::trim).zip(1..).filter(|(line, _)| !line.is_empty());
        let lines: Vec<_> = lines.map(|(line, number)| (number, line.to_string())).collect();
        if lines.is_empty() {
            return Err(Error::invalid(path.display(), "it is empty"));
        }
        Ok(List { path: path.into(), lines })
    }

    /// The file, for errors.
    pub(super) fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// The place of a line, for errors.
    pub(super) fn place(&self, number: usize) -> String {
        place(&self.path, number)
    }

    /// An error about a line.
    pub(super) fn wrong(&self, number: usize, why: impl std::fmt::Display) -> Error {
        Error::invalid(self.place(number), why)
    }

    /// The names of classes, one per line.
    ///
    /// # Errors
    /// If a name appears twice.
    pub(super) fn classes(self) -> Result<Vec<String>> {
        let mut classes: Vec<String> = Vec::with_capacity(self.lines.len());
        for (number, line) in &self.lines {
            if let Some(at) = classes.iter().position(|class| class == line) {
                return Err(self.wrong(*number, format!("class `{line}` is already in line {}", self.lines[at].0)));
            }
            classes.push(line.clone());
        }
        Ok(classes)
    }
}

/// The place of a line in a file.
pub(super) fn place(path: &Path, line: usize) -> String {
    format!("{}, line {line}", path.display())
}

/// The error of an incomplete last line: a truncated number is another number.
pub(super) fn cut(path: &Path, line: usize) -> Error {
    Error::invalid(
        place(path, line),
        "this last line has no line feed, so the list may be cut short; if it is complete, add one",
    )
}

/// The text of a file, without a byte order mark.
pub(super) fn text(path: &Path) -> Result<String> {
    let mut bytes = regular::read(path, MOST_BYTES).map_err(Error::io(path))?;
    if bytes.starts_with(&[0xFF, 0xFE]) || bytes.starts_with(&[0xFE, 0xFF]) {
        return Err(Error::invalid(path.display(), "it is UTF-16; save it as UTF-8"));
    }
    if bytes.starts_with(&[0xEF, 0xBB, 0xBF]) {
        bytes.drain(..3);
    }
    let line = |end: usize, bytes: &[u8]| 1 + bytes[..end].iter().filter(|byte| **byte == b'\n').count();
    if let Some(zero) = bytes.iter().position(|byte| *byte == 0) {
        return Err(Error::invalid(place(path, line(zero, &bytes)), "it has a zero byte, so it is not text"));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let end = error.utf8_error().valid_up_to();
        Error::invalid(
            place(path, line(end, error.as_bytes())),
            format!("it is not UTF-8 text: {}", error.utf8_error()),
        )
    })?;
    // Line ends of Windows and of old Macintosh systems.
    Ok(if text.contains('\r') { text.replace("\r\n", "\n").replace('\r', "\n") } else { text })
}

/// A label in a list: a whole number from `first` to `last`; the error gives this range.
pub(super) fn number(text: &str, first: usize, last: usize) -> Result<usize, String> {
    let found = text.parse().ok().filter(|number| (first..=last).contains(number));
    found.ok_or_else(|| format!("label `{text}` is not a whole number from {first} to {last}"))
}

/// The first few names and the number of the others, for errors and notes about many.
pub(super) fn some(names: &[impl AsRef<str>]) -> String {
    let first: Vec<&str> = names.iter().take(3).map(AsRef::as_ref).collect();
    let more = names.len().saturating_sub(first.len());
    first.join(", ") + &if more > 0 { format!(" and {more} more") } else { String::new() }
}
