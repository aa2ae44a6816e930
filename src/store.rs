//! `gauntlet store`: lists the content of a run's store, and removes unused entries.

use crate::say;
use clap::Args;
use gauntlet::data::store::{State, Stored, Using, list};
use gauntlet::{Result, build};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Seconds per day.
const DAY: u64 = 86_400;

/// Lists a store's entries, and removes unused ones.
#[derive(Args)]
#[command(after_help = "\
A store contains files that trials share: row indexes and canvases of the data, poison, undefended models, features of test images. A
missing file is made again, so pruning costs time but no result. Files that a process reads or writes are never removed, and nothing is
removed while a suite runs in the folder.")]
pub struct Store {
    /// Folder given to `run` as --out, or a store (--store)
    folder: PathBuf,
    /// Remove entries that this build cannot use, and leftovers of killed processes
    #[arg(long)]
    prune: bool,
    /// With --prune: also remove entries that were not used for N days
    #[arg(long, value_name = "N", requires = "prune")]
    unused_days: Option<u64>,
    /// With --prune: only print what would be removed
    #[arg(long, requires = "prune")]
    dry_run: bool,
}

impl Store {
    /// Prints the list, or the removed entries.
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
        let _lease = if self.dry_run { None } else { Some(Using::prune(store)?) };
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

/// Name, size, age and description of an entry.
fn line(entry: &Stored, state: State) -> String {
    let name = entry.path.file_name().unwrap_or_default().to_string_lossy();
    let about = match (entry.of.as_str(), entry.state) {
        ("", State::Part) => "an unfinished entry of a process",
        ("", State::List) => "rows that cannot be used",
        ("", _) => "without a description",
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

/// A number of bytes as text.
pub fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}
