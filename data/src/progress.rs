//! Progress reports of long operations. This crate prints nothing; the program draws a bar or
//! passes lines on.

/// A listener to long operations.
pub trait Progress: Sync {
    /// `done` of `total` units of `stage` are done; `note` is a short remark such as the loss.
    fn report(&self, stage: &str, done: u64, total: u64, note: &str);

    /// A line that the user should read, though nothing has failed.
    fn tell(&self, _line: &str) {}

    /// A line about the data that was just opened. It is repeated each time the data is opened.
    fn remark(&self, _line: &str) {}

    /// Whether the user asks to stop. Loops that grow with the data look at it and return
    /// [`Error::Interrupted`](crate::Error::Interrupted).
    fn stopped(&self) -> bool {
        false
    }
}

/// Ignores all reports.
pub struct Silent;

impl Progress for Silent {
    fn report(&self, _stage: &str, _done: u64, _total: u64, _note: &str) {}
}
