//! `gauntlet merge`: joins the results of one suite from several machines in one folder.

use crate::output::tell;
use crate::say;
use clap::Args;
use gauntlet::Result;
use gauntlet_report::merge::merge;
use std::path::PathBuf;

/// Joins result folders.
#[derive(Args)]
#[command(after_help = "\
Six seeds on two machines:
  gauntlet run suites/demo.toml --out out/one --set 'seeds=[10, 11, 12]'
  gauntlet run suites/demo.toml --out out/two --set 'seeds=[13, 14, 15]'
  gauntlet merge out/one out/two --out out/demo
  gauntlet compare out/demo

The suites may differ in seeds, arenas and defenses, which are joined, and in device, cache_gb and plan, which only affect how a
machine runs them. Any other key that differs is an error. All trials of an arena and seed must have read the same poison. The
following differences are warnings, which `table` repeats: poison that differs only in pixels, as rounding on another machine can
cause; other devices; other versions of gauntlet. A trial that is in two folders must have the same scores.

Each trial keeps trial.json, scores.jsonl, metrics.jsonl, trajectory.jsonl, cases.jsonl, bad_rows.jsonl and stderr.log, but no weights
and no store. The folder appears complete or not at all; the source folders are left unchanged.")]
pub struct Merge {
    /// Folders given to `run` as --out
    #[arg(required = true, num_args = 2.., value_name = "DIR")]
    folders: Vec<PathBuf>,
    /// Folder for the joined results, which must not exist yet
    #[arg(long)]
    out: PathBuf,
}

impl Merge {
    /// Joins the folders.
    pub fn run(self) -> Result<()> {
        let merged = merge(&self.folders, &self.out)?;
        for warning in &merged.warnings {
            tell(&format!("warning: {warning}"));
        }
        let unfinished = match merged.unfinished {
            0 => String::new(),
            count => format!(", and {count} unfinished"),
        };
        say(&format!("{}: {} trials{unfinished}\n", self.out.display(), merged.finished));
        Ok(())
    }
}
