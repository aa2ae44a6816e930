//! `gauntlet run`: runs a suite as a grid of child processes, so that a panic, an out-of-memory
//! kill or an abort costs one trial. Any number of runs may share one folder, on one machine or on
//! many: each takes trials that no other has.
//!
//! `sweep/select.rs` chooses trials, `sweep/folder.rs` checks the existing content of the folder,
//! `sweep/queue.rs` takes trials one by one, `sweep/child.rs` runs one, `sweep/devices.rs` gives
//! each a GPU.

pub mod child;
mod devices;
mod folder;
mod queue;
mod select;

use crate::bars::{Bar, SuiteBars};
use crate::exit::Exit;
use crate::output::{say, tell};
use crate::scratch::Scratch;
use crate::table;
use crate::trial::stop_on_signals;
use child::Ended;
use clap::Args;
use devices::Devices;
use gauntlet::data::files::write_atomic;
use gauntlet::data::lease::{Lease, attempt};
use gauntlet::data::regular;
use gauntlet::data::store::{Using, sweep};
use gauntlet::evaluator::Downstream;
use gauntlet::registry::origin;
use gauntlet::results::{self, Line};
use gauntlet::run::RunContext;
use gauntlet::suite::Suite;
use gauntlet::suite::plan::Measured;
use gauntlet::train::checkpoint;
use gauntlet::{Error, Result, Trial};
use gauntlet_report::folder::{Folder, gather, last_lines};
use queue::{Next, Queue, Taken};
use select::Selection;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, mpsc};
use std::time::{Duration, Instant};

/// How often a worker looks for a trial while it waits for other processes.
const POLL: Duration = Duration::from_millis(500);

/// How much longer the run works between two writes of `results.jsonl` than a write takes. Readers
/// do not need that file: it is for people and other programs.
const BETWEEN_WRITES: u32 = 20;

/// Runs a suite.
#[derive(Args)]
pub struct Run {
    /// The suite, a TOML file (`gauntlet describe suite` explains its keys)
    suite: PathBuf,
    /// Folder for results, trials and the files that they share. Run the same command again to
    /// continue; run it on several machines that share the folder, and they divide the trials
    #[arg(long)]
    out: PathBuf,
    /// Number of concurrent trials; 0: as many as the cores allow, one on each GPU
    #[arg(long, default_value_t = 0)]
    jobs: usize,
    /// Threads per trial that read batches ahead; affects only the speed
    #[arg(long, default_value_t = 1)]
    workers: usize,
    #[command(flatten)]
    selection: Selection,
    /// Start at most N trials, then end: for the tasks of a job array
    #[arg(long, value_name = "N")]
    at_most: Option<usize>,
    /// Stay until all trials are finished, those of other runs included, and take over what they
    /// leave. Without it, the run ends when it can start no more
    #[arg(long)]
    wait: bool,
    /// Folder for what can be made again (index, canvases, poison), such as a node's own disk;
    /// default: `store` in --out
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    /// Override a key of the suite, e.g. recipe.epochs=3, data.path=shards or 'seeds=[0, 1]'; may
    /// be given several times
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Run the suite at one of its sizes: a table [tiers.NAME] of the suite
    #[arg(long, value_name = "NAME")]
    tier: Option<String>,
    /// Run on this device: auto, cpu, cuda or cuda:N (the same as --set device=...)
    #[arg(long)]
    device: Option<String>,
    /// Print which trials would run, their cost and their errors, and run nothing: data and files
    /// that the suite names are opened, the rows that its attacks need are searched for, and its
    /// schedule is checked against them. The exit code is 2 if a trial would fail
    #[arg(long)]
    dry_run: bool,
}

impl Run {
    /// Runs the unfinished trials, prints the table, and fails if a trial did.
    pub fn run(mut self) -> Result<Exit> {
        self.set.extend(self.device.iter().map(|device| format!("device={device}")));
        let suite = Suite::read_tier(&self.suite, self.tier.as_deref(), &self.set)?;
        let trials = suite.trials()?;
        for warning in suite.warnings()? {
            tell(&format!("warning: {warning}"));
        }
        let selected = self.selection.of(&trials)?;
        if self.dry_run {
            return self.rehearse(&suite, &trials, &selected);
        }
        // Report missing data before any training.
        drop(Downstream::open_all(&suite.downstream)?);
        let stop = stop_on_signals();
        let written = self.begin(&suite, &trials)?;
        for store in [&self.out.join("store"), &self.store()] {
            let swept = sweep(store)?;
            if !swept.is_empty() {
                let (count, bytes) = (swept.len(), swept.iter().map(|entry| entry.bytes).sum::<u64>());
                tell(&format!(
                    "note: removed {count} unfinished entries of killed processes, {} MB",
                    bytes / 1_000_000
                ));
            }
        }
        let _using = (Using::new(&self.out.join("store"))?, self.store.as_deref().map(Using::new).transpose()?);
        let mut left = Vec::new();
        for trial in &selected {
            let folder = TrialFolder::of(&self.out, trial);
            // Clean up trials that were killed between writing their scores and this.
            trial.tidy(&folder.newest()?)?;
            if folder.state(trial)? != State::Finished {
                left.push(*trial);
            } else if folder.newest()? != folder.leased {
                // Of a holder that was taken for dead.
                checkpoint::remove(&folder.leased)?;
            }
        }
        let finished = selected.len() - left.len();
        let queue = Queue::new(self.out.clone(), written, left.clone(), self.at_most, self.wait)?;
        self.prepare(&left, &stop)?;
        let bars = SuiteBars::new(selected.len(), finished);
        let queue = Mutex::new(queue);
        let failures = self.run_all(&suite, &left, &queue, &bars, &stop);
        drop(bars);
        self.collect(&suite)?;
        let failures = failures?;
        if stop.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        say(&(table::text(&self.out)? + "\n"));
        for (name, lines) in &failures {
            tell(&format!("failed: {name}\n{lines}"));
        }
        let mut queue = lock(&queue);
        let elsewhere = queue.elsewhere()?;
        if let Some((trial, holder)) = elsewhere.first() {
            let count = elsewhere.len();
            tell(&format!(
                "note: other runs have {count} more trials ({} by {holder}); --wait stays until they are finished",
                trial.name()
            ));
        }
        for name in &queue.failed_elsewhere {
            tell(&format!("failed in another run: {name}"));
        }
        Ok(if failures.is_empty() && queue.failed_elsewhere.is_empty() { Exit::Done } else { Exit::Failed })
    }

    /// Checks the folder and writes the suite to it. Runs that start at the same time do so one
    /// after the other.
    fn begin(&self, suite: &Suite, trials: &[Trial]) -> Result<String> {
        let store = self.out.join("store");
        let _lease = Lease::wait(&store.join("leases/suite"), &Bar::new())?;
        let notes = folder::check(&self.out, suite, trials)?;
        for trial in trials {
            let folder = TrialFolder::of(&self.out, trial);
            folder.state(trial)?;
            if !notes.is_empty() {
                folder.check_running(trial)?;
            }
        }
        notes.iter().for_each(|note| tell(&format!("note: {note}")));
        let resolved = serde_json::to_string_pretty(suite).expect("plain data");
        write_atomic(&self.out.join("suite.json"), resolved.as_bytes())?;
        Ok(resolved)
    }

    /// Prints the trials, their cost and what would fail.
    fn rehearse(&self, suite: &Suite, trials: &[Trial], selected: &[&Trial]) -> Result<Exit> {
        folder::check(&self.out, suite, trials)?.iter().for_each(|note| tell(&format!("note: {note}")));
        let mut left = 0;
        for trial in selected {
            let state = TrialFolder::of(&self.out, trial).state(trial)?;
            left += usize::from(state != State::Finished);
            say(&format!("{:60} {state:?}\n", trial.name()));
        }
        let array =
            if left > 0 { format!("; a job array with one trial per task: 0-{}", left - 1) } else { String::new() };
        say(&format!("{left} of {} trials to run{array}\n", selected.len()));
        say(&suite.estimate(trials.len(), left, self.measured(suite)?)?);
        rehearse(suite, selected)
    }

    /// The training speed of finished trials.
    fn measured(&self, suite: &Suite) -> Result<Option<Measured>> {
        let lines = if self.out.join("suite.json").exists() { gather(&self.out, suite)? } else { Vec::new() };
        let rate = |line: &Line| if let Line::Cost(cost) = line { Some(cost.samples_per_second) } else { None };
        let rates: Vec<f64> = lines.iter().filter_map(rate).filter(|rate| *rate > 0.0).collect();
        let train_rate = rates.iter().sum::<f64>() / rates.len() as f64;
        Ok((!rates.is_empty()).then_some(Measured { train_rate, trials: rates.len() }))
    }

    /// The folder of what can be made again.
    fn store(&self) -> PathBuf {
        self.store.clone().unwrap_or_else(|| self.out.join("store"))
    }

    /// Makes canvases and poison once, before the trials share them.
    fn prepare(&self, left: &[&Trial], stop: &AtomicBool) -> Result<()> {
        let soon = left.iter().take(self.at_most.unwrap_or(usize::MAX));
        let arenas: BTreeMap<(&str, u64), &Trial> =
            soon.map(|trial| ((trial.arena.name.as_str(), trial.arena.seed), *trial)).collect();
        let bar = Bar::new();
        let (store, shared) = (self.store(), self.out.join("store"));
        // A machine that makes other poison stops here, before it takes a trial.
        let machine = RunContext { shared: Some(&shared), ..RunContext::new(&bar, stop) };
        for trial in arenas.values() {
            if stop.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            // A loaded library may abort, which must not stop the suite. It is used only in the
            // trials, which then make their own poison.
            match !origin::used(&trial.arena.attacks).is_empty() {
                true => drop(trial.open_data(&store, &machine)?),
                false => drop(trial.prepare(&store, &machine)?),
            }
        }
        Ok(())
    }

    /// Runs the trials of the queue, several at a time. Returns the failed ones with the last lines
    /// of their messages.
    fn run_all<'a>(
        &self,
        suite: &Suite,
        left: &[&'a Trial],
        queue: &Mutex<Queue<'a>>,
        bars: &SuiteBars,
        stop: &AtomicBool,
    ) -> Result<Vec<(String, String)>> {
        let devices = Devices::of(left);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let room = match left.iter().any(|trial| trial.device != "cpu") {
            true => devices.count(),
            false => cores / suite.threads as usize,
        };
        let jobs = if self.jobs > 0 { self.jobs } else { room.max(1) };
        let began = Instant::now();
        let (send, ended) = mpsc::channel();
        let (mut failures, mut done, mut written) = (Vec::new(), 0, Instant::now());
        let (mut broken, ending) = (None, AtomicBool::new(false));
        std::thread::scope(|scope| {
            for slot in 0..jobs {
                let (send, device, ending) = (send.clone(), devices.of_slot(slot), &ending);
                scope.spawn(move || {
                    let report = |message| drop(send.send(message));
                    let ends = || stop.load(Ordering::Relaxed) || ending.load(Ordering::Relaxed);
                    if let Err(error) = self.work(queue, device, bars, stop, &ends, &report) {
                        report(Message::Broken(error));
                    }
                });
            }
            drop(send);
            let mut pause = Duration::ZERO;
            for message in ended {
                match message {
                    Message::Broken(error) => {
                        bars.say(&format!("no more trials are started: {}", error.chain()));
                        ending.store(true, Ordering::Relaxed);
                        broken.get_or_insert(error);
                    }
                    Message::Note(note) => bars.say(&note),
                    Message::Ended(_, Err(_)) if stop.load(Ordering::Relaxed) => {}
                    Message::Ended(trial, Err(error)) => {
                        bars.say(&format!("failed: {}", trial.name()));
                        failures.push((trial.name(), error.chain()));
                        done += 1;
                    }
                    Message::Ended(trial, Ok(())) => {
                        bars.say(&format!("finished {} ({:.0?})", trial.name(), began.elapsed()));
                        done += 1;
                    }
                }
                let elsewhere = lock(queue).ended_elsewhere();
                bars.finished(done + elsewhere, left.len(), began.elapsed() / (done.max(1) as u32));
                if written.elapsed() >= pause {
                    let before = Instant::now();
                    // The next one may succeed, and nothing depends on it.
                    if let Err(error) = self.collect(suite) {
                        bars.say(&format!("warning: {}", error.chain()));
                    }
                    (written, pause) = (Instant::now(), before.elapsed() * BETWEEN_WRITES);
                }
            }
        });
        broken.map_or(Ok(failures), Err)
    }

    /// Takes trials from the queue and runs them, one after the other.
    fn work<'a>(
        &self,
        queue: &Mutex<Queue<'a>>,
        device: Option<&str>,
        bars: &SuiteBars,
        stop: &AtomicBool,
        ends: &dyn Fn() -> bool,
        report: &dyn Fn(Message<'a>),
    ) -> Result<()> {
        while !ends() {
            let next = lock(queue).next()?;
            let Taken { trial, lease } = match next {
                Next::Start(taken) => taken,
                Next::Wait => {
                    std::thread::sleep(POLL);
                    continue;
                }
                Next::Done => return Ok(()),
            };
            let ended = self.run_child(trial, &lease, device, bars, stop);
            let failed = ended.is_err() && !stop.load(Ordering::Relaxed);
            // Given back first: the queue may hand the trial to another worker at once.
            if failed {
                lease.fail()
            } else {
                drop(lease)
            }
            let mut queue = lock(queue);
            queue.ended();
            match ended {
                Ok(Ended::PutBack(folder)) => queue.put_back(trial, folder),
                Ok(Ended::Lost) => {
                    let why = "another run has taken it over, or its lease could not be renewed";
                    report(Message::Note(format!("given up {}: {why}", trial.name())));
                    queue.lost(trial);
                }
                Ok(Ended::Exit(_)) => report(Message::Ended(trial, Ok(()))),
                Err(error) => report(Message::Ended(trial, Err(error))),
            }
        }
        Ok(())
    }

    /// Writes the lines of the trials that have finished so far, whoever ran them. Another run may
    /// write at the same time, so this looks again after it wrote.
    fn collect(&self, suite: &Suite) -> Result<()> {
        // Another run may have added trials to the suite.
        let there = Folder::read_suite(&self.out).unwrap_or_else(|_| suite.clone());
        let mut lines = gather(&self.out, &there)?;
        loop {
            results::write_lines(&self.out.join("results.jsonl"), &lines)?;
            let again = gather(&self.out, &there)?;
            if again.len() == lines.len() {
                return Ok(());
            }
            lines = again;
        }
    }

    /// Runs one trial in a child process.
    fn run_child(
        &self,
        trial: &Trial,
        lease: &Lease,
        device: Option<&str>,
        bars: &SuiteBars,
        stop: &AtomicBool,
    ) -> Result<Ended> {
        let leased = TrialFolder::of(&self.out, trial).leased;
        let folder = attempt::open(&leased, lease, checkpoint::FILE)?;
        if folder.ends_with(attempt::name(lease.number())) {
            bars.say(&format!("taken over from a silent run: {}", trial.name()));
        }
        trial.check_or_write_manifest(&folder)?;
        let (log, program) = (folder.join("stderr.log"), std::env::current_exe().map_err(Error::io("gauntlet"))?);
        let stderr = std::fs::File::create(&log).map_err(Error::io(&log))?;
        let mut command = child::command(&program, &folder, &self.store());
        command.args(["--workers", &self.workers.to_string()]).arg("--shared").arg(self.out.join("store"));
        if let Some(device) = device {
            command.env("CUDA_VISIBLE_DEVICES", device);
        }
        let mut process = command.stderr(stderr).spawn().map_err(Error::io(&program))?;
        let bar = bars.start(&trial.name());
        let ended = lease
            .add_process(process.id())
            .and_then(|()| child::follow(&mut process, lease, &bar, &trial.name(), stop).map_err(Error::io(&program)));
        bar.finish_and_clear();
        if ended.is_err() {
            // The lease ends next, so nothing may write to the folder any more.
            process.kill().and_then(|()| process.wait()).map_err(Error::io(&program))?;
        }
        let ended = ended?;
        let status = match ended {
            Ended::Exit(_) if lease.check_lost() => return Ok(Ended::Lost),
            Ended::Exit(status) if !status.success() => status,
            ended => return Ok(ended),
        };
        let said = regular::read_to_string(&log, regular::LIST).map_err(Error::io(&log))?;
        let last = last_lines(&said).replace('\n', "\n  ");
        // An aborted process cannot name the library that caused it.
        let libraries = trial.libraries.iter().map(|library| format!(", with plugins of {}", library.file));
        let status = status.to_string() + &libraries.collect::<String>();
        Err(Error::invalid(status, format!("the last lines of {}:\n  {last}", log.display())))
    }
}

/// What a worker tells the thread that shows and stores results.
enum Message<'a> {
    /// A trial ended; the error is its failure.
    Ended(&'a Trial, Result<()>),
    /// A line for the user.
    Note(String),
    /// The worker cannot go on.
    Broken(Error),
}

fn lock<'q, 'a>(queue: &'q Mutex<Queue<'a>>) -> MutexGuard<'q, Queue<'a>> {
    queue.lock().expect("no thread panics with the queue")
}

/// The state of a trial of the suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Finished,
    Started,
    New,
}

/// The folder of a trial in a run's folder.
struct TrialFolder {
    /// The folder that a lease is for; it holds the attempts.
    leased: PathBuf,
}

impl TrialFolder {
    fn of(out: &Path, trial: &Trial) -> TrialFolder {
        TrialFolder { leased: out.join("trials").join(trial.name()) }
    }

    fn newest(&self) -> Result<PathBuf> {
        attempt::newest(&self.leased)
    }

    /// Reports a trial that another run trains with other keys at this time.
    fn check_running(&self, trial: &Trial) -> Result<()> {
        let manifest = self.newest()?.join("trial.json");
        match Lease::holder(&self.leased)? {
            Some(holder) if manifest.exists() && Trial::read(&manifest)? != *trial => {
                let why = format!("{holder} trains this trial with other keys; stop that run, or choose another --out");
                Err(Error::invalid(manifest.display(), why))
            }
            _ => Ok(()),
        }
    }

    /// Reports a folder that contains another trial before anything runs.
    fn state(&self, trial: &Trial) -> Result<State> {
        let folder = self.newest()?;
        if !folder.join("trial.json").exists() {
            return Ok(State::New);
        }
        trial.check_manifest(&folder)?;
        Ok(if trial.has_finished(&folder) { State::Finished } else { State::Started })
    }
}

/// Prints what would fail, item by item.
fn rehearse(suite: &Suite, trials: &[&Trial]) -> Result<Exit> {
    let scratch = Scratch::new(&std::env::temp_dir(), "gauntlet-dry-run-")?;
    let bar = Bar::new();
    let found = suite.rehearse(trials, scratch.path(), &bar)?;
    drop(bar);
    found.notes.iter().for_each(|note| tell(&format!("note: {note}")));
    found.problems().for_each(|problem| tell(&format!("would fail: {problem}")));
    Ok(if found.problems().next().is_none() { Exit::Done } else { Exit::Mistake })
}
