//! What a defense does: a few steps of training, which come out the same bit for bit however often they are run or interrupted.

use super::standin;
use super::{Held, must};
use crate::plugin::Plugin;
use crate::train::Machine;
use crate::trial::{Cast, Configured, Trial};
use crate::{Defense, Error, Result, progress::Silent};
use std::path::Path;
use std::sync::atomic::AtomicBool;

/// Enough for a defense that begins with five epochs of something else.
const EPOCHS: u32 = 7;
/// More steps than the trial has.
const MANY: usize = 100;

pub(super) fn check(plugin: &Plugin<dyn Defense>, config: &Configured) -> Held {
    let build = || plugin.build(&serde_json::to_string(&config.config).expect("plain data"));
    let home = tempfile::tempdir().expect("a temporary folder");
    let mut trial = Trial { defense: config.clone(), ..standin::trial() };
    trial.recipe.epochs = EPOCHS;
    let weights = |run: &str, stop| train(&trial, build, home.path(), run, stop).map_err(|error| error.chain());
    let once = weights("once", false)?;
    must(once == weights("again", false)?, "the same trial, other weights; all draws come from `bench.rng`")?;
    let why = "interrupted and resumed it ends with other weights; `state` and `restore` leave something out";
    must(once == weights("interrupted", true)?, why)
}

/// The weights of a trial that is interrupted after every step, if at all.
fn train(
    trial: &Trial,
    build: impl Fn() -> Result<Box<dyn Defense>>,
    home: &Path,
    run: &str,
    interrupted: bool,
) -> Result<Vec<u8>> {
    let stop = AtomicBool::new(interrupted);
    let machine = Machine { workers: 1, progress: &Silent, stop: &stop };
    let (folder, store) = (home.join(run), home.join("store"));
    for _ in 0..MANY {
        let cast = Cast { attacks: standin::attacks(), defense: build()?, evaluators: Vec::new() };
        match trial.run_with(cast, &folder, &store, &machine) {
            Err(Error::Interrupted) => {}
            Err(error) => return Err(error),
            Ok(_) => {
                let weights = folder.join("model.safetensors");
                return std::fs::read(&weights).map_err(Error::io(&weights));
            }
        }
    }
    unreachable!("it stops after a step each time, and has fewer than {MANY}")
}
