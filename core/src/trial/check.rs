//! Preconditions of a trial: its device and its files exist, and its libraries are those that it
//! was resolved with.

use super::Trial;
use crate::data::Dataset;
use crate::data::files::json;
use crate::data::regular;
use crate::data::store::agree;
use crate::poison::Poison;
use crate::recipe::Recipe;
use crate::registry::{Configured, Origin, origin};
use crate::run::RunContext;
use crate::{Error, Result, build};
use std::collections::BTreeMap;
use std::path::Path;
use tch::Device;

/// File of an export that holds the digest of its poison. It must be next to weights that were
/// trained on that poison.
pub const TRAINED_ON: &str = "poison_digest.txt";

impl Trial {
    /// Checks that need no data: the device and the weights to start from exist, and no score is
    /// measured twice.
    pub fn check(&self) -> Result<()> {
        self.device()?;
        let mut labels = BTreeMap::new();
        for Configured { label, plugin, .. } in &self.evaluators {
            if let Some(other) = labels.insert(plugin, label) {
                let why = format!(
                    "is `{plugin}`, as `{other}` is; they would overwrite each other's files and columns; name each plugin once"
                );
                return Err(Error::invalid(format!("evaluator `{label}`"), why));
            }
        }
        let init = Path::new(&self.recipe.init);
        if !self.recipe.init.is_empty() {
            let looked = regular::look(init).map_err(Error::io(init));
            looked.map_err(|error| error.during("key `recipe.init`"))?;
        }
        Ok(())
    }

    /// Checks the ranges of its numbers, as a suite's are checked: a `trial.json` may be written by
    /// hand.
    pub(super) fn check_numbers(&self) -> Result<()> {
        let Trial { arena, threads, recipe, clean_after, .. } = self;
        check_ranges(*threads, arena.heldout, arena.cache_gb, recipe, *clean_after)?;
        self.model.check().map_err(|why| Error::invalid("table `model`", why))
    }

    /// Checks that the libraries it was made with are loaded, and that no other library provides
    /// its plugins.
    pub(super) fn check_libraries(&self) -> Result<()> {
        self.libraries.iter().try_for_each(Origin::check)?;
        let used = origin::used(self.arena.attacks.iter().chain([&self.defense]).chain(&self.evaluators));
        let stray = used.iter().find(|library| !self.libraries.contains(library));
        stray.map_or(Ok(()), |library| {
            Err(Error::invalid(format!("plugin library {}", library.file), "is used, but the trial does not list it"))
        })
    }

    /// Checks that weights that were trained elsewhere were trained on this poison, by the file
    /// that `gauntlet poison export` writes.
    pub(super) fn check_trained_on(&self, poison: &Poison) -> Result<()> {
        if is_empty(&self.weights) {
            return Ok(());
        }
        if hash_of(&self.weights)? != self.weights_blake3 {
            let why = "is not the file that this trial was resolved with; resolve the suite again";
            return Err(Error::invalid(self.weights.display().to_string(), why));
        }
        let trained_on = self.recorded_digest()?;
        if trained_on != poison.digest {
            let why = format!(
                "says that the weights were trained on poison {trained_on}, but this trial has {}",
                poison.digest
            );
            return Err(Error::invalid(self.weights.with_file_name(TRAINED_ON).display().to_string(), why));
        }
        Ok(())
    }

    /// Checks that this machine, which may have a store of its own, made the poison that the other
    /// machines of the run made.
    pub(super) fn check_agreed(&self, poison: &Poison, store: &Path, machine: &RunContext) -> Result<()> {
        let Some(shared) = machine.shared else { return Ok(()) };
        let key = build::stored("poison", 0)?.with("arena", json(&self.arena)).with("bundle", self.bundle.display());
        let Some(theirs) = agree(shared, &format!("poison-{}", &key.hex()[..16]), &poison.digest)? else {
            return Ok(());
        };
        let why = format!(
            "holds poison {} for arena {}, seed {}, where another machine of this run has {theirs}: see that both read \
             the same data, and delete the store that is wrong",
            poison.digest, self.arena.name, self.arena.seed
        );
        Err(Error::invalid(store.display(), why))
    }

    /// Checks that the images are those of the run's other trials. The digest of the poison does
    /// not cover clean pixels, so a table could not tell.
    pub(super) fn check_same_images(&self, data: &Dataset, store: &Path, machine: &RunContext) -> Result<()> {
        let shared = machine.shared.unwrap_or(store);
        // Files that each machine has for itself may differ in their times.
        if !data.canvas.is_cached() && shared != store {
            return Ok(());
        }
        let key = blake3::hash(format!("{} {}", json(&self.arena.data), data.canvas.is_cached()).as_bytes());
        let name = format!("images-{}-{}", self.arena.size, &key.to_hex()[..16]);
        let Some(_) = agree(shared, &name, &data.identity)? else { return Ok(()) };
        let why = "its images are not those of this run's earlier trials, whose captions are the same: results would \
                   be mixed. Put the images back, or give another folder (--out or --store)";
        Err(Error::invalid(format!("data {}", self.arena.data.in_words()), why))
    }

    /// The digest recorded next to weights that were trained elsewhere.
    pub(crate) fn recorded_digest(&self) -> Result<String> {
        let path = self.weights.with_file_name(TRAINED_ON);
        let bytes = regular::read(&path, 4096).map_err(|error| {
            let cure = "copy the file of that name from the export that the model was trained on";
            Error::io(&path)(error).during(format!("{TRAINED_ON} must be beside the weights: {cure}"))
        })?;
        Ok(String::from_utf8_lossy(&bytes).trim().to_string())
    }

    /// Hashes the contents of the weights that the recipe starts from; nothing if weights are drawn
    /// from the seed.
    pub(super) fn hash_first_weights(&self, hasher: &mut blake3::Hasher) -> Result<()> {
        let init = Path::new(&self.recipe.init);
        if !self.recipe.init.is_empty() {
            let file = regular::open(init).map_err(Error::io(init))?;
            hasher.update_reader(file).map_err(Error::io(init))?;
        }
        Ok(())
    }
}

/// Most CPU threads of one trial; OpenMP ends the process if the system refuses so many.
const MOST_THREADS: i32 = 1024;

/// Checks the ranges of the numbers that suites and trials have in common. In a trial, a
/// `clean_after` of 0 is an oracle.
///
/// # Errors
/// Names the key, and says what it must be.
pub(crate) fn check_ranges(
    threads: i32,
    heldout: f64,
    cache_gb: f64,
    recipe: &Recipe,
    clean_after: Option<u32>,
) -> Result<()> {
    let wrong = |key: &str, why: &str| Err(Error::invalid(format!("key `{key}`"), why));
    match () {
        () if !(1..=MOST_THREADS).contains(&threads) => {
            wrong("threads", &format!("must be at least 1, and at most {MOST_THREADS}"))
        }
        () if !(0.001..=0.9).contains(&heldout) => wrong("heldout", "must be from 0.001 to 0.9"),
        () if cache_gb.is_nan() || cache_gb < 0.0 => wrong("cache_gb", "must be 0 or more"),
        () if clean_after.is_some_and(|last| last >= recipe.epochs) => {
            wrong("clean_after", "must be at least 1 and less than `recipe.epochs`, so that clean epochs follow")
        }
        () => recipe.check(),
    }
}

/// BLAKE3 of a file.
pub fn hash_of(path: &Path) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    let file = regular::open(path).map_err(Error::io(path))?;
    hasher.update_reader(file).map_err(Error::io(path))?;
    Ok(hasher.finalize().to_hex().to_string())
}

/// Parses `cpu`, `cuda` or `cuda:N`.
///
/// # Errors
/// If the name is none of these, or the device does not exist.
pub fn parse_device(name: &str) -> Result<Device> {
    let wrong = |why: &str| Error::invalid(format!("device `{name}`"), why);
    match name.split_once(':').unwrap_or((name, "0")) {
        ("cpu", _) => Ok(Device::Cpu),
        ("cuda", number) => {
            let number: usize =
                number.parse().map_err(|_| wrong("the colon must be followed by the number of a CUDA device"))?;
            let count = tch::Cuda::device_count() as usize;
            let there = (number < count).then_some(Device::Cuda(number));
            there.ok_or_else(|| wrong("there is no such device; see `gauntlet doctor`"))
        }
        _ => Err(wrong("must be `auto`, `cpu`, `cuda` or `cuda:N`")),
    }
}

pub(super) fn is_empty(path: &Path) -> bool {
    path.as_os_str().is_empty()
}
