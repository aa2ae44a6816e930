//! Where long work says how far it is: the core prints nothing, the program draws a bar or passes lines on.

/// A listener to long work.
pub trait Progress: Sync {
    /// `done` of `total` units of `stage` are done; `note` is a short remark such as the loss.
    fn report(&self, stage: &str, done: u64, total: u64, note: &str);

    /// A line that a person should read, though nothing has failed.
    fn tell(&self, _line: &str) {}
    /// What a person should know of the data that was just opened, in a line: whoever opens it again says the same.
    fn remark(&self, _line: &str) {}
}

/// Nobody listens.
pub struct Silent;

impl Progress for Silent {
    fn report(&self, _stage: &str, _done: u64, _total: u64, _note: &str) {}
}
