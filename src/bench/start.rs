//! From the start of a process to the end of its first training step: `gauntlet trial` in a child
//! process, once with an empty store and once with the store that the first run made.

use super::{Bed, scratch};
use crate::bars::ProgressLine;
use crate::output::tell;
use crate::sweep;
use clap::Args;
use gauntlet::suite::Suite;
use gauntlet::{Error, Result, Trial};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Times the start of a trial.
#[derive(Args)]
pub struct Start {
    /// Suite whose first poisoned trial is started
    #[arg(long, default_value = "suites/smoke.toml")]
    suite: PathBuf,
}

impl Start {
    /// Seconds to the first step, without and with a store.
    pub fn measure(&self, bed: &Bed) -> Result<Value> {
        // A checkpoint after every step makes the trial report its first one.
        let settings = ["recipe.checkpoint_steps=1".into(), format!("device={}", bed.name)];
        let trials = Suite::read(&self.suite, &settings)?.trials()?;
        let poisoned = trials.into_iter().find(|trial| !trial.arena.poisoning.is_empty());
        let Some(mut trial) = poisoned else {
            return Err(Error::invalid(self.suite.display().to_string(), "has no poisoned arena"));
        };
        trial.threads = bed.threads;
        let folder = scratch()?;
        let mut seconds = Vec::new();
        for name in ["unprepared", "prepared"] {
            let step = first_step(&trial, &folder.path().join(name), &folder.path().join("store"))?;
            tell(&format!("{name}: first step after {step:.2} s"));
            seconds.push(json!({ "store": name, "first_step_seconds": step }));
        }
        Ok(json!({ "trial": trial.name(), "starts": seconds }))
    }
}

/// Seconds until a child process has read the data and finished a step.
fn first_step(trial: &Trial, out: &Path, store: &Path) -> Result<f64> {
    trial.check_or_write_manifest(out)?;
    let program = std::env::current_exe().map_err(Error::io("gauntlet"))?;
    let clock = Instant::now();
    let mut child = sweep::child::command(&program, out, store).spawn().map_err(Error::io(&program))?;
    let _stdin = sweep::child::begin(&mut child).map_err(Error::io(&program))?;
    let stdout = child.stdout.take().expect("standard output is piped");
    let mut lines = BufReader::new(stdout).lines().map_while(|line| line.ok());
    let trains = |line: String| serde_json::from_str::<ProgressLine>(&line).is_ok_and(|report| report.stage == "train");
    let trained = lines.any(trains).then(|| clock.elapsed().as_secs_f64());
    // The time is known. Kill the child: when its standard input closes it would write a checkpoint
    // first.
    child.kill().map_err(Error::io(&program))?;
    child.wait().map_err(Error::io(&program))?;
    trained.ok_or_else(|| Error::invalid(trial.name(), "ended before its first training step"))
}
