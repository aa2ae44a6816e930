//! `gauntlet trial`: runs one trial in this process. A suite starts its trials in this way.

use crate::bars::{self, Bar, JsonLines, WaitsFor};
use crate::exit::Exit;
use crate::output::tell;
use crate::say;
use clap::Args;
use gauntlet::data::store::Using;
use gauntlet::lease::{Lease, attempt};
use gauntlet::run::RunContext;
use gauntlet::suite::resolve_device;
use gauntlet::train::checkpoint;
use gauntlet::{Error, Progress, Result, Trial};
use signal_hook::iterator::Signals;
use std::io::Read;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

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
    /// Folder for undefended models, if it is not --store
    #[arg(long, hide = true)]
    shared: Option<PathBuf>,
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
        // A suite that starts a trial has its lease.
        let lease = (!self.child).then(|| Lease::only(&self.out)).transpose();
        let lease = lease.map_err(|error| error.during("--out"))?;
        if self.child && !may_start(stop.clone()) {
            return Err(Error::Interrupted);
        }
        let out = match &lease {
            Some(lease) => attempt::open(&self.out, lease, checkpoint::FILE)?,
            None => self.out.clone(),
        };
        let store = self.store.clone().unwrap_or_else(|| self.out.join("store"));
        let _using = (!self.child).then(|| Using::new(&store)).transpose()?;
        let machine = RunContext {
            workers: self.workers,
            shared: self.shared.as_deref(),
            waits: !self.child,
            ..RunContext::new(progress.as_ref(), &stop)
        };
        if trial.has_finished(&out) && !self.child {
            tell(&format!(
                "note: the trial in {} has finished; these are its results. Delete them to run it again",
                out.display()
            ));
        }
        let lines = match trial.run(&out, &store, &machine) {
            Err(Error::Busy { folder, .. }) if self.child => {
                say(&(serde_json::to_string(&WaitsFor { waits_for: folder }).expect("plain data") + "\n"));
                return Ok(Exit::PutBack);
            }
            lines => lines?,
        };
        if lease.is_some_and(|lease| lease.check_lost()) {
            let why =
                "another process has taken over this trial, since this one was silent too long; its results count";
            return Err(Error::invalid(self.out.display(), why));
        }
        drop(progress);
        if !self.child {
            for line in lines {
                say(&(serde_json::to_string(&line).expect("plain data") + "\n"));
            }
        }
        Ok(Exit::Done)
    }
}

/// A second SIGTERM within this time is no second request: a launcher and the scheduler above it
/// each pass one on.
const GRACE: Duration = Duration::from_secs(2);

/// A flag that SIGINT and SIGTERM set. A second SIGINT, or a SIGTERM after the [`GRACE`], ends the
/// process at once.
pub fn stop_on_signals() -> Arc<AtomicBool> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    static STOP: OnceLock<Arc<AtomicBool>> = OnceLock::new();
    let registered = STOP.get_or_init(|| {
        let stop = Arc::new(AtomicBool::new(false));
        let mut signals = Signals::new([SIGINT, SIGTERM]).expect("SIGINT and SIGTERM can be handled");
        let flag = stop.clone();
        std::thread::spawn(move || {
            let mut first: Option<Instant> = None;
            for signal in signals.forever() {
                match first {
                    None => first = Some(Instant::now()),
                    Some(first) if signal == SIGTERM && first.elapsed() < GRACE => {}
                    // Without destructors, which may wait for threads that compute.
                    Some(_) => signal_hook::low_level::exit(Exit::Interrupted as i32),
                }
                flag.store(true, Ordering::Relaxed);
                bars::request_stop();
            }
        });
        stop
    });
    registered.clone()
}

/// Waits until the suite says that it has recorded this process, and then watches standard input:
/// when the suite asks to stop, or dies, the trial stops with a checkpoint. `false` if the suite
/// died before.
fn may_start(stop: Arc<AtomicBool>) -> bool {
    let mut first = [0];
    if !matches!(std::io::stdin().lock().read(&mut first), Ok(1)) {
        return false;
    }
    std::thread::spawn(move || {
        // Whether it ends by closing or by an error, the suite is gone.
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        stop.store(true, Ordering::Relaxed);
        bars::request_stop();
    });
    true
}
