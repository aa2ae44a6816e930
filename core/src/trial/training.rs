//! The training of a trial, and before it the training of the undefended model, which some defenses
//! start from or embed the data with. The undefended model is trained once for all trials of the
//! same data, recipe and seed, and kept in the store; a plain CLIP row stores its own model there.

use super::Trial;
use crate::corpus::Corpus;
use crate::data::files::{Part, check_sums, json, read_json, write_json};
use crate::data::lease::{Lease, Taking, attempt};
use crate::defense::{Defense, DefenseRole, Undefended};
use crate::model::{Checkpoint, Clip};
use crate::poison::Arena;
use crate::registry::Configured;
use crate::run::RunContext;
use crate::train::trajectory::Recorder;
use crate::train::{Spent, Trained, Trainer, checkpoint};
use crate::{Error, Progress, Result, build, draw};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

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
        shared.map_or(Ok(()), |(shared, _lease)| shared.leave(model, &trained))?;
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
        let taken = shared.take(job.machine)?;
        if let Some(lease) = taken {
            let folder = attempt::open(&shared.folder, &lease, checkpoint::FILE)?;
            if !self.recipe.init.is_empty() {
                model.load(&Checkpoint::read(Path::new(&self.recipe.init))?)?;
            }
            let mut plain = Plain;
            let trainer = Trainer::open(&self.recipe, job.corpus, &model, &mut plain, &folder, &shared.key)?;
            tracing::info!("the undefended model is trained: {}", folder.display());
            let trained = trainer.clean_after(self.clean_after).run(job.machine);
            let trained = trained.map_err(|error| match error {
                Error::Interrupted => error,
                other => other.during("the undefended model"),
            })?;
            shared.leave(&model, &trained)?;
        } else {
            tracing::info!("undefended model found: {}", shared.folder.display());
        }
        model.weights.load(&shared.model().join(WEIGHTS))?;
        // The process that stored it may have been killed before it removed the checkpoint.
        if !self.recipe.keep_checkpoint {
            checkpoint::remove(&attempt::newest(&shared.folder)?)?;
        }
        let spent = shared.spent()?.expect("it is there");
        Ok((model, spent))
    }
}

/// Part of every key. Raise it when the same model would be stored in another form.
const FORMAT: u32 = 3;

/// The file of the weights, which carries its own hash.
const WEIGHTS: &str = "model.safetensors";

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
        let mut init = blake3::Hasher::new();
        trial.hash_first_weights(&mut init)?;
        let key = key.with("clean_after", json(clean_after)).with("init", init.finalize().to_hex());
        let key = key.of(format!("the model of arena {}, seed {seed}, {}", trial.arena.name, data.in_words()));
        let folder = key.folder(job.machine.shared.unwrap_or(job.store));
        std::fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
        key.note_use(&folder)?;
        Ok(Shared { folder, key: key.hex()[..32].to_string() })
    }

    /// The right to train it, waiting for another process that does; `None` if the model exists.
    fn take(&self, machine: &RunContext) -> Result<Option<Lease>> {
        if self.spent()?.is_some() {
            return Ok(None);
        }
        let lease = match Lease::take(&self.folder)? {
            Taking::Ours(lease) => lease,
            Taking::Theirs(_) if machine.waits => Lease::wait(&self.folder, &Stoppable(machine))?,
            Taking::Theirs(holder) => {
                return Err(Error::Busy { folder: self.folder.clone(), holder: holder.to_string() });
            }
        };
        Ok(self.spent()?.is_none().then_some(lease))
    }

    /// The right to store this trial's own model as it, if it is missing and no other process
    /// trains it.
    fn ours(self) -> Result<Option<(Shared, Lease)>> {
        if self.spent()?.is_some() {
            return Ok(None);
        }
        match Lease::take(&self.folder)? {
            Taking::Ours(lease) => Ok(self.spent()?.is_none().then_some((self, lease))),
            Taking::Theirs(_) => Ok(None),
        }
    }

    /// The finished model and its cost.
    fn model(&self) -> PathBuf {
        self.folder.join("model")
    }

    /// The cost of its training, if the model exists.
    fn spent(&self) -> Result<Option<Spent>> {
        let path = self.model().join("spent.json");
        if !path.exists() {
            return Ok(None);
        }
        check_sums(&self.model())?;
        read_json(&path).map(Some)
    }

    /// Stores the model for other trials. If a process that was taken for dead stored it first,
    /// that one stays.
    fn leave(&self, model: &Clip, trained: &Trained) -> Result<()> {
        let part = Part::new(&self.model())?;
        model.save(&part.path(WEIGHTS))?;
        let spent = Spent { seconds: trained.seconds, samples: trained.samples };
        write_json(&part.path("spent.json"), &spent)?;
        part.finish_same(&[WEIGHTS])
    }
}

/// For waiting: the progress of a trial, which is also asked to stop through its flag.
struct Stoppable<'a>(&'a RunContext<'a>);

impl Progress for Stoppable<'_> {
    fn report(&self, stage: &str, done: u64, total: u64, note: &str) {
        self.0.progress.report(stage, done, total, note);
    }

    fn tell(&self, line: &str) {
        self.0.progress.tell(line);
    }

    fn stopped(&self) -> bool {
        self.0.stop.load(Ordering::Relaxed)
    }
}
