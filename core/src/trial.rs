//! A trial: one data set, one arena, one defense, one seed, from the raw pairs to the scores. [`Trial::run`] is the whole
//! benchmark, top to bottom (`trial/training.rs` is one step of it); read `suite.rs` next for how a suite becomes trials.

mod lines;
mod tier;
mod training;

pub use lines::cpu_seconds;
pub use tier::Tier;

use crate::attack::PrepareContext;
use crate::corpus::{Corpus, Shape};
use crate::data::tokenize::Tokenizer;
use crate::data::{DataConfig, Dataset};
use crate::defense::Defense;
use crate::evaluator::encoder::Seen;
use crate::evaluator::{Downstream, DownstreamConfig, Encoder, EvalContext, Evaluator, Predictions};
use crate::model::{Checkpoint, Clip, ModelConfig};
use crate::poison::{Arena, Poison, PreparedData, bundle};
use crate::recipe::Recipe;
use crate::registry::{Configured, Origin, origin};
use crate::results::{self, Cost, DataLine, LibraryLine, Line, SetLine};
use crate::run::RunContext;
use crate::train::trajectory::Recorder;
use crate::train::{Trained, checkpoint};
use crate::{Attack, Error, Result, draw};
use serde::{Deserialize, Serialize};
use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;
use tch::Device;
use training::Job;

/// What a trial measured, in its folder: written when all else is there.
const SCORES: &str = "scores.jsonl";

/// A fully resolved trial: running it again gives the same results. Written as `trial.json` beside them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    /// Name of the suite.
    pub suite: String,
    /// Name of the arena: which attacks poison the data.
    pub arena: String,
    /// Source of every draw.
    pub seed: u64,
    /// `cpu`, `cuda` or `cuda:N`.
    pub device: String,
    /// CPU threads of tensor operations; the result depends on it in its last bits.
    pub threads: i32,
    /// Where the pairs come from.
    pub data: DataConfig,
    /// The classes, where they are named apart from the data; see the suite's key.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub classes: String,
    /// The tier of the suite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<Tier>,
    /// Share that is held out.
    pub heldout: f64,
    /// Gigabytes that the canvas cache may take; pictures are decoded each time where it would take more.
    pub cache_gb: f64,
    /// The model.
    pub model: ModelConfig,
    /// How it is trained.
    pub recipe: Recipe,
    /// Every attack of the suite: their goals are measured in every arena.
    pub attacks: Vec<Configured>,
    /// Labels of the attacks that poison this arena; none in `clean`.
    pub poisoning: Vec<String>,
    /// The defense.
    pub defense: Configured,
    /// The last epoch with poison: after it the suite leaves every edited row out, by the truth that no defense sees. 0: an oracle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clean_after: Option<u32>,
    /// What is measured.
    pub evaluators: Vec<Configured>,
    /// Downstream sets that it is measured on, by label.
    pub downstream: BTreeMap<String, DownstreamConfig>,
    /// The libraries that its plugins were loaded from; whoever runs it again has to load the same ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub libraries: Vec<Origin>,
    /// The bundle that its poison is read from; empty where it is made.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub bundle: PathBuf,
    /// Weights that were trained elsewhere on this trial's poison, to be measured; empty where it is trained.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub weights: PathBuf,
    /// Hash of that file: other weights are another trial.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub weights_blake3: String,
}

/// BLAKE3 of a file.
pub fn hash_of(path: &Path) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    let file = crate::data::regular::open(path).map_err(Error::io(path))?;
    hasher.update_reader(file).map_err(Error::io(path))?;
    Ok(hasher.finalize().to_hex().to_string())
}

/// The file of an export that holds its poison's digest, and that lies beside weights that were trained on it.
pub const TRAINED_ON: &str = "poison_digest.txt";

fn is_empty(path: &Path) -> bool {
    path.as_os_str().is_empty()
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
    /// Arena, defense and seed: unique in a suite, and there the folder the trial lies in.
    pub fn name(&self) -> String {
        format!("{}/{}/seed-{}", self.arena, self.defense.label, self.seed)
    }

    /// Runs the trial in `folder`, or goes on where it was interrupted: data, attack, defense and training, evaluation. One that has finished there
    /// is not run again. `store` keeps what trials share. Returns the lines of results, which also lie in `folder/scores.jsonl`.
    pub fn run(&self, folder: &Path, store: &Path, machine: &RunContext) -> Result<Vec<Line>> {
        let elsewhere = (!is_empty(&self.weights)).then(|| Checkpoint::read(&self.weights)).transpose()?;
        self.conclude(self.cast()?, folder, store, machine, elsewhere.as_ref())
    }

    /// The same, but for the training: measures weights that are there.
    pub fn measure(
        &self,
        weights: &Checkpoint,
        folder: &Path,
        store: &Path,
        machine: &RunContext,
    ) -> Result<Vec<Line>> {
        self.conclude(self.cast()?, folder, store, machine, Some(weights))
    }

    /// Its plugins, as the registry has them.
    pub(crate) fn cast(&self) -> Result<Plugins> {
        self.check_libraries()?;
        let evaluators = self.evaluators.iter().map(Configured::build::<dyn Evaluator>).collect::<Result<_>>()?;
        Ok(Plugins { attacks: self.build_attacks()?, defense: self.defense.build::<dyn Defense>()?, evaluators })
    }

    fn build_attacks(&self) -> Result<Vec<Box<dyn Attack>>> {
        self.attacks.iter().map(Configured::build::<dyn Attack>).collect()
    }

    /// What [`run`](Trial::run) does, with these plugins in the place of those that the registry has.
    pub(crate) fn run_with(
        &self,
        cast: Plugins,
        folder: &Path,
        store: &Path,
        machine: &RunContext,
    ) -> Result<Vec<Line>> {
        self.conclude(cast, folder, store, machine, None)
    }

    fn conclude(
        &self,
        Plugins { attacks, mut defense, evaluators }: Plugins,
        folder: &Path,
        store: &Path,
        machine: &RunContext,
        given: Option<&Checkpoint>,
    ) -> Result<Vec<Line>> {
        std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
        let identity = self.claim(folder)?;
        if given.is_none() && self.has_finished(folder) {
            self.tidy(folder)?;
            return results::read_lines(&folder.join(SCORES));
        }
        tch::set_num_threads(self.threads);
        // libtorch would cut convolutions on CUDA to TF32.
        gauntlet_torch::set_tf32(false)?;
        let device = self.device()?;
        let downstream = Downstream::open_all(&self.downstream)?;

        let clock = Instant::now();
        let PreparedData { data, split, threats, poison } = self.ground(attacks, store, machine)?;
        let identity = self.identity(&identity, &poison)?;
        self.check_trained_on(&poison)?;
        let tokenizer = Tokenizer::new(&data.vocabulary, self.model.text_cfg.vocab_size)?;
        let shape = Shape { batch: self.recipe.batch, context_length: self.model.text_cfg.context_length };
        let corpus = Corpus::new(&data, &split, &poison, &tokenizer, shape, self.seed, device);
        let prepare_seconds = clock.elapsed().as_secs_f64();

        let model = Clip::new(&self.model, draw::hash(self.seed, "model", &[]), device)?;
        let trained = match given {
            Some(weights) => {
                for note in model.load(weights)? {
                    machine.progress.tell(&format!("note: {note}"));
                }
                // What compares similarities would take a model of NaNs for a perfect one.
                if let Some(name) = model.weights.not_finite()? {
                    return Err(Error::NotFinite(format!("`{name}` of {} is not finite", weights.path().display())));
                }
                Trained::default()
            }
            None => {
                let probe = evaluators.iter().find_map(|evaluator| evaluator.probe());
                let recorder = probe.map(|probe| Recorder::new(probe, &corpus, &poison, &model, folder));
                let (corpus, data, poison, identity) = (&corpus, &data.key, &poison.digest, &identity);
                let job = Job { corpus, data, poison, folder, store, identity, machine };
                self.train(&job, &model, defense.as_mut(), recorder)?
            }
        };

        let clock = Instant::now();
        let encoder = Encoder {
            model: &model,
            tokenizer: &tokenizer,
            device,
            seed: self.seed,
            store,
            progress: machine.progress,
            seen: Seen::default(),
        };
        let subject = EvalContext {
            model: &model,
            data: &data,
            split: &split,
            threats: &threats,
            poison: &poison,
            corpus: &corpus,
            defense: defense.as_ref(),
            matches: &trained.matches,
            trained_rows: trained.rows,
            seed: self.seed,
            downstream: &downstream,
            encoder,
            folder,
            test_rows: OnceCell::new(),
            clean: OnceCell::new(),
            cases: RefCell::default(),
        };
        let mut lines = self.evaluate(&subject, &evaluators, device)?;
        Predictions::write(folder, &subject.cases.borrow())?;
        lines.push(Line::Data(DataLine::new(self, &data, split.leaked.len(), folder)?));
        lines.extend(downstream.iter().map(|set| Line::Set(SetLine::new(self, set))));
        lines.extend(self.libraries.iter().map(|library| Line::Library(LibraryLine::new(self, library))));
        let evaluate_seconds = clock.elapsed().as_secs_f64();
        lines.push(Line::Cost(Cost::measured(self, prepare_seconds, &trained, evaluate_seconds, device)?));
        // It says that the trial has finished, so that it comes last; of what comes after it, nothing is needed again.
        results::write_lines(&folder.join(SCORES), &lines)?;
        self.tidy(folder)?;
        Ok(lines)
    }

    /// Whether the trial that lies in `folder` has its scores.
    pub fn has_finished(&self, folder: &Path) -> bool {
        folder.join(SCORES).exists()
    }

    /// Removes the checkpoint of a trial that has finished, unless its recipe keeps it. One that was killed just before has left it.
    pub fn tidy(&self, folder: &Path) -> Result<()> {
        if self.recipe.keep_checkpoint || !self.has_finished(folder) { Ok(()) } else { checkpoint::remove(folder) }
    }

    /// The rows and canvases of this trial, made if they are not in the store yet. Runs no plugin.
    pub fn open_data(&self, store: &Path, machine: &RunContext) -> Result<Dataset> {
        std::fs::create_dir_all(store).map_err(Error::io(store))?;
        let (size, cache_bytes) = (self.model.vision_cfg.image_size as u32, (self.cache_gb * 1e9) as u64);
        Dataset::open_among(&self.data, &self.classes, size, cache_bytes, store, machine.progress)
    }

    /// The canvas cache and the poison of this trial, made if they are not in the store yet; poison of a bundle is read from there.
    pub fn prepare(&self, store: &Path, machine: &RunContext) -> Result<PreparedData> {
        self.ground(self.build_attacks()?, store, machine)
    }

    fn ground(&self, attacks: Vec<Box<dyn Attack>>, store: &Path, machine: &RunContext) -> Result<PreparedData> {
        std::fs::create_dir_all(store).map_err(Error::io(store))?;
        let workshop = PrepareContext { store, device: self.device()?, progress: machine.progress };
        self.in_arena().prepare_with(attacks, self.bundled()?.as_deref(), &workshop)
    }

    /// What its poison is made from: the part of it that all defenses share.
    pub fn in_arena(&self) -> Arena {
        Arena {
            suite: self.suite.clone(),
            name: self.arena.clone(),
            seed: self.seed,
            data: self.data.clone(),
            classes: self.classes.clone(),
            size: self.model.vision_cfg.image_size as u32,
            heldout: self.heldout,
            cache_gb: self.cache_gb,
            attacks: self.attacks.clone(),
            poisoning: self.poisoning.clone(),
            libraries: origin::used(&self.attacks),
        }
    }

    /// The folder that its poison is read from; none where it is made, or nothing is poisoned.
    ///
    /// # Errors
    /// If the bundle has none for this arena and seed.
    pub fn bundled(&self) -> Result<Option<PathBuf>> {
        if is_empty(&self.bundle) || self.poisoning.is_empty() {
            return Ok(None);
        }
        let folder = self.bundle.join(&self.arena).join(format!("seed-{}", self.seed));
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

    fn evaluate(&self, subject: &EvalContext, evaluators: &[Box<dyn Evaluator>], device: Device) -> Result<Vec<Line>> {
        let mut lines = Vec::new();
        let device = gauntlet_torch::device_name(device)?;
        for (config, evaluator) in self.evaluators.iter().zip(evaluators) {
            let place = || format!("evaluator `{}`", config.label);
            let definitions = evaluator.definitions();
            for score in evaluator.evaluate(subject).map_err(|error| error.during(place()))? {
                let definition = definitions.iter().find(|definition| definition.score == score.score);
                let definition = definition.expect("the guard lets no other score pass");
                lines.push(Line::score(self, &config.label, score, definition, subject, &device));
            }
        }
        Ok(lines)
    }

    /// Writes `trial.json`, or checks that the one there is this trial; one that never got anywhere is replaced. Returns its hash.
    pub fn claim(&self, folder: &Path) -> Result<String> {
        let (json, path) = (self.json(), folder.join("trial.json"));
        if !Trial::began(folder) || !path.exists() {
            crate::data::files::write_atomic(&path, json.as_bytes())?;
        }
        self.check_folder(folder)?;
        Ok(blake3::hash(json.as_bytes()).to_hex().to_string())
    }

    /// Checks that a folder is this trial's, if one that got anywhere lies there; writes nothing.
    pub fn check_folder(&self, folder: &Path) -> Result<()> {
        let (json, path) = (self.json(), folder.join("trial.json"));
        if !Trial::began(folder) || !path.exists() {
            return Ok(());
        }
        let found = std::fs::read_to_string(&path).map_err(Error::io(&path))?;
        if found == json {
            return Ok(());
        }
        let differs = found.lines().zip(json.lines()).find(|(there, here)| there != here);
        let (there, here) = differs.map_or(("", ""), |(there, here)| (there.trim(), here.trim()));
        let why = format!(
            "holds another trial (there `{there}`, now `{here}`); choose another --out, or delete its folder to start it over"
        );
        Err(Error::invalid(path.display().to_string(), why))
    }

    fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("plain data")
    }

    /// Whether a trial got anywhere in a folder.
    fn began(folder: &Path) -> bool {
        [checkpoint::FILE, SCORES].iter().any(|file| folder.join(file).exists())
    }

    /// The trial and what it reads: a checkpoint goes on only where data, poison and first weights are still the same.
    fn identity(&self, trial: &str, poison: &Poison) -> Result<String> {
        let parts = [trial.as_bytes(), poison.digest.as_bytes(), &self.first_weights()?];
        Ok(blake3::hash(&parts.concat()).to_hex().to_string())
    }

    /// Weights that were trained elsewhere say on which poison, in the file that `gauntlet poison export` writes.
    fn check_trained_on(&self, poison: &Poison) -> Result<()> {
        if is_empty(&self.weights) {
            return Ok(());
        }
        if hash_of(&self.weights)? != self.weights_blake3 {
            let why = "is not the file that this trial was resolved with; resolve the suite anew";
            return Err(Error::invalid(self.weights.display().to_string(), why));
        }
        let told = self.told_digest()?;
        if told != poison.digest {
            let why =
                format!("says that the weights were trained on poison {told}, and this trial has {}", poison.digest);
            return Err(Error::invalid(self.weights.with_file_name(TRAINED_ON).display().to_string(), why));
        }
        Ok(())
    }

    /// The digest that lies beside weights that were trained elsewhere.
    pub(crate) fn told_digest(&self) -> Result<String> {
        let path = self.weights.with_file_name(TRAINED_ON);
        let bytes = crate::data::regular::read(&path, 4096).map_err(|error| {
            let cure = "copy the file of that name from the export that the model was trained on";
            Error::io(&path)(error).during(format!("{TRAINED_ON} must lie beside the weights: {cure}"))
        })?;
        Ok(String::from_utf8_lossy(&bytes).trim().to_string())
    }

    /// The file that the recipe starts from; nothing where it starts afresh.
    fn first_weights(&self) -> Result<Vec<u8>> {
        let init = Path::new(&self.recipe.init);
        if self.recipe.init.is_empty() { Ok(Vec::new()) } else { std::fs::read(init).map_err(Error::io(init)) }
    }

    /// What can be told before anything is read: the device exists, so do the weights to start from, and no score would come twice.
    pub fn check(&self) -> Result<()> {
        self.device()?;
        let mut labels = BTreeMap::new();
        for Configured { label, plugin, .. } in &self.evaluators {
            if let Some(other) = labels.insert(plugin, label) {
                let why = format!(
                    "is `{plugin}`, as `{other}` is; they would overwrite each other's files and columns, so a suite has one of a kind"
                );
                return Err(Error::invalid(format!("evaluator `{label}`"), why));
            }
        }
        let init = Path::new(&self.recipe.init);
        let missing = !self.recipe.init.is_empty() && !init.is_file();
        let why = || Error::invalid("key `recipe.init`", format!("there is no file {}", init.display()));
        if missing { Err(why()) } else { Ok(()) }
    }

    /// What it was made with is loaded, and nothing else gives its plugins their names.
    fn check_libraries(&self) -> Result<()> {
        self.libraries.iter().try_for_each(Origin::check)?;
        let used = origin::used(self.attacks.iter().chain([&self.defense]).chain(&self.evaluators));
        let stray = used.iter().find(|library| !self.libraries.contains(library));
        stray.map_or(Ok(()), |library| {
            Err(Error::invalid(format!("plugin library {}", library.file), "is used, and the trial does not say so"))
        })
    }

    fn device(&self) -> Result<Device> {
        parse_device(&self.device)
    }
}

/// The device that `cpu`, `cuda` or `cuda:N` names.
///
/// # Errors
/// If it names none, or one that is not there.
pub fn parse_device(name: &str) -> Result<Device> {
    let wrong = |why: &str| Error::invalid(format!("device `{name}`"), why);
    match name.split_once(':').unwrap_or((name, "0")) {
        ("cpu", _) => Ok(Device::Cpu),
        ("cuda", number) => {
            let number: usize = number.parse().map_err(|_| wrong("the number of a CUDA device follows the colon"))?;
            let count = tch::Cuda::device_count() as usize;
            let there = (number < count).then_some(Device::Cuda(number));
            there.ok_or_else(|| wrong("there is no such device; see `gauntlet doctor`"))
        }
        _ => Err(wrong("must be `auto`, `cpu`, `cuda` or `cuda:N`")),
    }
}
