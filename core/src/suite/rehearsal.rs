//! Finds trials that would fail before anything is trained, for `gauntlet run --dry-run`: it opens
//! every file that a suite names, asks its attacks for their edits, and checks its schedule against
//! the number of rows. It fills no canvas cache and trains no model.

use super::Suite;
use crate::attack::{PoisonCtx, contents};
use crate::corpus::Corpus;
use crate::corpus::Shape;
use crate::data::tokenize::Tokenizer;
use crate::data::{Dataset, Split};
use crate::defense::{Needs, PlanContext};
use crate::evaluator::Downstream;
use crate::model::{Checkpoint, Clip};
use crate::poison::bundle::Bundle;
use crate::poison::{Arena, Poison, Poisoned};
use crate::progress::Silent;
use crate::registry::origin;
use crate::run::RunContext;
use crate::trial::Trial;
use crate::{Attack, Defense, Error, Goal, Progress, Result};
use std::cell::Cell;
use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use tch::{Device, Kind, Tensor};

/// Largest number of pairs for which defenses are asked for their plan of the first epoch; some
/// begin by embedding a share of the captions.
const MOST_PLANNED: usize = 20_000;

/// Largest number of pairs that a rehearsal counts; if `plan.rows` is larger, counting would take
/// too long.
const MOST_ROWS: u64 = 2_000_000;

/// Findings of a rehearsal.
#[derive(Default)]
pub struct Rehearsal {
    /// Each problem, with the trials (or parts of the suite) that would fail.
    problems: Vec<(String, Vec<String>)>,
    /// Checks that were left out, and other remarks.
    pub notes: Vec<String>,
}

impl Rehearsal {
    /// One line per problem.
    pub fn problems(&self) -> impl Iterator<Item = String> + '_ {
        self.problems.iter().map(|(what, places)| match &places[..] {
            [] => what.clone(),
            [one] => format!("{what} ({one})"),
            [first, .., last] => format!("{what} ({} times, from {first} to {last})", places.len()),
        })
    }

    /// Returns the value of a result; records an error as a problem.
    fn keep<T>(&mut self, answer: Result<T>, place: &str) -> Option<T> {
        answer.map_err(|error| self.add(error.chain(), place)).ok()
    }

    fn add(&mut self, what: String, place: &str) {
        let known = self.problems.iter_mut().find(|(known, _)| *known == what);
        let places = match known {
            Some((_, places)) => places,
            None => {
                self.problems.push((what, Vec::new()));
                &mut self.problems.last_mut().expect("it was just pushed").1
            }
        };
        if !place.is_empty() && !places.iter().any(|other| other == place) {
            places.push(place.to_string());
        }
    }
}

impl Suite {
    /// Rehearses these trials of the suite. Writes an index of the data to the folder `scratch` and
    /// leaves it there.
    pub fn rehearse(&self, trials: &[&Trial], scratch: &Path, progress: &dyn Progress) -> Result<Rehearsal> {
        let mut found = Rehearsal::default();
        for (label, config) in &self.downstream {
            let one = BTreeMap::from([(label.clone(), config.clone())]);
            found.keep(Downstream::open_all(&one), "");
        }
        let Some(first) = trials.first() else { return Ok(found) };
        if !first.recipe.init.is_empty() {
            let notes = load(first, Path::new(&first.recipe.init)).map_err(|error| error.during("key `recipe.init`"));
            let notes = found.keep(notes, "");
            found.notes.extend(notes.unwrap_or_default());
        }
        for trial in trials.iter().filter(|trial| !trial.weights.as_os_str().is_empty()) {
            let place = format!("defense `{}`, key `weights`", trial.defense.label);
            let notes = trial.recorded_digest().and_then(|_| load(trial, &trial.weights));
            let notes = found.keep(notes.map_err(|error| error.during(place)), &trial.name());
            found.notes.extend(notes.unwrap_or_default());
        }
        for attack in &first.arena.attacks {
            if origin::used(std::slice::from_ref(attack)).is_empty() {
                let files = attack.build::<dyn Attack>().and_then(|attack| contents(&attack.reads()?));
                found.keep(files.map_err(|error| error.during(format!("attack `{}`", attack.label))), "");
            }
        }
        if self.plan.rows > MOST_ROWS {
            let rows = self.plan.rows;
            found.notes.push(format!(
                "{rows} pairs are too many to count before a run: whether attacks find their rows was not checked"
            ));
            found.keep(first.arena.data.open().map_err(|error| error.during("table `data`")), "");
            return Ok(found);
        }
        // No cache: an image is decoded only if an attack asks whether it can be.
        let uncached = Arena { cache_gb: 0.0, ..first.arena.clone() };
        let data = uncached.open_data(scratch, progress).map_err(|error| error.during("table `data`"));
        let Some(data) = found.keep(data, "") else {
            // Report errors of the validation source as well.
            if let Some(validation) = first.arena.data.validation() {
                found.keep(validation.open().map_err(|error| error.during("table `data.validation`")), "");
            }
            return Ok(found);
        };
        for &seed in &self.seeds {
            let place = format!("seed {seed}");
            // The search for copies of held-out images reads many images.
            let look = data.len() as usize <= MOST_PLANNED;
            let split = if look { data.split(self.heldout, seed) } else { data.split_unseen(self.heldout, seed) };
            let Some(split) = found.keep(split, &place) else { continue };
            let of_seed: Vec<&Trial> = trials.iter().copied().filter(|trial| trial.arena.seed == seed).collect();
            found.poison(&of_seed, &data, &split, scratch);
        }
        Ok(found)
    }
}

impl Rehearsal {
    /// The goals and edits of one seed, and the schedule of each trial.
    fn poison(&mut self, trials: &[&Trial], data: &Dataset, split: &Split, scratch: &Path) {
        let Some(first) = trials.first() else { return };
        let (place, untouched) = (format!("seed {}", first.arena.seed), HashSet::new());
        let ctx = PoisonCtx { data, split, seed: first.arena.seed, taken: &untouched };
        let mut goals: BTreeMap<&str, (Box<dyn Attack>, Goal)> = BTreeMap::new();
        for config in &first.arena.attacks {
            if !origin::used(std::slice::from_ref(config)).is_empty() {
                // Code of a loaded library may abort the process, so it runs only in a trial's own
                // process.
                let note = format!("attack `{}` comes from a library, so its edits were not checked", config.label);
                self.notes.extend((!self.notes.contains(&note)).then_some(note));
                continue;
            }
            let wanted = config.build::<dyn Attack>().and_then(|attack| {
                let goal = attack.goal(&ctx)?;
                goal.check_measurable(data, split)?;
                Ok((attack, goal))
            });
            let wanted = wanted.map_err(|error| error.during(format!("attack `{}`", config.label)));
            if let Some(wanted) = self.keep(wanted, &place) {
                goals.insert(&config.label, wanted);
            }
        }
        let mut made: BTreeMap<&str, Option<Vec<Poisoned>>> = BTreeMap::new();
        for trial in trials {
            let edits = made.entry(&trial.arena.name).or_insert_with(|| self.edits(trial, &goals, (data, split)));
            let Some(edits) = edits else { continue };
            let rows = split.train.len() + edits.iter().filter(|poisoned| poisoned.edit.replaces.is_none()).count();
            let checked = schedule(trial, rows);
            let fits = self.keep(checked, &trial.name()).is_some();
            if fits && rows <= MOST_PLANNED && origin::used(std::slice::from_ref(&trial.defense)).is_empty() {
                let (planned, given_back) = first_plan(trial, data, split, std::mem::take(edits), scratch);
                *edits = given_back;
                self.keep(
                    planned.map_err(|error| error.during(format!("defense `{}`", trial.defense.label))),
                    &trial.name(),
                );
            }
        }
    }

    /// The edits of an arena's attacks; `None` if they cannot be computed.
    fn edits(
        &mut self,
        trial: &Trial,
        goals: &BTreeMap<&str, (Box<dyn Attack>, Goal)>,
        (data, split): (&Dataset, &Split),
    ) -> Option<Vec<Poisoned>> {
        let place = format!("arena {}, seed {}", trial.arena.name, trial.arena.seed);
        if let Some(folder) = self.keep(trial.bundled(), &place)? {
            return Some(self.keep(Bundle::read(&folder), &place)?.poison.edits);
        }
        let (mut taken, mut all, mut whole) = (HashSet::new(), Vec::new(), true);
        for label in &trial.arena.poisoning {
            let Some((attack, goal)) = goals.get(label.as_str()) else {
                whole = false;
                continue;
            };
            let ctx = PoisonCtx { data, split, seed: trial.arena.seed, taken: &taken };
            let edits = attack.poison(&ctx, goal).map_err(|error| error.during(format!("attack `{label}`")));
            let edits = self.keep(edits, &place);
            whole &= edits.is_some();
            let edits = edits.unwrap_or_default();
            taken.extend(edits.iter().filter_map(|edit| edit.replaces));
            all.extend(edits.into_iter().map(|edit| Poisoned { attack: label.clone(), edit }));
        }
        whole.then_some(all)
    }
}

/// Loads weights into the model of a trial.
fn load(trial: &Trial, weights: &Path) -> Result<Vec<String>> {
    Clip::new(&trial.model, 0, Device::Cpu)?.load(&Checkpoint::read(weights)?)
}

/// Refuses what the trainer would refuse before its first step, for a defense that trains on every
/// row.
fn schedule(trial: &Trial, rows: usize) -> Result<()> {
    let recipe = trial.defense.build::<dyn Defense>()?.recipe(&trial.recipe, rows)?;
    if rows < recipe.batch {
        let why = format!("is {}, but there are only {rows} training rows", recipe.batch);
        return Err(Error::invalid("recipe, key `batch`", why));
    }
    let steps = (rows / recipe.batch) as u64 * u64::from(recipe.epochs);
    if recipe.warmup_steps >= steps {
        let why = format!("is {}, but the whole training has only {steps} steps", recipe.warmup_steps);
        return Err(Error::invalid("recipe, key `warmup_steps`", why));
    }
    Ok(())
}

/// Asks the defense for its plan of the first epoch, with freshly initialised weights; a plan that
/// embeds images is not pursued. Returns the edits.
fn first_plan(
    trial: &Trial,
    data: &Dataset,
    split: &Split,
    edits: Vec<Poisoned>,
    scratch: &Path,
) -> (Result<()>, Vec<Poisoned>) {
    let poison = Poison { edits, pixels: Tensor::zeros([0], (Kind::Uint8, Device::Cpu)), digest: String::new() };
    let asked = ask(trial, data, split, &poison, scratch);
    (asked, poison.edits)
}

fn ask(trial: &Trial, data: &Dataset, split: &Split, poison: &Poison, scratch: &Path) -> Result<()> {
    let mut defense = trial.defense.build::<dyn Defense>()?;
    if defense.needs() != Needs::default() {
        return Ok(()); // it needs a model that does not exist yet
    }
    let recipe = defense.recipe(&trial.recipe, split.train.len())?;
    let tokenizer = Tokenizer::new(&data.vocabulary, trial.model.text_cfg.vocab_size)?;
    let model = Clip::new(&trial.model, 0, Device::Cpu)?;
    let shape = Shape { batch: recipe.batch, context_length: trial.model.text_cfg.context_length };
    let corpus = Corpus::new(data, split, poison, &tokenizer, shape, trial.arena.seed, Device::Cpu);
    // `embed` returns `Error::Interrupted` once `stop` is set.
    let stopped = AtomicBool::new(true);
    let machine = RunContext::new(&Silent, &stopped);
    let ctx = PlanContext {
        model: &model,
        undefended: None,
        needs: defense.needs(),
        corpus: &corpus,
        folder: scratch,
        seed: trial.arena.seed,
        epochs: recipe.epochs,
        precision: recipe.precision,
        inference_samples: &Cell::new(0),
        machine: &machine,
    };
    match defense.plan(1, &ctx) {
        Ok(_) | Err(Error::Interrupted) => Ok(()),
        Err(error) => Err(error),
    }
}
