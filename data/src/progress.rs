//! Progress reports of long operations. This crate prints nothing; the program draws a bar or
//! passes lines on.

use crate::{Error, Result};

/// A listener to long operations.
pub trait Progress: Sync {
    /// `done` of `total` units of `stage` are done; `note` is a short remark such as the loss.
    fn report(&self, stage: &str, done: u64, total: u64, note: &str);

    /// A line that the user should read, though nothing has failed.
    fn tell(&self, _line: &str) {}

    /// A line about the data that was just opened. It is repeated each time the data is opened.
    fn remark(&self, _line: &str) {}

    /// Whether the user asks to stop.
    fn stopped(&self) -> bool {
        false
    }

    /// For loops that grow with the data.
    ///
    /// # Errors
    /// [`Error::Interrupted`] if the user asks to stop.
    fn check_stopped(&self) -> Result<()> {
        if self.stopped() { Err(Error::Interrupted) } else { Ok(()) }
    }
}

/// Ignores all reports.
pub struct Silent;

impl Progress for Silent {
    fn report(&self, _stage: &str, _done: u64, _total: u64, _note: &str) {}
}
