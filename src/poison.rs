//! `gauntlet poison`: poison as files. `make.rs` makes a bundle (core's `poison/bundle.rs`),
//! `show.rs` draws its edits, `verify.rs` makes the poison again and compares it, and `export.rs`
//! writes the whole training set for a trainer in any language.

mod export;
mod make;
mod show;
mod verify;

use crate::exit::Exit;
use crate::scratch::Scratch;
use clap::{Args, Subcommand};
use gauntlet::attack::PrepareContext;
use gauntlet::data::store::Using;
use gauntlet::poison::{Arena, Poisoned};
use gauntlet::suite::{Suite, resolve_device};
use gauntlet::trial::parse_device;
use gauntlet::{Error, Progress, Result};
use std::path::{Path, PathBuf};

/// Commands on poison.
#[derive(Subcommand)]
pub enum Poison {
    /// Make the poison of a suite's arenas and seeds as files: edits, images and the configuration
    /// that they were made from. Nothing is trained
    Make(make::Make),
    /// Draw a sample of the edits, before and after, onto one sheet
    Show(show::Show),
    /// Check that a bundle is intact, and that this machine makes the same poison, byte for byte
    Verify(verify::Verify),
    /// Write the whole poisoned training set for a trainer in any language, with images to evaluate
    /// its model
    Export(export::Export),
}

impl Poison {
    /// Runs the command; `verify` has its own exit codes.
    pub fn run(self) -> Result<Exit> {
        match self {
            Poison::Make(make) => make.run().map(|()| Exit::Done),
            Poison::Show(show) => show.run().map(|()| Exit::Done),
            Poison::Verify(verify) => verify.run(),
            Poison::Export(export) => export.run().map(|()| Exit::Done),
        }
    }
}

/// The location of the data on this machine.
#[derive(Args)]
struct Here {
    /// Read the pairs from the `[data]` of this suite instead of poison.json's: the same pairs in
    /// another place
    #[arg(long)]
    suite: Option<PathBuf>,
    /// Take that suite at one of its sizes: a table [tiers.NAME] of the suite
    #[arg(long, value_name = "NAME")]
    tier: Option<String>,
    /// Override a key of that suite, e.g. data.path=shards; may be given several times
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Folder where canvases are kept for the next time, such as the `store` of a run's folder;
    /// default: none
    #[arg(long)]
    store: Option<PathBuf>,
}

impl Here {
    /// The arena with its data on this machine.
    fn place(&self, arena: &Arena) -> Result<Arena> {
        let data = match &self.suite {
            Some(suite) => Suite::read_tier(suite, self.tier.as_deref(), &self.set)?.data,
            None if self.set.is_empty() => arena.data.clone(),
            None => return Err(Error::invalid("--set", "changes keys of a suite; name the suite with --suite")),
        };
        Ok(Arena { data, ..arena.clone() })
    }
}

/// A folder for canvases and other files that can be made again: one that is kept, or a temporary
/// one (of which only the lists that an error names are kept).
struct Store {
    path: PathBuf,
    _scratch: Option<Scratch>,
    _using: Option<Using>,
}

impl Store {
    /// The named folder; otherwise a temporary one beside `beside`, whose disk has room for it.
    fn new(named: Option<&Path>, beside: Option<&Path>) -> Result<Self> {
        if let Some(path) = named {
            std::fs::create_dir_all(path).map_err(Error::io(path))?;
            return Ok(Store { path: path.to_path_buf(), _scratch: None, _using: Some(Using::new(path)?) });
        }
        let place = beside.map_or_else(std::env::temp_dir, Path::to_path_buf);
        std::fs::create_dir_all(&place).map_err(Error::io(&place))?;
        let scratch = Scratch::new(&place, ".store-")?;
        Ok(Store { path: scratch.path().to_path_buf(), _scratch: Some(scratch), _using: None })
    }

    /// The context that attacks prepare in, on the best available device.
    fn context<'a>(&'a self, progress: &'a dyn Progress) -> Result<PrepareContext<'a>> {
        Ok(PrepareContext { store: &self.path, device: parse_device(&resolve_device("auto"))?, progress })
    }
}

/// `31 edits: targeted 16, badnet 15`.
fn tally(edits: &[Poisoned]) -> String {
    let runs = edits.chunk_by(|one, next| one.attack == next.attack);
    let counts: Vec<String> = runs.map(|run| format!("{} {}", run[0].attack, run.len())).collect();
    let colon = if edits.is_empty() { "" } else { ": " };
    format!("{} edits{colon}{}", edits.len(), counts.join(", "))
}
