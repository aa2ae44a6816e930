//! Settings of a run that depend on the machine and do not affect the result.

use crate::Progress;
use std::sync::atomic::AtomicBool;

/// Settings of a run that depend on the machine and do not affect the result.
pub struct RunContext<'a> {
    /// Threads that read batches ahead.
    pub workers: usize,
    /// Receives progress messages.
    pub progress: &'a dyn Progress,
    /// Set by a signal: write a checkpoint and stop.
    pub stop: &'a AtomicBool,
}
