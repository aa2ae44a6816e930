//! The training of a trial, and before it the training of the undefended model, which some defenses
//! start from or embed the data with. The undefended model is trained once for all trials of the
//! same data, recipe and seed, and kept in the store; a plain CLIP row stores its own model there.

use super::Trial;
use crate::corpus::Corpus;
use crate::data::files::{json, read_json, write_json};
use crate::defense::{Defense, DefenseRole, Undefended};
use crate::model::{Checkpoint, Clip};
use crate::poison::Arena;
use crate::recipe::Recipe;
use crate::registry::Configured;
use crate::run::RunContext;
use crate::train::trajectory::Recorder;
use crate::train::{Spent, Trained, Trainer, checkpoint};
use crate::{Error, Result, build, draw};
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Inputs and folders of a training.
pub(super) struct Job<'a> {
    pub corpus: &'a Corpus<'a>,
    /// Key of the corpus's data, pixels included.
    pub data: &'a str,
    /// Digest of the arena's poison.
    pub poison: &'a str,
    /// The trial's own folder.
    pub folder: &'a Path,
    /// Folder shared by trials.
    pub store: &'a Path,
    /// Identity that a checkpoint must carry.
    pub identity: &'a str,
    pub machine: &'a RunContext<'a>,
}

/// The undefended model's defense: the defaults of the trait.
struct Plain;

impl Defense for Plain {}

impl Trial {
    pub(super) fn train(
        &self,
        job: &Job,
        model: &Clip,
        defense: &mut dyn Defense,
        recorder: Option<Recorder>,
    ) -> Result<Trained> {
        if !self.recipe.init.is_empty() {
            model.load(&Checkpoint::read(Path::new(&self.recipe.init))?)?;
        }
        let (recipe, needs) = (defense.recipe(&self.recipe, job.corpus.len())?, defense.needs().undefended);
        let undefended = if needs == Undefended::Unused { None } else { Some(self.undefended(job)?) };
        if let (Undefended::Start, Some((undefended, _))) = (needs, &undefended) {
            model.weights.assign(&undefended.weights.state())?;
        }
        let shared = if defense.role() == DefenseRole::Undefended { Shared::open(self, job)?.ours()? } else { None };
        let corpus = job.corpus.in_batches_of(recipe.batch);
        let trainer = Trainer::open(&recipe, &corpus, model, defense, job.folder, job.identity)?;
        let reference = undefended.as_ref().map(|(undefended, _)| undefended);
        let trainer = trainer.recorded_by(recorder).beside(reference).clean_after(self.clean_after);
        let mut trained = trainer.run(job.machine).map_err(|error| self.blamed(error))?;
        model.save(&job.folder.join("model.safetensors"))?;
        // A model that another build helped to train must not be stored under this build's key.
        let shared = shared.filter(|_| trained.builds == 1);
        shared.map_or(Ok(()), |(shared, _lock)| shared.leave(model, &trained))?;
        trained.undefended = undefended.map(|(_, spent)| spent).unwrap_or_default();
        Ok(trained)
    }

    /// Adds the defense to the error of a training that diverged.
    fn blamed(&self, error: Error) -> Error {
        let Configured { label, plugin, .. } = &self.defense;
        match error {
            Error::NotFinite(_) => error.during(format!("defense `{label}`: plugin `{plugin}`")),
            other => other,
        }
    }

    /// The undefended model of the same data, recipe and seed, and the cost of its training.
    fn undefended(&self, job: &Job) -> Result<(Clip, Spent)> {
        let shared = Shared::open(self, job)?;
        let model = Clip::new(&self.model, draw::hash(self.arena.seed, "model", &[]), job.corpus.device)?;
        let _lock = shared.wait(job.machine)?;
        if let Some(spent) = shared.spent()? {
            model.weights.load(&shared.folder.join("model.safetensors"))?;
            tracing::info!("undefended model found: {}", shared.folder.display());
            // The process that stored it may have been killed before it removed the checkpoint.
            shared.tidy(&self.recipe)?;
            return Ok((model, spent));
        }
        if !self.recipe.init.is_empty() {
            model.load(&Checkpoint::read(Path::new(&self.recipe.init))?)?;
        }
        let mut plain = Plain;
        let trainer = Trainer::open(&self.recipe, job.corpus, &model, &mut plain, &shared.folder, &shared.key)?;
        tracing::info!("the undefended model is trained: {}", shared.folder.display());
        let trained = trainer.clean_after(self.clean_after).run(job.machine);
        let trained = trained.map_err(|error| match error {
            Error::Interrupted => error,
            other => other.during("the undefended model"),
        })?;
        shared.leave(&model, &trained)?;
        shared.tidy(&self.recipe)?;
        let spent = shared.spent()?.expect("it was just written");
        Ok((model, spent))
    }
}

/// Part of every key. Raise it when the same model would be stored in another form.
const FORMAT: u32 = 1;

/// Folder in the store for the undefended model of some data, recipe and seed.
struct Shared {
    folder: PathBuf,
    key: String,
}

impl Shared {
    fn open(trial: &Trial, job: &Job) -> Result<Shared> {
        let Trial { arena: Arena { seed, data, heldout, .. }, device, threads, model, recipe, clean_after, .. } = trial;
        let key = build::stored("undefended", FORMAT)?.with("poison", job.poison).with("pixels", job.data);
        let key = key.with("seed", seed).with("device", device).with("threads", threads).with("data", json(data));
        let key = key.with("heldout", heldout).with("model", json(model)).with("recipe", json(recipe));
        let key =
            key.with("clean_after", json(clean_after)).with("init", blake3::hash(&trial.first_weights()?).to_hex());
        let key = key.of(format!("the model of arena {}, seed {seed}, {}", trial.arena.name, data.in_words()));
        let folder = key.folder(job.store);
        std::fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
        key.note_use(&folder)?;
        Ok(Shared { folder, key: key.hex()[..32].to_string() })
    }

    fn lock(&self) -> Result<(File, PathBuf)> {
        let path = self.folder.join("lock");
        Ok((File::create(&path).map_err(Error::io(&path))?, path))
    }

    /// Waits until no other process trains it.
    fn wait(&self, machine: &RunContext) -> Result<File> {
        let (lock, path) = self.lock()?;
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(lock),
                Err(TryLockError::WouldBlock) if machine.stop.load(Ordering::Relaxed) => {
                    return Err(Error::Interrupted);
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(200)),
                Err(TryLockError::Error(error)) => return Err(Error::io(&path)(error)),
            }
        }
    }

    /// Returns itself and its lock if the model is missing and no other process trains it.
    fn ours(self) -> Result<Option<(Shared, File)>> {
        let (lock, path) = self.lock()?;
        match lock.try_lock() {
            Ok(()) => Ok(self.spent()?.is_none().then_some((self, lock))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(Error::io(&path)(error)),
        }
    }

    /// The cost of its training, if the model exists.
    fn spent(&self) -> Result<Option<Spent>> {
        let path = self.folder.join("spent.json");
        if !path.exists() {
            return Ok(None);
        }
        read_json(&path).map(Some)
    }

    /// Removes the checkpoint of its finished training.
    fn tidy(&self, recipe: &Recipe) -> Result<()> {
        if recipe.keep_checkpoint { Ok(()) } else { checkpoint::remove(&self.folder) }
    }

    /// Stores the model for other trials.
    fn leave(&self, model: &Clip, trained: &Trained) -> Result<()> {
        model.save(&self.folder.join("model.safetensors"))?;
        let spent = Spent { seconds: trained.seconds, samples: trained.samples };
        write_json(&self.folder.join("spent.json"), &spent)
    }
}
