//! Settings of a run that depend on the machine and do not affect the result.

use crate::Progress;
use std::path::Path;
use std::sync::atomic::AtomicBool;

/// Settings of a run that depend on the machine and do not affect the result.
pub struct RunContext<'a> {
    /// Threads that read batches ahead.
    pub workers: usize,
    /// Receives progress messages.
    pub progress: &'a dyn Progress,
    /// Set by a signal: write a checkpoint and stop.
    pub stop: &'a AtomicBool,
    /// Folder for the undefended models, which all machines of a run share; `None`: the store.
    pub shared: Option<&'a Path>,
    /// Whether to wait for an undefended model that another process trains, rather than to fail
    /// with [`Error::Busy`](crate::Error::Busy).
    pub waits: bool,
}

impl<'a> RunContext<'a> {
    /// One thread that reads ahead; everything is in the store, and other processes are waited for.
    pub fn new(progress: &'a dyn Progress, stop: &'a AtomicBool) -> RunContext<'a> {
        RunContext { workers: 1, progress, stop, shared: None, waits: true }
    }
}
