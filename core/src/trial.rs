//! A trial: one data set, one arena, one defense and one seed, from the raw pairs to the scores.
//! [`Trial::run`] is the whole benchmark, top to bottom; its training step is in
//! `trial/training.rs`. Read `suite.rs` next: it turns a suite into trials.
//!
//! `trial/manifest.rs` manages its folder, `trial/written.rs` its stored form, `trial/check.rs` its
//! preconditions, `trial/lines.rs` its result lines.

mod check;
mod lines;
mod manifest;
mod tier;
mod training;
mod written;

pub(crate) use check::check_ranges;
pub use check::{TRAINED_ON, hash_of, parse_device};
pub use lines::cpu_seconds;
pub use tier::Tier;

use crate::attack::PrepareContext;
use crate::corpus::{Corpus, Shape};
use crate::data::Dataset;
use crate::data::tokenize::Tokenizer;
use crate::defense::Defense;
use crate::evaluator::encoder::Seen;
use crate::evaluator::{Downstream, DownstreamConfig, Encoder, EvalContext, Evaluator, Predictions};
use crate::model::{Checkpoint, Clip, ModelConfig};
use crate::poison::{Arena, PreparedData, bundle};
use crate::recipe::Recipe;
use crate::registry::{Configured, Origin};
use crate::results::{self, Cost, DataLine, LibraryLine, Line, SetLine};
use crate::run::RunContext;
use crate::train::Trained;
use crate::train::trajectory::Recorder;
use crate::{Attack, Error, Result, draw};
use check::is_empty;
use manifest::SCORES;
use serde::{Deserialize, Serialize};
use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;
use tch::Device;
use training::Job;
use written::Written;

/// A fully resolved trial: running it again gives the same results. It is stored as `trial.json`
/// next to them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub struct Trial {
    /// The inputs of its poison: suite, data, seed, attacks. All defenses share them.
    pub arena: Arena,
    /// `cpu`, `cuda` or `cuda:N`.
    pub device: String,
    /// CPU threads of tensor operations; they change the last bits of the result.
    pub threads: i32,
    /// The tier of the suite.
    pub tier: Option<Tier>,
    /// The model.
    pub model: ModelConfig,
    /// How it is trained.
    pub recipe: Recipe,
    /// The defense.
    pub defense: Configured,
    /// The last epoch with poison. After it the suite leaves out every edited row, by the ground
    /// truth, which no defense sees. 0: an oracle.
    pub clean_after: Option<u32>,
    /// The evaluators.
    pub evaluators: Vec<Configured>,
    /// Downstream sets to measure on, by label.
    pub downstream: BTreeMap<String, DownstreamConfig>,
    /// The libraries that its plugins, including the arena's, were loaded from. To run the trial
    /// again, load the same ones.
    pub libraries: Vec<Origin>,
    /// The bundle to read its poison from; empty if the poison is made.
    pub bundle: PathBuf,
    /// Weights to measure that were trained elsewhere on this trial's poison; empty if the model is
    /// trained here.
    pub weights: PathBuf,
    /// Hash of the file `weights`: other weights make another trial.
    pub weights_blake3: String,
}

/// The plugins of a trial, built.
pub(crate) struct Plugins {
    /// One for each of the trial's attacks.
    pub attacks: Vec<Box<dyn Attack>>,
    /// The defense.
    pub defense: Box<dyn Defense>,
    /// One for each of the trial's evaluators.
    pub evaluators: Vec<Box<dyn Evaluator>>,
}

impl Trial {
    /// Arena, defense and seed: unique in a suite, and the path of the trial's folder within it.
    pub fn name(&self) -> String {
        format!("{}/{}/seed-{}", self.arena.name, self.defense.label, self.arena.seed)
    }

    /// Runs the trial in `folder`, or resumes it if it was interrupted: data, attack, defense and
    /// training, evaluation. A finished trial is not run again. `store` holds the files that trials
    /// share. Returns the result lines, which are also in `folder/scores.jsonl`.
    pub fn run(&self, folder: &Path, store: &Path, machine: &RunContext) -> Result<Vec<Line>> {
        let elsewhere = (!is_empty(&self.weights)).then(|| Checkpoint::read(&self.weights)).transpose()?;
        self.execute(self.build_plugins()?, folder, store, machine, elsewhere.as_ref())
    }

    /// Like [`run`](Trial::run), but measures the given weights and trains nothing.
    pub fn measure(
        &self,
        weights: &Checkpoint,
        folder: &Path,
        store: &Path,
        machine: &RunContext,
    ) -> Result<Vec<Line>> {
        self.execute(self.build_plugins()?, folder, store, machine, Some(weights))
    }

    /// Like [`run`](Trial::run), but with these plugins instead of the registry's.
    pub(crate) fn run_with(
        &self,
        plugins: Plugins,
        folder: &Path,
        store: &Path,
        machine: &RunContext,
    ) -> Result<Vec<Line>> {
        self.execute(plugins, folder, store, machine, None)
    }

    /// Runs every step. Given weights are measured instead of trained.
    fn execute(
        &self,
        plugins: Plugins,
        folder: &Path,
        store: &Path,
        machine: &RunContext,
        given: Option<&Checkpoint>,
    ) -> Result<Vec<Line>> {
        let manifest = self.check_or_write_manifest(folder)?;
        if given.is_none() && self.has_finished(folder) {
            self.tidy(folder)?;
            return results::read_lines(&folder.join(SCORES));
        }
        let Plugins { attacks, mut defense, evaluators } = plugins;
        let device = self.set_up()?;
        let downstream = Downstream::open_all(&self.downstream)?;

        // Data and attack.
        let clock = Instant::now();
        let prepared = self.prepare_with(attacks, store, machine)?;
        let PreparedData { data, split, poison, .. } = &prepared;
        self.check_trained_on(poison)?;
        self.check_agreed(poison, store, machine)?;
        self.check_same_images(data, store, machine)?;
        let tokenizer = Tokenizer::new(&data.vocabulary, self.model.text_cfg.vocab_size)?;
        let shape = Shape { batch: self.recipe.batch, context_length: self.model.text_cfg.context_length };
        let corpus = Corpus::new(data, split, poison, &tokenizer, shape, self.arena.seed, device);
        let prepare_seconds = clock.elapsed().as_secs_f64();

        // Defense and training.
        let model = Clip::new(&self.model, draw::hash(self.arena.seed, "model", &[]), device)?;
        let trained = match given {
            Some(weights) => load_given(&model, weights, machine)?,
            None => {
                let probe = evaluators.iter().find_map(|evaluator| evaluator.probe());
                let recorder = probe.map(|probe| Recorder::new(probe, &corpus, poison, &model, folder));
                let identity = &self.identity(&manifest, data, poison)?;
                let (corpus, data, poison) = (&corpus, &data.key, &poison.digest);
                let job = Job { corpus, data, poison, folder, store, identity, machine };
                self.train(&job, &model, defense.as_mut(), recorder)?
            }
        };

        // Evaluation.
        let clock = Instant::now();
        let encoder = Encoder {
            model: &model,
            tokenizer: &tokenizer,
            device,
            seed: self.arena.seed,
            store,
            progress: machine.progress,
            seen: Seen::default(),
        };
        let ctx = EvalContext {
            model: &model,
            data,
            split,
            attacks: &prepared.attacks,
            poison,
            corpus: &corpus,
            defense: defense.as_ref(),
            matches: &trained.matches,
            trained_rows: trained.rows,
            seed: self.arena.seed,
            downstream: &downstream,
            encoder,
            folder,
            test_rows: OnceCell::new(),
            clean: OnceCell::new(),
            cases: RefCell::default(),
        };
        let mut lines = self.evaluate(&ctx, &evaluators, device)?;
        Predictions::write(folder, &ctx.cases.borrow())?;

        // Lines for reports. `scores.jsonl` marks the trial as finished, so it is written
        // last; only `tidy` follows.
        lines.push(Line::Data(DataLine::new(self, data, split.leaked.len(), folder)?));
        lines.extend(downstream.iter().map(|set| Line::Set(SetLine::new(self, set))));
        lines.extend(self.libraries.iter().map(|library| Line::Library(LibraryLine::new(self, library))));
        let evaluate_seconds = clock.elapsed().as_secs_f64();
        lines.push(Line::Cost(Cost::measured(self, prepare_seconds, &trained, evaluate_seconds, device)?));
        self.write_scores(folder, &lines)?;
        self.tidy(folder)?;
        Ok(lines)
    }

    /// Its plugins, built from the registry.
    pub(crate) fn build_plugins(&self) -> Result<Plugins> {
        self.check_libraries()?;
        let evaluators = self.evaluators.iter().map(Configured::build::<dyn Evaluator>).collect::<Result<_>>()?;
        Ok(Plugins { attacks: self.build_attacks()?, defense: self.defense.build::<dyn Defense>()?, evaluators })
    }

    fn build_attacks(&self) -> Result<Vec<Box<dyn Attack>>> {
        self.arena.attacks.iter().map(Configured::build::<dyn Attack>).collect()
    }

    /// Configures libtorch for this trial.
    fn set_up(&self) -> Result<Device> {
        tch::set_num_threads(self.threads);
        // By default libtorch would compute convolutions on CUDA in TF32.
        gauntlet_torch::set_tf32(false)?;
        self.device()
    }

    /// The rows and canvases of this trial, made if the store lacks them. Runs no plugin.
    pub fn open_data(&self, store: &Path, machine: &RunContext) -> Result<Dataset> {
        std::fs::create_dir_all(store).map_err(Error::io(store))?;
        self.arena.open_data(store, machine.progress)
    }

    /// The canvas cache and the poison of this trial, made if the store lacks them; with `bundle`,
    /// the poison is read from the bundle.
    pub fn prepare(&self, store: &Path, machine: &RunContext) -> Result<PreparedData> {
        let prepared = self.prepare_with(self.build_attacks()?, store, machine)?;
        self.check_agreed(&prepared.poison, store, machine)?;
        Ok(prepared)
    }

    fn prepare_with(&self, attacks: Vec<Box<dyn Attack>>, store: &Path, machine: &RunContext) -> Result<PreparedData> {
        std::fs::create_dir_all(store).map_err(Error::io(store))?;
        let context = PrepareContext { store, device: self.device()?, progress: machine.progress };
        self.arena.prepare_with(attacks, self.bundled()?.as_deref(), &context)
    }

    /// The bundle's folder for its poison; `None` if the poison is made, or nothing is poisoned.
    ///
    /// # Errors
    /// If the bundle has no poison for this arena and seed.
    pub fn bundled(&self) -> Result<Option<PathBuf>> {
        if is_empty(&self.bundle) || self.arena.poisoning.is_empty() {
            return Ok(None);
        }
        let folder = self.bundle.join(&self.arena.name).join(format!("seed-{}", self.arena.seed));
        if folder.join("poison.json").is_file() {
            return Ok(Some(folder));
        }
        let there = bundle::find(&self.bundle).map_err(|error| error.during("key `bundle`"))?;
        let there: Vec<String> = there.iter().map(|folder| folder.display().to_string()).collect();
        let why = format!(
            "there is no {}, only {}; `gauntlet poison make` makes it, or leave the key out",
            folder.display(),
            there.join(", ")
        );
        Err(Error::invalid("key `bundle`", why))
    }

    fn evaluate(&self, ctx: &EvalContext, evaluators: &[Box<dyn Evaluator>], device: Device) -> Result<Vec<Line>> {
        let mut lines = Vec::new();
        let device = gauntlet_torch::device_name(device)?;
        for (config, evaluator) in self.evaluators.iter().zip(evaluators) {
            let definitions = evaluator.definitions();
            let scores = evaluator.evaluate(ctx);
            for score in scores.map_err(|error| error.during(format!("evaluator `{}`", config.label)))? {
                let definition = definitions.iter().find(|definition| definition.score == score.score);
                let definition = definition.expect("the guard lets no other score pass");
                lines.push(Line::score(self, &config.label, score, definition, ctx, &device));
            }
        }
        Ok(lines)
    }

    fn device(&self) -> Result<Device> {
        parse_device(&self.device)
    }
}

/// Loads weights that were trained elsewhere, instead of training.
fn load_given(model: &Clip, weights: &Checkpoint, machine: &RunContext) -> Result<Trained> {
    for note in model.load(weights)? {
        machine.progress.tell(&format!("note: {note}"));
    }
    // Scores that compare similarities would rate a model of NaNs as perfect.
    match model.weights.not_finite()? {
        Some(name) => Err(Error::NotFinite(format!("`{name}` of {} is not finite", weights.path().display()))),
        None => Ok(Trained::default()),
    }
}
