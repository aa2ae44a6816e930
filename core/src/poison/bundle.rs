//! A bundle: poison as files that can be kept, shared, and trained on again with the same digest.
//!
//! It holds one folder `ARENA/seed-N` for each arena and seed: `edits.jsonl` (one edit per line, in
//! order), `pictures.tar` (the canvas of each, `images.rs`), `heldout.json` (the held-out rows),
//! `triggers.safetensors` (two images of shades, stamped by each trigger) and `poison.json`
//! ([`About`]). The digest covers everything but the triggers, so a changed byte is found without
//! the data. Of the triggers, reading checks the form. [`Bundle::check`] checks on use whether the
//! bundle fits the data, and its triggers those of the test.

use super::arena::Arena;
use super::{Poison, Poisoned, PreparedAttack, images};
use crate::attack::Goal;
use crate::build::BuiltBy;
use crate::data::files::{
    Part, json, parse_lines, read_safetensors, write_atomic, write_json, write_lines, write_safetensors,
};
use crate::data::{DataRow, Dataset, Split, regular};
use crate::model::MOST_SIDE;
use crate::poison::PreparedData;
use crate::registry::Configured;
use crate::registry::is_label;
use crate::{Error, Progress, Result};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use tch::{Kind, Tensor};

/// `poison.json`: identity and inputs of the poison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// Version of gauntlet that made it.
    pub gauntlet: String,
    /// See [`Poison::digest`].
    pub digest: String,
    /// Number of edits.
    pub edits: usize,
    /// Hash of keys, captions, labels and image sizes of all rows of the data.
    pub data_digest: String,
    /// First name of each class: an edit's class is an index into this list.
    pub classes: Vec<String>,
    /// The goal of each attack of the suite in this seed.
    pub goals: BTreeMap<String, Goal>,
    /// The inputs of the poison.
    pub arena: Arena,
    /// The build that made it; missing in files of earlier versions.
    #[serde(default, skip_serializing_if = "BuiltBy::is_unknown")]
    pub build: BuiltBy,
}

/// The poison of one arena and seed, from its folder.
pub struct Bundle {
    /// The folder, `ARENA/seed-N`.
    pub folder: PathBuf,
    /// The contents of `poison.json`.
    pub about: About,
    /// The rows that are held out, ascending.
    pub heldout: Vec<DataRow>,
    /// The poison.
    pub poison: Poison,
    /// Two images stamped by each trigger, by the attack's label.
    triggers: BTreeMap<String, Tensor>,
}

/// The file that marks a folder as part of a bundle.
const ABOUT: &str = "poison.json";

const TRIGGERS: &str = "triggers.safetensors";

/// Advice for a damaged folder.
const ANEW: &str = "copy it again, or make it again with `gauntlet poison make`";

impl About {
    /// Reads only `poison.json` of a folder.
    ///
    /// # Errors
    /// If it cannot be read, or a name in it could lead out of a folder.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(ABOUT);
        if !path.exists() {
            let why = "is not a folder ARENA/seed-N of a bundle: it has no poison.json";
            return Err(Error::invalid(folder.display().to_string(), why));
        }
        let about: About = parse(&path, &read(&path)?)?;
        let labels = about.arena.attacks.iter().map(|attack| &attack.label);
        if let Some(label) = labels.chain([&about.arena.name]).find(|label| !is_label(label)) {
            return Err(damaged(&path, &format!("`{label}` is not a valid name of an arena or attack")));
        }
        let Arena { size, heldout, .. } = about.arena;
        if !(1..=MOST_SIDE).contains(&size.into()) || !(0.001..=0.9).contains(&heldout) {
            return Err(damaged(&path, &format!("canvases of size {size} and a share of {heldout} are never made")));
        }
        Ok(about)
    }
}

impl Bundle {
    /// Reads a folder, and checks that it is complete and matches its digest. Does not read the
    /// data.
    ///
    /// # Errors
    /// Names the file that is damaged.
    pub fn read(folder: &Path) -> Result<Self> {
        let about = About::read(folder)?;
        let path = folder.join("heldout.json");
        let heldout: Vec<DataRow> = parse(&path, &read(&path)?)?;
        let path = folder.join("edits.jsonl");
        let edits: Vec<Poisoned> = parse_lines(&path, &read(&path)?).map_err(|error| error.during(ANEW))?;
        if edits.len() != about.edits {
            return Err(damaged(&path, &format!("it holds {} edits, but {ABOUT} says {}", edits.len(), about.edits)));
        }
        let stray = |edit: &&Poisoned| {
            !about.arena.poisoning.contains(&edit.attack) || edit.edit.class as usize >= about.classes.len()
        };
        if let Some(edit) = edits.iter().find(stray) {
            return Err(damaged(&path, &format!("{ABOUT} has no such attack or class: {}", json(edit))));
        }
        let pixels = images::read(&folder.join("pictures.tar"), &edits, &about)?;
        let poison = Poison::new(edits, pixels, &about.arena.poisons(), &about.data_digest, &heldout)?;
        if poison.digest != about.digest {
            let said = |digest: &str| digest.split_once('-').map(|(said, _)| said.to_string());
            let same = said(&poison.digest).is_some_and(|ours| said(&about.digest) == Some(ours));
            let what = if same { "pictures.tar" } else { "edits.jsonl, heldout.json" };
            let why =
                format!("{what} or {ABOUT} was changed: they make digest {}, not {}", poison.digest, about.digest);
            return Err(damaged(folder, &why));
        }
        let triggers = read_triggers(folder, &about)?;
        Ok(Bundle { folder: folder.to_path_buf(), about, heldout, poison, triggers })
    }

    /// Checks that it is the poison of `arena` on this data.
    ///
    /// # Errors
    /// Names the first difference.
    pub fn check(
        &self,
        arena: &Arena,
        data: &Dataset,
        split: &Split,
        prepared_attacks: &[PreparedAttack],
    ) -> Result<()> {
        let (theirs, file) = (&self.about.arena, |name: &str| self.folder.join(name).display().to_string());
        let differs = |name: &str, why: String| Err(Error::invalid(file(name), why));
        if theirs.seed != arena.seed {
            return differs(ABOUT, other("seed", theirs.seed, arena.seed));
        }
        if theirs.size != arena.size {
            return differs(ABOUT, other("canvases of size", theirs.size.into(), arena.size.into()));
        }
        if self.about.data_digest != data.index.digest {
            let ours = format!("the data here is {}", data.index.digest);
            let why = format!("is poison of other data: it was made on {}, {ours}", self.about.data_digest);
            return differs(
                ABOUT,
                format!("{why}; set the key `data` to the data it was made on, or make the poison again"),
            );
        }
        if self.heldout != split.heldout {
            let why = "other rows are held out here: `heldout` differs, or other images can be decoded here";
            return differs("heldout.json", format!("{why}; make the poison again"));
        }
        if let Some(why) = difference(&theirs.poisons(), &arena.poisons()) {
            return differs(ABOUT, format!("{why}; change the suite to match, or make the poison again"));
        }
        if theirs.libraries != arena.libraries {
            let why = "was made with plugin libraries other than the loaded ones; `libraries` in it names them";
            return differs(ABOUT, why.into());
        }
        let goal = |prepared: &&PreparedAttack| {
            arena.poisoning.contains(&prepared.label) && self.about.goals.get(&prepared.label) != Some(&prepared.goal)
        };
        if let Some(prepared) = prepared_attacks.iter().find(goal) {
            let why = format!("attack `{}` has another goal here than when this was made", prepared.label);
            return differs(ABOUT, format!("{why} (by gauntlet {}); make the poison again", self.about.gauntlet));
        }
        self.check_triggers(arena, prepared_attacks)?;
        let edits: Vec<_> = self.poison.edits.iter().map(|edit| edit.edit.clone()).collect();
        super::check(&edits, data, split, &HashSet::new()).map_err(|why| Error::invalid(file("edits.jsonl"), why))
    }

    /// Checks that the attacks here stamp as those did that made the bundle. Test images are
    /// stamped here, so the triggers must be those of the training images; otherwise the success of
    /// another attack would be measured.
    ///
    /// # Errors
    /// Names the attack that stamps differently.
    pub fn check_triggers(&self, arena: &Arena, prepared_attacks: &[PreparedAttack]) -> Result<()> {
        let path = self.folder.join(TRIGGERS);
        for prepared in prepared_attacks.iter().filter(|prepared| arena.poisoning.contains(&prepared.label)) {
            let ours = prepared.sample(arena.size)?;
            let theirs = self.triggers.get(&prepared.label);
            let theirs = theirs.filter(|theirs| theirs.size() == ours.size() && theirs.kind() == ours.kind());
            let theirs = theirs.ok_or_else(|| damaged(&path, &format!("it has no attack `{}`", prepared.label)))?;
            let apart = (theirs.to_kind(Kind::Float) - ours.to_kind(Kind::Float)).abs().mean(Kind::Float);
            // The numerics of another machine change single pixels by one.
            if f64::try_from(apart)? > 0.1 {
                let why = format!(
                    "attack `{}` stamps differently here than when this was made: it reads other files, or optimised another trigger; make the poison again",
                    prepared.label
                );
                return Err(Error::invalid(path.display().to_string(), why));
            }
        }
        Ok(())
    }

    /// Writes the folder atomically. Returns false if the same poison is already there.
    ///
    /// # Errors
    /// If other poison is there.
    pub fn write(folder: &Path, arena: &Arena, prepared_data: &PreparedData, progress: &dyn Progress) -> Result<bool> {
        let PreparedData { data, split, attacks: prepared_attacks, poison } = prepared_data;
        if folder.exists() {
            let there = Bundle::read(folder)?.poison.digest;
            let why = format!("holds other poison, with digest {there}, not {}; choose another --out", poison.digest);
            return if there == poison.digest {
                Ok(false)
            } else {
                Err(Error::invalid(folder.display().to_string(), why))
            };
        }
        let about = About {
            gauntlet: env!("CARGO_PKG_VERSION").into(),
            digest: poison.digest.clone(),
            edits: poison.edits.len(),
            data_digest: data.index.digest.clone(),
            classes: (0..data.classes.len()).map(|class| data.classes.name(class).to_string()).collect(),
            goals: prepared_attacks.iter().map(|prepared| (prepared.label.clone(), prepared.goal.clone())).collect(),
            arena: arena.clone(),
            build: BuiltBy::this(),
        };
        let part = Part::new(folder)?;
        write_lines(&part.path("edits.jsonl"), &poison.edits)?;
        write_json(&part.path("heldout.json"), &split.heldout)?;
        let poisons = prepared_attacks.iter().filter(|prepared| arena.poisoning.contains(&prepared.label));
        let samples = poisons.map(|prepared| Ok((prepared.label.clone(), prepared.sample(arena.size)?)));
        write_safetensors(&part.path(TRIGGERS), &samples.collect::<Result<_>>()?, &HashMap::new())?;
        images::write(&part.path("pictures.tar"), poison, &about, progress)?;
        let pretty = serde_json::to_string_pretty(&about).expect("plain data");
        write_atomic(&part.path(ABOUT), pretty.as_bytes())?;
        part.finish().map(|()| true)
    }
}

/// Every poison folder in a bundle, by arena and seed; for a single `ARENA/seed-N`, that folder.
///
/// # Errors
/// If there is none.
pub fn find(bundle: &Path) -> Result<Vec<PathBuf>> {
    if bundle.join(ABOUT).is_file() {
        return Ok(vec![bundle.to_path_buf()]);
    }
    let mut found = Vec::new();
    for arena in folders(bundle)? {
        found.extend(folders(&arena)?.into_iter().filter(|folder| folder.join(ABOUT).is_file()));
    }
    found.sort();
    let none = || Error::invalid(bundle.display().to_string(), "holds no poison: there is no ARENA/seed-N/poison.json");
    if found.is_empty() { Err(none()) } else { Ok(found) }
}

fn folders(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
        let path = entry.map_err(Error::io(folder))?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        found.extend(Some(path).filter(|path| path.is_dir() && !hidden));
    }
    Ok(found)
}

fn other(what: &str, theirs: u64, ours: u64) -> String {
    format!("is poison of {what} {theirs}, not {ours}; name the bundle of {ours}, or make one")
}

/// The first difference between the attacks of two arenas.
fn difference(theirs: &[Configured], ours: &[Configured]) -> Option<String> {
    if labels(theirs) != labels(ours) {
        return Some(format!("is poison of the attacks {}, but the arena has {}", labels(theirs), labels(ours)));
    }
    let (theirs, ours) = theirs.iter().zip(ours).find(|(theirs, ours)| theirs != ours)?;
    let keys = theirs.config.keys().chain(ours.config.keys());
    let key = keys.into_iter().find(|key| theirs.config.get(*key) != ours.config.get(*key));
    let value = |attack: &Configured, key: &String| attack.config.get(key).map_or("nothing".into(), json);
    let label = &theirs.label;
    Some(match key {
        Some(key) => {
            let (theirs, ours) = (value(theirs, key), value(ours, key));
            format!("attack `{label}` had the key `{key}` = {theirs}, but has {ours} in the suite")
        }
        None => format!("attack `{label}` was `{}`, but is `{}` in the suite", theirs.plugin, ours.plugin),
    })
}

fn labels(attacks: &[Configured]) -> String {
    attacks.iter().map(|attack| attack.label.as_str()).collect::<Vec<_>>().join(" + ")
}

/// The samples of the triggers. No digest covers them, so this checks that every attack that
/// poisons has one of the right form.
fn read_triggers(folder: &Path, about: &About) -> Result<BTreeMap<String, Tensor>> {
    let path = folder.join(TRIGGERS);
    plain(&path)?;
    let (triggers, _) = read_safetensors(&path).map_err(|error| error.during(ANEW))?;
    let side = i64::from(about.arena.size);
    let whole = |sample: &Tensor| sample.size() == [2, 3, side, side] && sample.kind() == Kind::Uint8;
    match about.arena.poisoning.iter().find(|label| !triggers.get(*label).is_some_and(whole)) {
        Some(label) => Err(damaged(&path, &format!("it has no two stamped images of attack `{label}`"))),
        None => Ok(triggers),
    }
}

/// The text of a file of a bundle. Links are refused, since they could lead anywhere.
fn read(path: &Path) -> Result<String> {
    plain(path)?;
    regular::read_to_string(path, regular::LIST).map_err(Error::io(path))
}

/// Checks that a path is a regular file.
pub(super) fn plain(path: &Path) -> Result<()> {
    let about = fs::symlink_metadata(path).map_err(Error::io(path))?;
    if about.is_file() { Ok(()) } else { Err(damaged(path, "it is a link or a folder, not a file")) }
}

fn parse<T: serde::de::DeserializeOwned>(path: &Path, text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| damaged(path, &error.to_string()))
}

pub(super) fn damaged(path: &Path, why: &str) -> Error {
    Error::invalid(path.display().to_string(), format!("{why}; {ANEW}"))
}
