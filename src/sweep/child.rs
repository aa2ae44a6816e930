//! One trial in a child process: its progress is shown in a bar, its standard error is written to
//! `stderr.log`.

use crate::bars::{ProgressLine, WaitsFor, show};
use crate::trace;
use gauntlet::data::lease::Lease;
use gauntlet::registry::origin;
use indicatif::ProgressBar;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How a trial's process ended.
pub enum Ended {
    /// By itself, or because the run stops.
    Exit(ExitStatus),
    /// It needs the undefended model that another process trains in this folder.
    PutBack(PathBuf),
    /// Another run has taken over the trial, so this process was killed.
    Lost,
}

/// A new process for the trial whose `trial.json` is in `folder`; it reports on its standard
/// output, and starts its work when a byte comes on its standard input.
pub fn command(program: &Path, folder: &Path, store: &Path) -> Command {
    let mut command = Command::new(program);
    command.arg("trial").arg(folder.join("trial.json")).arg("--child");
    command.arg("--out").arg(folder).arg("--store").arg(store);
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

/// Lets a child begin: this process has recorded it.
pub fn begin(child: &mut Child) -> std::io::Result<ChildStdin> {
    let mut stdin = child.stdin.take().expect("standard input is piped");
    match stdin.write_all(b"\n").and_then(|()| stdin.flush()) {
        // It has died, and its status says why.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(stdin),
        written => written.map(|()| stdin),
    }
}

/// Shows a child's reports until it ends. On a stop request, closes its standard input, and the
/// child writes a checkpoint. If its lease is lost, kills it.
pub fn follow(
    child: &mut Child,
    lease: &Lease,
    bar: &ProgressBar,
    name: &str,
    stop: &AtomicBool,
) -> std::io::Result<Ended> {
    let mut stdin = Some(begin(child)?);
    let stdout = child.stdout.take().expect("standard output is piped");
    let waits_for = Mutex::new(None);
    let status = std::thread::scope(|scope| {
        scope.spawn(|| {
            for line in BufReader::new(stdout).lines().map_while(|line| line.ok()) {
                // A plugin may print anything; only reports are shown.
                if let Ok(report) = serde_json::from_str::<ProgressLine>(&line) {
                    show(bar, name, &report);
                } else if let Ok(WaitsFor { waits_for: folder }) = serde_json::from_str(&line) {
                    *waits_for.lock().expect("no thread panics with it") = Some(folder);
                }
            }
        });
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok::<_, std::io::Error>(Some(status));
            }
            if lease.is_lost() {
                child.kill()?;
                child.wait()?;
                return Ok(None);
            }
            if stop.load(Ordering::Relaxed) {
                stdin = None;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    })?;
    drop(stdin);
    let waits_for = waits_for.into_inner().expect("no thread panics with it");
    Ok(match (status, waits_for) {
        (None, _) => Ended::Lost,
        (Some(status), Some(folder)) if status.code() == Some(crate::exit::Exit::PutBack as i32) => {
            Ended::PutBack(folder)
        }
        (Some(status), _) => Ended::Exit(status),
    })
}
