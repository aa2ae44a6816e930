//! `gauntlet trial`: runs one trial in this process. A suite starts its trials in this way.

use crate::bars::{Bar, JsonLines};
use crate::exit::Exit;
use clap::Args;
use gauntlet::lock::Lock;
use gauntlet::run::RunContext;
use gauntlet::suite::resolve_device;
use gauntlet::{Progress, Result, Trial};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Runs one trial.
#[derive(Args)]
pub struct RunTrial {
    /// A resolved trial, `trial.json`
    trial: PathBuf,
    /// Folder for its checkpoint, weights and scores
    #[arg(long)]
    out: PathBuf,
    /// Folder for files that trials share (canvases, poison); default: `store` in --out
    #[arg(long)]
    store: Option<PathBuf>,
    /// Run on this device instead of the trial's own: auto, cpu, cuda or cuda:N; the results differ
    /// in their last digits
    #[arg(long)]
    device: Option<String>,
    /// Threads that read batches ahead; affects only the speed
    #[arg(long, default_value_t = 1)]
    workers: usize,
    /// Print progress as JSON lines on standard output, and stop when standard input closes
    #[arg(long, hide = true)]
    child: bool,
}

impl RunTrial {
    /// Runs the trial; prints its score lines unless a suite runs it.
    pub fn run(self) -> Result<Exit> {
        let mut trial = Trial::read(&self.trial)?;
        if let Some(device) = &self.device {
            trial.device = resolve_device(device);
        }
        let stop = stop_on_signals();
        let progress: Box<dyn Progress> = if self.child { Box::new(JsonLines) } else { Box::new(Bar::new()) };
        if self.child {
            stop_when_stdin_closes(stop.clone());
        }
        // If the suite was killed, its trial stops by itself, and writes its checkpoint first.
        let patience = Duration::from_secs(if self.child { 120 } else { 0 });
        let _lock = Lock::take(&self.out, patience, &stop).map_err(|error| error.during("--out"))?;
        let store = self.store.unwrap_or_else(|| self.out.join("store"));
        let machine = RunContext { workers: self.workers, progress: progress.as_ref(), stop: &stop };
        if trial.has_finished(&self.out) && !self.child {
            eprintln!(
                "note: the trial in {} has finished; these are its results. Delete them to run it again",
                self.out.display()
            );
        }
        let lines = trial.run(&self.out, &store, &machine)?;
        drop(progress);
        if !self.child {
            for line in lines {
                println!("{}", serde_json::to_string(&line).expect("plain data"));
            }
        }
        Ok(Exit::Done)
    }
}

/// A flag that SIGINT and SIGTERM set; a second one of them ends the process at once.
pub fn stop_on_signals() -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // The order matters: the shutdown reads the flag before this signal sets it.
        let registered = signal_hook::flag::register_conditional_shutdown(signal, 130, stop.clone())
            .and_then(|_| signal_hook::flag::register(signal, stop.clone()));
        registered.expect("SIGINT and SIGTERM can be handled");
    }
    stop
}

/// A suite has the other end of standard input: when it asks to stop, or dies, the trial stops with
/// a checkpoint.
fn stop_when_stdin_closes(stop: Arc<AtomicBool>) {
    std::thread::spawn(move || {
        // Whether it ends by closing or by an error, the suite is gone.
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        stop.store(true, Ordering::Relaxed);
    });
}
