//! Leases: one process at a time works in a folder that several machines share. They need no file
//! locks, only what NFS and parallel file systems promise: that a file is created once (`O_EXCL`).
//!
//! A process takes a folder by creating `lease-00001` in it. It renews the file as long as it lives
//! and marks it when it ends. Who comes later reads the lease with the highest number. If that one
//! has ended, or its processes are gone, or it was not renewed for [`silence`], the next number is
//! created, which only one process can do. A holder that was frozen, and so lost its lease, finds
//! the higher number when it wakes up. Leases stay: a number is never used twice.
//! `lease/attempt.rs` keeps the files of such a holder apart.
//!
//! The dates of files suggest that a holder is silent. Some file systems take them from the clocks
//! of the clients, so a taker also watches the lease itself for a while before it believes that.

pub mod attempt;

use crate::progress::Progress;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant, SystemTime};

/// Prefix of the files, before the number.
pub const PREFIX: &str = "lease-";

/// Prefix of the files whose date is the time of the file server.
const TOUCHED: &str = ".now-";

/// Bounds of the time between two looks at a folder that is waited for.
const SHORTEST_LOOK: Duration = Duration::from_millis(50);
const LONGEST_LOOK: Duration = Duration::from_secs(2);

/// Renewals within the silence that ends a lease.
const BEATS: u32 = 20;

/// Renewals that a taker waits for, and misses, before it believes that a holder is silent.
const MISSED: u32 = 2;

/// Size of a lease in bytes: every write replaces all of it, so no reader finds a part.
const BYTES: usize = 1024;

/// A folder that this process may write to, until this is dropped or lost.
pub struct Lease {
    inner: Arc<Inner>,
    /// Dropping it ends the thread that renews the lease.
    _alive: mpsc::Sender<()>,
}

struct Inner {
    folder: PathBuf,
    number: u32,
    holder: Mutex<Holder>,
    lost: AtomicBool,
}

/// The outcome of taking a folder.
pub enum Taking {
    /// This process has it now.
    Ours(Lease),
    /// Another process has it.
    Theirs(Holder),
}

/// The process that holds a folder, for messages and for the decision whether it is alive.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Holder {
    /// Name of its machine.
    pub host: String,
    /// One start of a kernel and one name space of processes: only there are `processes` known.
    space: String,
    /// The holder, and the processes that it started for its work.
    processes: Vec<Process>,
    /// The job of the scheduler, if there is one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub job: String,
    /// Seconds without a renewal after which another process may take the folder.
    silence: f64,
    /// Number of renewals: a lease that lives changes.
    beat: u64,
    /// The attempt that it writes to, once it is known; 0: the folder itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
    /// Whether it has ended.
    ended: bool,
    /// Whether it ended because its work failed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    failed: bool,
    /// Whether it gave no sign of life for its silence, and is watched before that is believed.
    #[serde(skip)]
    suspect: bool,
}

/// A process of a machine; the start tells it from a later one of the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Process {
    pid: u32,
    /// Ticks from the start of the machine to its start.
    start: u64,
}

/// Default of [`silence`]. It is longer than NFS clients keep the attributes of a file (60 s by
/// default).
const SILENCE: Duration = Duration::from_secs(300);

/// The time without a renewal that ends a lease: the environment variable `GAUNTLET_LEASE`, in
/// seconds, or 300 s. It is that of the holder that counts.
///
/// # Errors
/// If the variable is no positive number.
pub fn silence() -> Result<Duration> {
    let Some(text) = std::env::var_os("GAUNTLET_LEASE") else { return Ok(SILENCE) };
    let seconds = text.to_str().and_then(|text| text.parse().ok()).filter(|seconds| *seconds > 0.0);
    let silence = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let why = || format!("{} is not a positive number of seconds", text.display());
    silence.ok_or_else(|| Error::invalid("the environment variable GAUNTLET_LEASE", why()))
}

impl Lease {
    /// Takes a folder, which is created if needed, or says who has it.
    pub fn take(folder: &Path) -> Result<Taking> {
        Lease::take_for(folder, silence()?)
    }

    fn take_for(folder: &Path, silence: Duration) -> Result<Taking> {
        fs::create_dir_all(folder).map_err(Error::io(folder))?;
        loop {
            let newest = newest(folder)?;
            if let Some(number) = newest
                && let State::Held(holder) = state(folder, number)?
            {
                return Ok(Taking::Theirs(holder));
            }
            let number = newest.unwrap_or(0) + 1;
            let holder = Holder::this(silence);
            let mut new = OpenOptions::new();
            match new.write(true).create_new(true).open(path(folder, number)) {
                Ok(file) => {
                    file.write_all_at(&holder.bytes(), 0)
                        .and_then(|()| file.sync_all())
                        .map_err(Error::io(path(folder, number)))?;
                    return Ok(Taking::Ours(Lease::keep(folder, number, holder, silence)));
                }
                // Another process was faster.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Error::io(path(folder, number))(error)),
            }
        }
    }

    /// Takes a folder, and waits for it as long as another process has it. The user learns for
    /// which one.
    ///
    /// # Errors
    /// [`Error::Interrupted`] if the user asks to stop.
    pub fn wait(folder: &Path, progress: &dyn Progress) -> Result<Lease> {
        let (began, mut told) = (Instant::now(), false);
        loop {
            match Lease::take(folder)? {
                Taking::Ours(lease) => return Ok(lease),
                Taking::Theirs(_) if progress.stopped() => return Err(Error::Interrupted),
                Taking::Theirs(holder) => {
                    // Most waits are short.
                    if !told && began.elapsed() > Duration::from_secs(2) {
                        told = true;
                        progress.tell(&format!("waiting for {holder}, in {}", folder.display()));
                    }
                    // The longer the wait, the rarer the looks: a file server serves many.
                    std::thread::sleep((began.elapsed() / 10).clamp(SHORTEST_LOOK, LONGEST_LOOK));
                }
            }
        }
    }

    /// Takes a folder for this process alone.
    ///
    /// # Errors
    /// If another process has it; the message says which one.
    pub fn only(folder: &Path) -> Result<Lease> {
        match Lease::take(folder)? {
            Taking::Ours(lease) => Ok(lease),
            Taking::Theirs(holder) => {
                let why = format!(
                    "{holder} works in it, and both would write the same files; wait until it has ended, stop it, or \
                     choose another folder"
                );
                Err(Error::invalid(folder.display(), why))
            }
        }
    }

    /// The holder of a folder that is alive; `None` if it is free.
    pub fn holder(folder: &Path) -> Result<Option<Holder>> {
        let Some(number) = newest(folder)? else { return Ok(None) };
        Ok(if let State::Held(holder) = state(folder, number)? { Some(holder) } else { None })
    }

    /// The last lease of a folder, if its holder ended because its work failed: its number, and
    /// whether that was on this machine.
    pub fn failed(folder: &Path) -> Result<Option<(u32, bool)>> {
        let Some(number) = newest(folder)? else { return Ok(None) };
        let (holder, _) = read_lease(folder, number)?;
        let here = holder.host == Holder::this(SILENCE).host;
        Ok(holder.failed.then_some((number, here)))
    }

    /// Renews a new lease until it is dropped.
    fn keep(folder: &Path, number: u32, holder: Holder, silence: Duration) -> Lease {
        let (alive, dropped) = mpsc::channel();
        let (holder, lost) = (Mutex::new(holder), AtomicBool::new(false));
        let inner = Arc::new(Inner { folder: folder.to_path_buf(), number, holder, lost });
        let renewed = inner.clone();
        std::thread::spawn(move || {
            let mut last = Instant::now();
            while dropped.recv_timeout(silence / BEATS) == Err(mpsc::RecvTimeoutError::Timeout) {
                let renewal = if renewed.is_newest() { renewed.write(|holder| holder.beat += 1) } else { Ok(false) };
                match renewal {
                    Ok(true) => last = Instant::now(),
                    Ok(false) => return renewed.lost.store(true, Ordering::Relaxed),
                    // A file server may be away for a while; others see the same silence.
                    Err(_) if last.elapsed() < silence => {}
                    Err(_) => return renewed.lost.store(true, Ordering::Relaxed),
                }
            }
        });
        Lease { inner, _alive: alive }
    }

    /// Its number in the folder, from 1.
    pub fn number(&self) -> u32 {
        self.inner.number
    }

    /// Whether another process has taken over the folder. This process must stop its work and
    /// publish nothing.
    pub fn is_lost(&self) -> bool {
        self.inner.lost.load(Ordering::Relaxed)
    }

    /// The same, after a look at the folder.
    pub fn check_lost(&self) -> bool {
        if !self.inner.is_newest() {
            self.inner.lost.store(true, Ordering::Relaxed);
        }
        self.is_lost()
    }

    /// Ends it, and records that the work failed: others do it last.
    pub fn fail(self) {
        self.inner.holder.lock().expect("no thread panics with it").failed = true;
    }

    /// Records the attempt that this holder writes to.
    fn record_attempt(&self, number: u32) -> Result<()> {
        self.inner.record(|holder| holder.attempt = Some(number))
    }

    /// Adds a process that works for this one: the folder is not free before it has ended, too.
    pub fn add_process(&self, pid: u32) -> Result<()> {
        let process = Process::of(pid).unwrap_or(Process { pid, start: 0 });
        self.inner.record(|holder| holder.processes.push(process))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // If this fails, the lease ends by the end of this process, or by its silence.
        let _ = self.inner.write(|holder| holder.ended = true);
    }
}

impl Inner {
    fn is_newest(&self) -> bool {
        !path(&self.folder, self.number + 1).exists()
    }

    fn record(&self, change: impl FnOnce(&mut Holder)) -> Result<()> {
        self.write(change).map(drop).map_err(Error::io(path(&self.folder, self.number)))
    }

    /// Writes the changed lease; `false` if the folder was deleted. One write at a time: a renewal
    /// must not overtake the mark of the end.
    fn write(&self, change: impl FnOnce(&mut Holder)) -> std::io::Result<bool> {
        let mut holder = self.holder.lock().expect("no thread panics with it");
        change(&mut holder);
        let file = match OpenOptions::new().write(true).open(path(&self.folder, self.number)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            file => file?,
        };
        file.write_all_at(&holder.bytes(), 0)?;
        file.sync_all()?;
        Ok(true)
    }
}

enum State {
    Held(Holder),
    /// Its processes are known to have ended: they write no more.
    Ended,
    /// It gave no sign of life. It may be frozen and go on later, so that nobody else may write to
    /// the same files.
    Silent,
}

/// A lease, and when it was written.
fn read_lease(folder: &Path, number: u32) -> Result<(Holder, SystemTime)> {
    let path = path(folder, number);
    let mut file = File::open(&path).map_err(Error::io(&path))?;
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(Error::io(&path))?;
    let renewed = file.metadata().and_then(|about| about.modified()).map_err(Error::io(&path))?;
    // It is empty for an instant after it was created.
    let unknown = Holder { host: "another machine".into(), silence: SILENCE.as_secs_f64(), ..Holder::default() };
    Ok((serde_json::from_str(text.trim_end_matches('\0')).unwrap_or(unknown), renewed))
}

/// The state of a lease, as this process sees it.
fn state(folder: &Path, number: u32) -> Result<State> {
    let (mut holder, renewed) = read_lease(folder, number)?;
    if holder.ended || holder.is_gone() {
        return Ok(State::Ended);
    }
    let silence = Duration::try_from_secs_f64(holder.silence).unwrap_or(SILENCE);
    // A date of the near past by this machine's clock is believed; a file server is asked only
    // about others.
    let young = renewed.elapsed().is_ok_and(|age| age < silence / 2);
    if young || now(folder)?.duration_since(renewed).unwrap_or_default() < silence {
        return Ok(State::Held(holder));
    }
    match missed(&path(folder, number), &holder, silence * MISSED / BEATS) {
        true => Ok(State::Silent),
        false => {
            holder.suspect = true;
            Ok(State::Held(holder))
        }
    }
}

/// Whether a lease has not changed for some time, since this process first looked at it.
fn missed(path: &Path, holder: &Holder, time: Duration) -> bool {
    static SEEN: Mutex<BTreeMap<PathBuf, (Holder, Instant)>> = Mutex::new(BTreeMap::new());
    let mut seen = SEEN.lock().expect("no thread panics with it");
    match seen.get(path) {
        Some((before, since)) if before == holder => since.elapsed() >= time,
        _ => {
            seen.insert(path.to_path_buf(), (holder.clone(), Instant::now()));
            false
        }
    }
}

/// The time of the file server, which dates all leases.
fn now(folder: &Path) -> Result<SystemTime> {
    let touched = tempfile::Builder::new().prefix(TOUCHED).tempfile_in(folder).map_err(Error::io(folder))?;
    std::io::Write::write_all(&mut touched.as_file(), b".").map_err(Error::io(folder))?;
    touched.as_file().sync_all().map_err(Error::io(folder))?;
    touched.as_file().metadata().and_then(|about| about.modified()).map_err(Error::io(folder))
}

/// The highest number of a lease in the folder.
fn newest(folder: &Path) -> Result<Option<u32>> {
    let mut newest = None;
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        entries => entries.map_err(Error::io(folder))?,
    };
    for entry in entries {
        let name = entry.map_err(Error::io(folder))?.file_name();
        newest = newest.max(name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.parse().ok()));
    }
    Ok(newest)
}

fn path(folder: &Path, number: u32) -> PathBuf {
    folder.join(format!("{PREFIX}{number:05}"))
}

impl Holder {
    /// This process.
    fn this(silence: Duration) -> Holder {
        let process = Process::of(std::process::id()).unwrap_or(Process { pid: std::process::id(), start: 0 });
        Holder {
            host: read("/proc/sys/kernel/hostname").unwrap_or_else(|| "this machine".into()),
            space: space(),
            processes: vec![process],
            job: scheduled_job(),
            silence: silence.as_secs_f64(),
            beat: 0,
            attempt: None,
            ended: false,
            failed: false,
            suspect: false,
        }
    }

    /// As long as every lease is, in bytes.
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec(self).expect("plain data");
        bytes.resize(BYTES.max(bytes.len()), b' ');
        if let Some(last) = bytes.last_mut().filter(|last| **last == b' ') {
            *last = b'\n';
        }
        bytes
    }

    /// Whether it is known that all its processes have ended: only on its own machine.
    fn is_gone(&self) -> bool {
        self.is_here() && !self.processes.iter().any(Process::lives)
    }

    fn is_here(&self) -> bool {
        // Some machines hide the processes of other users.
        !self.space.is_empty() && self.space == space() && Path::new("/proc/1").exists()
    }

    /// Whether it may soon be free: its first process has died, and one that it started writes a
    /// checkpoint; or it is silent, and watched before that is believed.
    pub fn is_ending(&self) -> bool {
        self.suspect || self.is_here() && self.processes.first().is_some_and(|first| !first.lives())
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.processes.first() {
            Some(Process { pid, .. }) => write!(f, "process {pid} on {}", self.host)?,
            None => write!(f, "a process on {}", self.host)?,
        }
        if self.job.is_empty() { Ok(()) } else { write!(f, " (job {})", self.job) }
    }
}

impl Process {
    fn of(pid: u32) -> Option<Process> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name, in brackets, may hold spaces. The state follows it, and 19 fields on the start.
        let mut fields = text.rsplit_once(')')?.1.split_whitespace();
        let state = fields.next()?;
        let start = fields.nth(18)?.parse().ok()?;
        // A zombie has ended.
        (!matches!(state, "Z" | "X")).then_some(Process { pid, start })
    }

    fn lives(&self) -> bool {
        Process::of(self.pid).is_some_and(|there| there.start == self.start)
    }
}

/// The kernel's start and the name space of this process's numbers; empty if unknown.
fn space() -> String {
    let start = read("/proc/sys/kernel/random/boot_id");
    let names = fs::read_link("/proc/self/ns/pid").ok().map(|names| names.display().to_string());
    start.zip(names).map_or(String::new(), |(start, names)| format!("{start} {names}"))
}

/// The job of Slurm, PBS, LSF or Grid Engine that this process runs in.
fn scheduled_job() -> String {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let array = set("SLURM_ARRAY_JOB_ID").zip(set("SLURM_ARRAY_TASK_ID")).map(|(job, task)| format!("{job}_{task}"));
    let jobs = ["SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "JOB_ID"];
    array.or_else(|| jobs.into_iter().find_map(set)).unwrap_or_default()
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_string()).filter(|text| !text.is_empty())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
