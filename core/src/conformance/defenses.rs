//! Checks of defenses: a few training steps give bit-identical results however often they are run
//! or interrupted.

use super::standin;
use super::{Held, must};
use crate::registry::Configured;
use crate::registry::Plugin;
use crate::run::RunContext;
use crate::trial::{Plugins, Trial};
use crate::{Defense, Error, Progress, Result, progress::Silent};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// Enough epochs for a defense that begins with five epochs of another kind.
const EPOCHS: u32 = 7;
/// More steps than the trial has.
const MANY: usize = 100;

pub(super) fn check(plugin: &Plugin<dyn Defense>, config: &Configured) -> Held {
    let build = || plugin.build(&serde_json::to_string(&config.config).expect("plain data"));
    let home = tempfile::tempdir().expect("a temporary folder");
    let mut trial = Trial { defense: config.clone(), ..standin::trial() };
    trial.recipe.epochs = EPOCHS;
    trial.recipe.checkpoint_steps = 1; // a report after each step
    let weights = |run: &str, stop| train(&trial, build, home.path(), run, stop).map_err(|error| error.chain());
    let once = weights("once", false)?;
    must(once == weights("again", false)?, "the same trial, other weights; all draws come from `bench.rng`")?;
    let why = "interrupted and resumed, it ends with other weights; `state` and `restore` leave something out";
    must(once == weights("interrupted", true)?, why)
}

/// Requests a stop after each step, once.
struct StopAfterStep<'a>(&'a AtomicBool);

impl Progress for StopAfterStep<'_> {
    fn report(&self, stage: &str, _done: u64, _total: u64, _note: &str) {
        self.0.store(stage == "train", Ordering::Relaxed);
    }
}

/// The weights of a trial, interrupted after every step if asked.
fn train(
    trial: &Trial,
    build: impl Fn() -> Result<Box<dyn Defense>>,
    home: &Path,
    run: &str,
    interrupted: bool,
) -> Result<Vec<u8>> {
    let stop = AtomicBool::new(false);
    let progress: &dyn Progress = if interrupted { &StopAfterStep(&stop) } else { &Silent };
    let machine = RunContext::new(progress, &stop);
    let (folder, store) = (home.join(run), home.join("store"));
    for _ in 0..MANY {
        let cast = Plugins { attacks: standin::attacks(), defense: build()?, evaluators: Vec::new() };
        match trial.run_with(cast, &folder, &store, &machine) {
            Err(Error::Interrupted) => stop.store(false, Ordering::Relaxed),
            Err(error) => return Err(error),
            Ok(_) => {
                let weights = folder.join("model.safetensors");
                return std::fs::read(&weights).map_err(Error::io(&weights));
            }
        }
    }
    unreachable!("it stops after a step each time, and has fewer than {MANY}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Phase, PlanContext};

    struct Looks;

    impl Defense for Looks {
        fn plan(&mut self, _epoch: u32, ctx: &PlanContext) -> Result<Vec<Phase>> {
            ctx.embed(&ctx.numbers())?;
            Ok(vec![Phase::default()])
        }
    }

    #[test]
    fn a_look_at_the_rows_can_be_interrupted() {
        let home = tempfile::tempdir().unwrap();
        let stop = AtomicBool::new(true);
        let machine = RunContext::new(&Silent, &stop);
        let cast = Plugins { attacks: standin::attacks(), defense: Box::new(Looks), evaluators: Vec::new() };
        let outcome = standin::trial().run_with(cast, &home.path().join("trial"), &home.path().join("store"), &machine);
        assert!(matches!(outcome, Err(Error::Interrupted)));
        assert!(!home.path().join("trial/checkpoint.safetensors").exists(), "it went on to the first step");
    }
}
