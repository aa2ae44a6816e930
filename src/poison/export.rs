//! `gauntlet poison export`: writes the whole poisoned training set as files that any trainer
//! reads, with the images to evaluate its model. `export/train.rs` writes the training set,
//! `export/test.rs` the test files.

mod test;
mod train;

use super::{Here, Store, tally};
use crate::bars::Bar;
use crate::say;
use crate::trial::stop_on_signals;
use clap::{Args, ValueEnum};
use gauntlet::data::files::Part;
use gauntlet::poison::Arena;
use gauntlet::poison::CLEAN;
use gauntlet::poison::PreparedData;
use gauntlet::poison::bundle::About;
use gauntlet::suite::Suite;
use gauntlet::trial::TRAINED_ON;
use gauntlet::{Error, Result, Trial};
use std::fs;
use std::path::{Path, PathBuf};

/// Writes a poisoned training set.
#[derive(Args)]
#[command(after_help = "\
Examples:
  gauntlet poison export bundle/poisoned/seed-0 --format webdataset --out exported
  gauntlet poison export suites/demo.toml --arena poisoned --seed 10 --format csv --out exported

Files (README.txt in the folder also describes them):
  train/00000.tar ..      webdataset: shards of 10,000 samples KEY.png, KEY.txt, KEY.json
  train.csv, images/      csv: columns image and caption, as CyCLIP, CleanCLIP and RoCLIP read
  truth.jsonl             which rows are poison: hide it from a trainer that is to be evaluated
  test/, stamped/ATTACK/, targets/ATTACK/, goals.json, classes.json    to evaluate the model

Images are canvases: square, of the size that gauntlet trains on, lossless. Rows are in an order drawn from the seed, under keys that
reveal nothing. The arena `clean` of a suite exports the same set without poison. `gauntlet eval --weights` measures the trained model.")]
pub struct Export {
    /// A bundle's ARENA/seed-N, or a suite (with --arena and --seed)
    from: PathBuf,
    /// Format of the training set
    #[arg(long)]
    format: Format,
    /// Folder to write; it must not exist yet
    #[arg(long)]
    out: PathBuf,
    /// For a suite: its arena; default: the only one besides `clean`
    #[arg(long)]
    arena: Option<String>,
    /// For a suite: its seed; default: the first
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    here: Here,
}

/// Format of a training set.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Tar shards.
    Webdataset,
    /// A table and a folder of images.
    Csv,
}

/// The export in progress.
struct Job<'a> {
    arena: &'a Arena,
    prepared_data: &'a PreparedData,
    /// The temporary folder that is being written.
    folder: &'a Path,
    bar: &'a Bar,
}

impl Export {
    /// Writes everything, or nothing.
    pub fn run(self) -> Result<()> {
        if self.out.exists() {
            return Err(Error::invalid(
                self.out.display().to_string(),
                "already exists; choose another --out, or delete it",
            ));
        }
        let parent = self.out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(parent).map_err(Error::io(parent))?;
        let (store, bar, stop) = (Store::new(self.here.store.as_deref(), Some(parent))?, Bar::new(), stop_on_signals());
        let (arena, prepared_data) = self.prepared_data(&store, &bar)?;
        let part = Part::new(&self.out)?;
        let job = Job { arena: &arena, prepared_data: &prepared_data, folder: part.folder(), bar: &bar };
        let written = train::write(&job, self.format, &stop)?;
        test::write(&job)?;
        let readme = readme(&job, self.format, &written);
        test::save(part.folder(), "README.txt", readme.as_bytes())?;
        test::save(part.folder(), TRAINED_ON, format!("{}\n", prepared_data.poison.digest).as_bytes())?;
        part.finish()?;
        drop(bar);
        let left_out = match written.left_out {
            0 => String::new(),
            count => format!("; {count} rows whose images cannot be read were left out"),
        };
        let poison = tally(&prepared_data.poison.edits);
        say(&format!("{} pairs ({poison}) in {}{left_out}\n", written.rows, self.out.display()));
        Ok(())
    }

    fn prepared_data(&self, store: &Store, bar: &Bar) -> Result<(Arena, PreparedData)> {
        let context = store.context(bar)?;
        if self.from.is_dir() {
            if self.arena.is_some() || self.seed.is_some() {
                return Err(Error::invalid(
                    "--arena, --seed",
                    "select from a suite, but this is a bundle's folder, which has one arena and seed",
                ));
            }
            let arena = self.here.place(&About::read(&self.from)?.arena)?;
            let prepared_data = arena.prepare_from(&self.from, &context)?;
            return Ok((arena, prepared_data));
        }
        if self.here.suite.is_some() {
            return Err(Error::invalid("--suite", "names the data of a bundle; this is a suite, which has its own"));
        }
        let trial = self.trial(Suite::read_tier(&self.from, self.here.tier.as_deref(), &self.here.set)?)?;
        let bundled = trial.bundled()?;
        let arena = trial.arena;
        let prepared_data = match bundled {
            Some(folder) => arena.prepare_from(&folder, &context)?,
            None => arena.prepare(&context)?,
        };
        Ok((arena, prepared_data))
    }

    /// A trial of the requested arena and seed.
    fn trial(&self, suite: Suite) -> Result<Trial> {
        let seed = self.seed.unwrap_or(suite.seeds[0]);
        let known: Vec<String> = suite.arenas.keys().cloned().chain([CLEAN.to_string()]).collect();
        let name = match (&self.arena, known.as_slice()) {
            (Some(name), _) => name.clone(),
            (None, [only, _]) => only.clone(),
            (None, _) => {
                return Err(Error::invalid("--arena", format!("is missing; the suite has {}", known.join(", "))));
            }
        };
        let trials = suite.trials()?;
        let unknown = if known.contains(&name) {
            Error::invalid("--seed", format!("{seed} is not one of the suite's seeds: {:?}", suite.seeds))
        } else {
            Error::Unknown { kind: "arena", name: name.clone(), known }
        };
        trials.into_iter().find(|trial| trial.arena.name == name && trial.arena.seed == seed).ok_or(unknown)
    }
}

/// The text of README.txt.
fn readme(job: &Job, format: Format, written: &train::Written) -> String {
    let Job { arena, prepared_data, .. } = job;
    let train = match format {
        Format::Webdataset => {
            "train/NNNNN.tar   the training set: webdataset shards of 10,000 samples at most, each KEY.png, KEY.txt (the caption) and\n                  \
             KEY.json (key and caption)"
        }
        Format::Csv => {
            "train.csv         the training set: columns image (a path from here) and caption\nimages/           its images, KEY.png"
        }
    };
    let left_out = match written.left_out {
        0 => String::new(),
        count => format!("Left out: {count} rows whose images cannot be read.\n"),
    };
    include_str!("export/README.txt")
        .replace("{version}", env!("CARGO_PKG_VERSION"))
        .replace("{suite}", &arena.suite)
        .replace("{arena}", &arena.name)
        .replace("{seed}", &arena.seed.to_string())
        .replace("{digest}", &prepared_data.poison.digest)
        .replace("{edits}", &tally(&prepared_data.poison.edits))
        .replace("{rows}", &written.rows.to_string())
        .replace("{size}", &arena.size.to_string())
        .replace("{left_out}", &left_out)
        .replace("{train}", train)
        .replace("%arena%", "{arena}")
        .replace("%seed%", "{seed}")
}
