//! Locks a folder for one process at a time. The operating system holds the lock, so a killed
//! process leaves none behind; the lock file names the holder for other processes.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The file in the locked folder. It is never deleted; only its lock matters.
const FILE: &str = "lock";

/// A folder that this process owns until this is dropped.
pub struct Lock(File);

/// The holder of a folder.
#[derive(Serialize, Deserialize)]
struct Holder {
    pid: u32,
    host: String,
    /// Seconds since 1970.
    since: u64,
}

impl Lock {
    /// Locks a folder, waiting up to `patience`, or until `stop` is set.
    ///
    /// # Errors
    /// If another process has it; the message says which one, and since when.
    pub fn take(folder: &Path, patience: Duration, stop: &AtomicBool) -> Result<Lock> {
        std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
        let path = folder.join(FILE);
        // Not truncated: while another process holds the lock, the file names that process.
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(Error::io(&path))?;
        let began = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if stop.load(Ordering::Relaxed) => return Err(Error::Interrupted),
                Err(TryLockError::WouldBlock) if began.elapsed() < patience => {
                    std::thread::sleep(Duration::from_millis(100));
                }
                Err(TryLockError::WouldBlock) => return Err(taken(folder, &path)),
                Err(TryLockError::Error(error)) => return Err(Error::io(&path)(error)),
            }
        }
        let lock = Lock(file);
        let holder = Holder { pid: std::process::id(), host: host(), since: now() };
        let text = serde_json::to_string(&holder).expect("plain data") + "\n";
        lock.0.set_len(0).and_then(|()| (&lock.0).write_all(text.as_bytes())).map_err(Error::io(&path))?;
        Ok(lock)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // If this fails, the file names a process that is gone. Nothing reads it unless another
        // process holds the lock, which then rewrites it.
        let _ = self.0.set_len(0);
    }
}

fn taken(folder: &Path, path: &Path) -> Error {
    let holder: Option<Holder> = std::fs::read_to_string(path).ok().and_then(|text| serde_json::from_str(&text).ok());
    let who = match holder {
        Some(Holder { pid, host, since }) => {
            format!("process {pid} on {host} has worked in it for {}", span(now().saturating_sub(since)))
        }
        None => "another process works in it".into(),
    };
    let why = format!(
        "{who}, and both would write the same files; wait until it has ended, stop it, or choose another folder"
    );
    Error::invalid(folder.display(), why)
}

fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3600),
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if name.trim().is_empty() { "this machine".into() } else { name.trim().into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_holder_and_whoever_comes_second_is_told_who() {
        let home = tempfile::tempdir().unwrap();
        let (folder, stop) = (home.path().join("out"), AtomicBool::new(false));
        let take = |patience| Lock::take(&folder, Duration::from_millis(patience), &stop);
        let first = take(0).unwrap();
        let refused = take(0).err().expect("it is taken").chain();
        let pid = std::process::id();
        for part in [
            &format!("{}: process {pid} on ", folder.display()),
            " has worked in it for 0 s",
            "wait until it has ended",
        ] {
            assert!(refused.contains(part), "{part:?} is not in: {refused}");
        }
        std::thread::scope(|scope| {
            let second = scope.spawn(|| take(60_000).map(drop));
            std::thread::sleep(Duration::from_millis(150));
            drop(first);
            second.join().unwrap().expect("it waits until the folder is free");
        });
        let _third = take(0).unwrap();
        stop.store(true, Ordering::Relaxed);
        assert!(matches!(take(60_000), Err(Error::Interrupted)));
    }
}
