//! `gauntlet run`: runs a suite as a grid of child processes, so that a panic, an out-of-memory
//! kill or an abort costs one trial. `sweep/folder.rs` checks the existing content of its folder.

mod folder;

use crate::bars::{Bar, ProgressLine, SuiteBars, show};
use crate::exit::Exit;
use crate::say;
use crate::scratch::Scratch;
use crate::trial::stop_on_signals;
use crate::{table, trace};
use clap::Args;
use gauntlet::data::files::write_atomic;
use gauntlet::evaluator::Downstream;
use gauntlet::lock::Lock;
use gauntlet::registry::origin;
use gauntlet::results::{self, Line};
use gauntlet::run::RunContext;
use gauntlet::suite::Suite;
use gauntlet::suite::plan::Measured;
use gauntlet::{Error, Result, Trial};
use gauntlet_report::folder::last_lines;
use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

/// Runs a suite.
#[derive(Args)]
pub struct Run {
    /// The suite, a TOML file (`gauntlet describe suite` explains its keys)
    suite: PathBuf,
    /// Folder for results, trials and the files that they share; run the same command again to
    /// continue
    #[arg(long)]
    out: PathBuf,
    /// Number of concurrent trials; 0: as many as the cores allow, one on a GPU
    #[arg(long, default_value_t = 0)]
    jobs: usize,
    /// Threads per trial that read batches ahead; affects only the speed
    #[arg(long, default_value_t = 1)]
    workers: usize,
    /// Run only trials whose name (arena/defense/seed-N) contains this; may be given several times
    /// to run any of them
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
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

/// The state of a trial of the suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Finished,
    Started,
    New,
}

impl Run {
    /// Runs the unfinished trials, prints the table, and fails if a trial did.
    pub fn run(mut self) -> Result<Exit> {
        self.set.extend(self.device.iter().map(|device| format!("device={device}")));
        let suite = Suite::read_tier(&self.suite, self.tier.as_deref(), &self.set)?;
        let trials = suite.trials()?;
        for warning in suite.warnings()? {
            eprintln!("warning: {warning}");
        }
        let names: Vec<String> = trials.iter().map(Trial::name).collect();
        if !self.only.is_empty() && !names.iter().any(|name| self.wants(name)) {
            return Err(Error::invalid(
                format!("--only {}", self.only.join(" ")),
                format!("matches none of {}", names.join(", ")),
            ));
        }
        if !self.dry_run {
            // Report missing data before any training.
            drop(Downstream::open_all(&suite.downstream)?);
        }
        let stop = stop_on_signals();
        let lock = || Lock::take(&self.out, Duration::ZERO, &stop).map_err(|error| error.during("--out"));
        let _lock = (!self.dry_run).then(lock).transpose()?;
        folder::check(&self.out, &suite, &trials)?.iter().for_each(|said| eprintln!("note: {said}"));
        let states = trials.iter().map(|trial| self.state(trial)).collect::<Result<Vec<_>>>()?;
        if self.dry_run {
            let chosen = names.iter().zip(&states).filter(|(name, _)| self.wants(name));
            say(&chosen.clone().map(|(name, state)| format!("{name:60} {state:?}\n")).collect::<String>());
            let left = chosen.filter(|(_, state)| **state != State::Finished).count();
            say(&suite.estimate(trials.len(), left, self.measured()?)?);
            return rehearse(&suite, &trials.iter().filter(|trial| self.wants(&trial.name())).collect::<Vec<_>>());
        }
        // Clean up trials that were killed between writing their scores and this.
        trials.iter().try_for_each(|trial| trial.tidy(&self.folder(trial)))?;
        std::fs::create_dir_all(self.out.join("store")).map_err(Error::io(&self.out))?;
        let before = folder::results(&self.out)?;
        let resolved = serde_json::to_string_pretty(&suite).expect("plain data");
        write_atomic(&self.out.join("suite.json"), resolved.as_bytes())?;
        let todo: VecDeque<&Trial> = trials
            .iter()
            .zip(&states)
            .filter(|(trial, state)| **state != State::Finished && self.wants(&trial.name()))
            .map(|(trial, _)| trial)
            .collect();
        self.prepare(&todo, &stop)?;
        let failures = self.run_all(&trials, todo, &suite, &before, &stop)?;
        if stop.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        say(&(table::text(&self.out)? + "\n"));
        for (name, lines) in &failures {
            eprintln!("failed: {name}\n{lines}");
        }
        Ok(if failures.is_empty() { Exit::Done } else { Exit::Failed })
    }

    /// The training speed of finished trials.
    fn measured(&self) -> Result<Option<Measured>> {
        let lines = folder::results(&self.out)?;
        let rate = |line: &Line| if let Line::Cost(cost) = line { Some(cost.samples_per_second) } else { None };
        let rates: Vec<f64> = lines.iter().filter_map(rate).filter(|rate| *rate > 0.0).collect();
        let train_rate = rates.iter().sum::<f64>() / rates.len() as f64;
        Ok((!rates.is_empty()).then_some(Measured { train_rate, trials: rates.len() }))
    }

    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| name.contains(only.as_str()))
    }

    fn folder(&self, trial: &Trial) -> PathBuf {
        self.out.join("trials").join(trial.name())
    }

    /// Reports a folder that contains another trial before anything runs.
    fn state(&self, trial: &Trial) -> Result<State> {
        let folder = self.folder(trial);
        if !folder.join("trial.json").exists() {
            return Ok(State::New);
        }
        trial.check_manifest(&folder)?;
        Ok(if trial.has_finished(&folder) { State::Finished } else { State::Started })
    }

    /// Makes canvases and poison once, before the trials share them.
    fn prepare(&self, todo: &VecDeque<&Trial>, stop: &AtomicBool) -> Result<()> {
        let arenas: BTreeMap<(&str, u64), &Trial> =
            todo.iter().map(|trial| ((trial.arena.name.as_str(), trial.arena.seed), *trial)).collect();
        let bar = Bar::new();
        let machine = RunContext { workers: 1, progress: &bar, stop };
        for trial in arenas.values() {
            if stop.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            let store = self.out.join("store");
            // A loaded library may abort, which must not stop the suite. It is used only in the
            // trials, which then make their own poison.
            match !origin::used(&trial.arena.attacks).is_empty() {
                true => drop(trial.open_data(&store, &machine)?),
                false => drop(trial.prepare(&store, &machine)?),
            }
        }
        Ok(())
    }

    /// Runs the trials, `jobs` at a time. Returns the failed ones with the last lines of their
    /// messages.
    fn run_all(
        &self,
        trials: &[Trial],
        todo: VecDeque<&Trial>,
        suite: &Suite,
        before: &[Line],
        stop: &AtomicBool,
    ) -> Result<Vec<(String, String)>> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let room = if trials.iter().any(|trial| trial.device != "cpu") { 1 } else { cores / suite.threads as usize };
        let jobs = if self.jobs > 0 { self.jobs } else { room.max(1) };
        let (left, began) = (todo.len(), Instant::now());
        let wanted = trials.iter().filter(|trial| self.wants(&trial.name())).count();
        let bars = SuiteBars::new(wanted, wanted - left);
        let queue = Mutex::new(todo);
        let (send, ended) = mpsc::channel();
        let mut failures = Vec::new();
        std::thread::scope(|scope| {
            for _ in 0..jobs {
                let (queue, bars, send) = (&queue, &bars, send.clone());
                scope.spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        let Some(trial) = queue.lock().expect("no thread panics with the queue").pop_front() else {
                            return;
                        };
                        // The receiver lives as long as this scope.
                        let _ = send.send((trial, self.run_child(trial, bars, stop)));
                    }
                });
            }
            drop(send);
            for (done, (trial, outcome)) in ended.iter().enumerate() {
                if let Err(error) = outcome {
                    if !stop.load(Ordering::Relaxed) {
                        bars.say(&format!("failed: {}", trial.name()));
                        failures.push((trial.name(), error.chain()));
                    }
                } else {
                    bars.say(&format!("finished {} ({:.0?})", trial.name(), began.elapsed()));
                }
                self.collect(trials, before)?;
                let each = began.elapsed() / (done as u32 + 1);
                bars.finished(each * (left - done - 1) as u32);
            }
            self.collect(trials, before)
        })?;
        Ok(failures)
    }

    /// Writes the lines of the trials that have finished so far.
    fn collect(&self, trials: &[Trial], before: &[Line]) -> Result<()> {
        results::write_lines(&self.out.join("results.jsonl"), &folder::gather(&self.out, trials, before)?)
    }

    /// Runs one trial in a child process: its progress is shown in a bar, its standard error is
    /// written to `stderr.log`.
    fn run_child(&self, trial: &Trial, bars: &SuiteBars, stop: &AtomicBool) -> Result<()> {
        let folder = self.folder(trial);
        std::fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
        trial.check_or_write_manifest(&folder)?;
        let (log, program) = (folder.join("stderr.log"), std::env::current_exe().map_err(Error::io("gauntlet"))?);
        let stderr = std::fs::File::create(&log).map_err(Error::io(&log))?;
        let mut child = child(&program, &folder, &self.out.join("store"))
            .args(["--workers", &self.workers.to_string()])
            .stderr(stderr)
            .spawn()
            .map_err(Error::io(&program))?;
        let bar = bars.start(&trial.name());
        let status = follow(&mut child, &bar, &trial.name(), stop).map_err(Error::io(&program))?;
        bar.finish_and_clear();
        if status.success() {
            return Ok(());
        }
        let said = std::fs::read_to_string(&log).map_err(Error::io(&log))?;
        let last = last_lines(&said).replace('\n', "\n  ");
        // An aborted process cannot name the library that caused it.
        let libraries = trial.libraries.iter().map(|library| format!(", with plugins of {}", library.file));
        let status = status.to_string() + &libraries.collect::<String>();
        Err(Error::invalid(status, format!("the last lines of {}:\n  {last}", log.display())))
    }
}

/// Prints what would fail, item by item.
fn rehearse(suite: &Suite, trials: &[&Trial]) -> Result<Exit> {
    let scratch = Scratch::new(&std::env::temp_dir(), "gauntlet-dry-run-")?;
    let bar = Bar::new();
    let found = suite.rehearse(trials, scratch.path(), &bar)?;
    drop(bar);
    found.notes.iter().for_each(|note| eprintln!("note: {note}"));
    found.problems().for_each(|problem| eprintln!("would fail: {problem}"));
    Ok(if found.problems().next().is_none() { Exit::Done } else { Exit::Mistake })
}

/// A new process for the trial whose `trial.json` is in `folder`; it reports on its standard
/// output.
pub fn child(program: &Path, folder: &Path, store: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .arg("trial")
        .arg(folder.join("trial.json"))
        .arg("--child")
        .arg("--out")
        .arg(folder)
        .arg("--store")
        .arg(store);
    for library in origin::loaded() {
        command.arg("--plugin").arg(&library.given);
    }
    command.args(trace::options());
    // Trials run side by side: waiting threads that spin would take each other's cores.
    command.env("OMP_WAIT_POLICY", "passive").stdin(Stdio::piped()).stdout(Stdio::piped());
    // Allocate the memory of tensors in pages of 2 MB if the kernel allows it: misses of small
    // pages cost some 7% of the demo's training.
    if std::env::var_os("GLIBC_TUNABLES").is_none() {
        command.env("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1");
    }
    command
}

/// Shows a child's reports until it ends. On a stop request, closes its standard input, and the
/// child writes a checkpoint.
fn follow(
    child: &mut Child,
    bar: &indicatif::ProgressBar,
    name: &str,
    stop: &AtomicBool,
) -> std::io::Result<std::process::ExitStatus> {
    let stdout = child.stdout.take().expect("standard output is piped");
    let mut stdin: Option<ChildStdin> = child.stdin.take();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(|line| line.ok()) {
                // A plugin may print anything; only reports are shown.
                if let Ok(report) = serde_json::from_str::<ProgressLine>(&line) {
                    show(bar, name, &report);
                }
            }
        });
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            if stop.load(Ordering::Relaxed) {
                stdin = None;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    })
    .inspect(|_| drop(stdin))
}
