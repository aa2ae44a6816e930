//! What a run has to do with the machine it is on, and not with its result.

use crate::Progress;
use std::sync::atomic::AtomicBool;

/// What a run has to do with this machine rather than with the result.
pub struct RunContext<'a> {
    /// Threads that read batches ahead.
    pub workers: usize,
    /// Who hears how far it is.
    pub progress: &'a dyn Progress,
    /// Set by a signal: write a checkpoint and stop.
    pub stop: &'a AtomicBool,
}
