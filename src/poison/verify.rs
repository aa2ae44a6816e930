//! `gauntlet poison verify`: checks that a bundle is intact, and that this machine makes the same
//! poison.

use super::{Here, Store};
use crate::bars::Bar;
use crate::exit::Exit;
use crate::say;
use clap::Args;
use gauntlet::poison::Poisoned;
use gauntlet::poison::PreparedData;
use gauntlet::poison::bundle::{Bundle, find};
use gauntlet::{Error, Result};
use std::path::{Path, PathBuf};
use tch::{Kind, Tensor};

/// Checks bundles.
#[derive(Args)]
#[command(after_help = "\
Reads every ARENA/seed-N, compares its hashes with its digest, and makes its poison again from the configuration in poison.json.
This needs the data; if it is not where it was, name it with --suite.

Exit code: 0 if this machine makes the same bytes, 1 if it makes other poison (a line says what differs), 2 if a file is damaged or the
data is not the same. Pixels may differ slightly if an attack optimises its trigger; then train on the bundle (key `bundle` of a suite).")]
pub struct Verify {
    /// Bundles, or single ARENA/seed-N of them
    #[arg(required = true)]
    bundles: Vec<PathBuf>,
    /// Check only the files: the data is not needed, and no poison is made
    #[arg(long)]
    files: bool,
    #[command(flatten)]
    here: Here,
}

impl Verify {
    /// Prints a line for each folder; the exit code is that of the worst.
    pub fn run(self) -> Result<Exit> {
        let folders = self.bundles.iter().map(|bundle| find(bundle)).collect::<Result<Vec<_>>>()?.concat();
        let store = Store::new(self.here.store.as_deref(), None)?;
        let mut worst = Exit::Done;
        for folder in folders {
            let (code, line) = match self.verify(&folder, &store) {
                Ok((bundle, None)) if self.files => (Exit::Done, format!("intact: digest {}", bundle.about.digest)),
                Ok((bundle, None)) => (Exit::Done, format!("same: digest {}", bundle.about.digest)),
                Ok((_, Some(why))) => (Exit::Failed, format!("differs: {why}")),
                Err(error) => (Exit::Mistake, format!("unusable: {}", error.chain())),
            };
            worst = worst.max(code);
            say(&format!("{}: {line}\n", folder.display()));
        }
        Ok(worst)
    }

    fn verify(&self, folder: &Path, store: &Store) -> Result<(Bundle, Option<String>)> {
        let bundle = Bundle::read(folder)?;
        if self.files {
            return Ok((bundle, None));
        }
        let bar = Bar::new();
        let prepared_data = self.here.place(&bundle.about.arena)?.remake(&store.context(&bar)?)?;
        let difference = difference(&bundle, &prepared_data)?;
        Ok((bundle, difference))
    }
}

/// The first difference between a bundle and the poison that was made here.
///
/// # Errors
/// If the data is not the same: then nothing can be compared.
fn difference(bundle: &Bundle, here: &PreparedData) -> Result<Option<String>> {
    let (theirs, ours) = (&bundle.poison, &here.poison);
    if bundle.about.data_digest != here.data.index.digest {
        return other_data(bundle, "the data is not the data that it was made on");
    }
    if bundle.heldout != here.split.heldout {
        return other_data(
            bundle,
            "other rows are held out here: some images can be read only here, or only on the machine that made it",
        );
    }
    let goals = here.attacks.iter().find(|prepared| bundle.about.goals.get(&prepared.label) != Some(&prepared.goal));
    if let Some(prepared) = goals {
        return Ok(Some(format!("attack `{}` has another goal here", prepared.label)));
    }
    if let Some(why) = edits(&theirs.edits, &ours.edits) {
        return Ok(Some(why));
    }
    if let Err(error) = bundle.check_triggers(&bundle.about.arena, &here.attacks) {
        return Ok(Some(error.chain()));
    }
    let same = || Ok((theirs.digest != ours.digest).then(|| format!("the digest here is {}", ours.digest)));
    pixels(&theirs.pixels, &ours.pixels)?.map_or_else(same, |why| Ok(Some(why)))
}

fn other_data(bundle: &Bundle, why: &str) -> Result<Option<String>> {
    let why = format!("{why}; name a suite whose `[data]` is that data by --suite");
    Err(Error::invalid(bundle.folder.join("poison.json").display().to_string(), why))
}

/// The first edit that differs.
fn edits(theirs: &[Poisoned], ours: &[Poisoned]) -> Option<String> {
    let json = |edit: &Poisoned| serde_json::to_string(edit).expect("plain data");
    let first = (0..).zip(theirs.iter().zip(ours)).find(|(_, (theirs, ours))| theirs != ours);
    match first {
        Some((number, (theirs, ours))) => Some(format!("edit {number} is {}, but {} here", json(theirs), json(ours))),
        None if theirs.len() != ours.len() => Some(format!("it has {} edits, but {} here", theirs.len(), ours.len())),
        None => None,
    }
}

/// The largest difference of the canvases, and the number of those that differ.
fn pixels(theirs: &Tensor, ours: &Tensor) -> Result<Option<String>> {
    let (count, mut most, mut differ) = (theirs.size()[0], 0, 0);
    for start in (0..count).step_by(256) {
        let chunk = |pixels: &Tensor| pixels.narrow(0, start, (count - start).min(256)).to_kind(Kind::Int16);
        let apart = (chunk(theirs) - chunk(ours)).abs().flatten(1, -1).f_amax([1].as_slice(), false)?;
        most = most.max(i64::try_from(apart.max())?);
        differ += i64::try_from(apart.not_equal(0).sum(Kind::Int64))?;
    }
    Ok((differ > 0).then(|| format!("pixels differ by at most {most} of 255, in {differ} of {count} images")))
}
