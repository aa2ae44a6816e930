//! Text files that list images or classes. Every line knows where it stands, so that whatever is
//! wrong with it can be told by file and line.

use crate::regular;
use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// Bytes that a list may have; the largest published one, Food-101's, has two million.
const MOST_BYTES: u64 = 64 << 20;

/// The lines of a list that are not empty.
pub(super) struct List {
    path: PathBuf,
    /// Number of the line, from 1 on, and what it says, without white space around it.
    pub(super) lines: Vec<(usize, String)>,
}

impl List {
    /// Reads a list.
    ///
    /// # Errors
    /// If it lists nothing, or is no UTF-8 text.
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

    /// Where a line stands, for errors.
    pub(super) fn place(&self, number: usize) -> String {
        place(&self.path, number)
    }

    /// An error about a line.
    pub(super) fn wrong(&self, number: usize, why: impl std::fmt::Display) -> Error {
        Error::invalid(self.place(number), why)
    }

    /// The names of classes, one a line.
    ///
    /// # Errors
    /// If a name comes twice.
    pub(super) fn classes(self) -> Result<Vec<String>> {
        let mut classes: Vec<String> = Vec::with_capacity(self.lines.len());
        for (number, line) in &self.lines {
            if let Some(at) = classes.iter().position(|class| class == line) {
                return Err(self.wrong(*number, format!("class `{line}` stands in line {} already", self.lines[at].0)));
            }
            classes.push(line.clone());
        }
        Ok(classes)
    }
}

/// Where a line of a file stands.
pub(super) fn place(path: &Path, line: usize) -> String {
    format!("{}, line {line}", path.display())
}

/// An error about the last line of a list that is not whole: a number that was cut is another number.
pub(super) fn cut(path: &Path, line: usize) -> Error {
    Error::invalid(place(path, line), "this last line has no end, so the list may be cut; if it is whole, end it")
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
        return Err(Error::invalid(place(path, line(zero, &bytes)), "it holds a zero byte: this is no text"));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let end = error.utf8_error().valid_up_to();
        Error::invalid(place(path, line(end, error.as_bytes())), format!("it is no UTF-8 text: {}", error.utf8_error()))
    })?;
    // Lines of Windows, and of the Macintosh of old.
    Ok(if text.contains('\r') { text.replace("\r\n", "\n").replace('\r', "\n") } else { text })
}

/// A label as a list writes it: a whole number of `first` to `last`; the error says what is allowed.
pub(super) fn number(text: &str, first: usize, last: usize) -> Result<usize, String> {
    let found = text.parse().ok().filter(|number| (first..=last).contains(number));
    found.ok_or_else(|| format!("label `{text}` is no whole number from {first} to {last}"))
}

/// Some names and how many there are: what errors and notes say about many.
pub(super) fn some(names: &[impl AsRef<str>]) -> String {
    let first: Vec<&str> = names.iter().take(3).map(AsRef::as_ref).collect();
    let more = names.len().saturating_sub(first.len());
    first.join(", ") + &if more > 0 { format!(" and {more} more") } else { String::new() }
}
