//! `gauntlet poison make`: makes the poison of a suite as a bundle, with the same code as a run.

use super::{Store, tally};
use crate::bars::Bar;
use crate::say;
use clap::Args;
use gauntlet::attack::PrepareContext;
use gauntlet::poison::bundle::Bundle;
use gauntlet::suite::Suite;
use gauntlet::trial::parse_device;
use gauntlet::{Error, Result, Trial};
use std::path::PathBuf;

/// Makes the poison of a suite as files.
#[derive(Args)]
#[command(after_help = "\
Each arena (except `clean`) and seed becomes a folder OUT/ARENA/seed-N:
  poison.json    the digest, and everything that the poison was made from
  edits.jsonl    one edit per line, in order
  pictures.tar   a webdataset shard: the canvas of each edit, its caption, its attack and class
  heldout.json   the rows of the data that are held out

  gauntlet poison make suites/demo.toml --out bundle
  gauntlet poison show bundle/poisoned/seed-10 --out sheet.png
  gauntlet run suites/demo.toml --out out/demo --set bundle=bundle      # trains on it: the same digest, the same scores

The digest has two halves, NNNN-NNNN. The first half is a hash of the data's keys, captions, labels and image sizes, of the held-out
rows, of the attacks' resolved configuration and of the edits. The second half is a hash of the poisoned rows' pixels, including
stamps. Neither includes clean pixels.

Existing poison that is the same is left unchanged; other poison in its place is an error.")]
pub struct Make {
    /// The suite, a TOML file
    suite: PathBuf,
    /// Folder of the bundle
    #[arg(long)]
    out: PathBuf,
    /// Override a key of the suite, e.g. data.path=shards or 'seeds=[0, 1]'; may be given several
    /// times
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Take the suite at one of its sizes: a table [tiers.NAME] of the suite
    #[arg(long, value_name = "NAME")]
    tier: Option<String>,
    /// Make only this arena; may be given several times
    #[arg(long, value_name = "ARENA")]
    only: Vec<String>,
    /// Folder where canvases and poison are kept for the next time, such as the `store` of a run's
    /// folder; default: none
    #[arg(long)]
    store: Option<PathBuf>,
}

impl Make {
    /// Makes the bundle, and prints a summary for each folder.
    pub fn run(self) -> Result<()> {
        let mut suite = Suite::read_tier(&self.suite, self.tier.as_deref(), &self.set)?;
        // Poison that is read from a bundle is not made.
        suite.bundle = PathBuf::new();
        let trials = self.trials(suite.trials()?)?;
        let store = Store::new(self.store.as_deref(), Some(&self.out))?;
        let bar = Bar::new();
        for trial in trials {
            let context = PrepareContext { store: &store.path, device: parse_device(&trial.device)?, progress: &bar };
            let arena = &trial.arena;
            let prepared_data = arena.prepare(&context)?;
            let folder = self.out.join(&arena.name).join(format!("seed-{}", arena.seed));
            let new = Bundle::write(&folder, arena, &prepared_data, &bar)?;
            let there = if new { "" } else { " (unchanged)" };
            let (what, digest) = (tally(&prepared_data.poison.edits), &prepared_data.poison.digest);
            bar.aside(|| say(&format!("{}: {what}; digest {digest}{there}\n", folder.display())));
        }
        Ok(())
    }

    /// One trial for each requested arena and seed that is poisoned.
    fn trials(&self, mut trials: Vec<Trial>) -> Result<Vec<Trial>> {
        trials.retain(|trial| !trial.arena.poisoning.is_empty());
        trials.dedup_by(|next, kept| (&next.arena.name, next.arena.seed) == (&kept.arena.name, kept.arena.seed));
        let mut known: Vec<String> = trials.iter().map(|trial| trial.arena.name.clone()).collect();
        known.sort();
        known.dedup();
        if let Some(name) = self.only.iter().find(|name| !known.contains(name)) {
            return Err(Error::Unknown { kind: "poisoned arena", name: name.clone(), known });
        }
        trials.retain(|trial| self.only.is_empty() || self.only.contains(&trial.arena.name));
        match trials.is_empty() {
            true => Err(Error::invalid(self.suite.display().to_string(), "poisons nothing: no arena has an attack")),
            false => Ok(trials),
        }
    }
}
