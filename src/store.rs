//! `gauntlet store`: what lies in a run's store, and how to make room there.

use crate::say;
use clap::Args;
use gauntlet::data::store::{State, Stored, list};
use gauntlet::lock::Lock;
use gauntlet::{Result, build};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// Seconds of a day.
const DAY: u64 = 86_400;

/// Lists what a store holds, and removes what nobody needs.
#[derive(Args)]
#[command(after_help = "\
A store holds what trials share: row indexes and canvases of the data, poison, undefended models, features of test images. All of it is made again
when it is missing, so that pruning costs time and no result. What a process reads or writes is never removed, and nothing while a suite runs in the
folder.")]
pub struct Store {
    /// Folder given to `run` as --out, or a store (--store)
    folder: PathBuf,
    /// Remove what this build cannot use any more and what killed processes left
    #[arg(long)]
    prune: bool,
    /// With --prune: remove also what was not used for so many days
    #[arg(long, value_name = "N", requires = "prune")]
    unused_days: Option<u64>,
    /// With --prune: say what would be removed, and remove nothing
    #[arg(long, requires = "prune")]
    dry_run: bool,
}

impl Store {
    /// Prints the list, or what was removed.
    pub fn run(self) -> Result<()> {
        let inner = self.folder.join("store");
        let store = if inner.is_dir() { inner } else { self.folder.clone() };
        let ours = build::key()?;
        let found = list(&store, |made_by| build::finds(made_by, ours))?;
        match self.prune {
            true => self.prune(&store, &found),
            false => tell(&found),
        }
    }

    fn prune(&self, store: &Path, found: &[Stored]) -> Result<()> {
        let _run = if self.dry_run { None } else { of_run(store)? };
        let (mut count, mut bytes) = (0, 0);
        for entry in found.iter().filter(|entry| self.is_useless(entry)) {
            let removed = if self.dry_run { !entry.is_held()? } else { entry.remove()? };
            let did = match (removed, self.dry_run) {
                (true, true) => "would remove",
                (true, false) => "removed",
                (false, _) => "in use",
            };
            say(&format!("{did:12}  {}\n", line(entry, State::Usable)));
            if removed {
                (count, bytes) = (count + 1, bytes + entry.bytes);
            }
        }
        let did = if self.dry_run { "would be removed" } else { "removed" };
        say(&format!("{did}: {count} of {} entries, {}\n", found.len(), size(bytes)));
        Ok(())
    }

    fn is_useless(&self, entry: &Stored) -> bool {
        let old =
            self.unused_days.is_some_and(|days| entry.unused_for() >= Duration::from_secs(days.saturating_mul(DAY)));
        old || matches!(entry.state, State::Foreign | State::Part)
    }
}

/// Makes sure that no suite runs in the folder that a store belongs to.
fn of_run(store: &Path) -> Result<Option<Lock>> {
    match store.parent() {
        Some(out) if store.ends_with("store") && out.join("lock").is_file() => {
            Lock::take(out, Duration::ZERO, &AtomicBool::new(false)).map(Some)
        }
        _ => Ok(None),
    }
}

fn tell(found: &[Stored]) -> Result<()> {
    for entry in found {
        let held = entry.is_held()?;
        say(&format!("{}{}\n", line(entry, entry.state), if held { "  (in use)" } else { "" }));
    }
    let all = found.iter().map(|entry| entry.bytes).sum();
    let useless = found.iter().filter(|entry| matches!(entry.state, State::Foreign | State::Part));
    let useless: u64 = useless.map(|entry| entry.bytes).sum();
    say(&format!("{} entries, {}; --prune removes {}\n", found.len(), size(all), size(useless)));
    Ok(())
}

/// Name, size, age and what it is.
fn line(entry: &Stored, state: State) -> String {
    let name = entry.path.file_name().unwrap_or_default().to_string_lossy();
    let about = match (entry.of.as_str(), entry.state) {
        ("", State::Part) => "what a process began",
        ("", State::List) => "rows that cannot be used",
        ("", _) => "says not what it is of",
        (words, _) => words,
    };
    let other = if state == State::Foreign { "  (of another build)" } else { "" };
    format!("{name:40} {:>9}  used {:12}  {about}{other}", size(entry.bytes), ago(entry.unused_for()))
}

fn ago(age: Duration) -> String {
    match age.as_secs() {
        seconds @ 0..120 => format!("{seconds} s ago"),
        seconds @ 120..7200 => format!("{} min ago", seconds / 60),
        seconds @ 7200..172_800 => format!("{} h ago", seconds / 3600),
        seconds => format!("{} days ago", seconds / DAY),
    }
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}
