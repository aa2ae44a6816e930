//! Poison: what the edits of an arena make of the data. Made once per (data, arena, seed), stored
//! under its content key, and read by every trial, so that all defenses see the same bytes because
//! they are the same file. `poison/arena.rs` is what it is made from, `poison/bundle.rs` keeps it
//! apart from the store, for others.

mod arena;
pub mod bundle;
mod images;

pub use arena::Arena;
pub use images::bytes;

use crate::attack::{Attack, Edit, Goal, ImageSource, PoisonCtx, PrepareContext, contents};
use crate::data::files::{
    Part, json, read_json, read_lines, read_safetensors, write_json, write_lines, write_safetensors,
};
use crate::data::{DataRow, Dataset, Split};
use crate::registry::{Configured, origin};
use crate::{Error, Result, build, draw};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::time::Instant;
use tch::{Kind, Tensor};

/// The arena that every suite has: the same goals, no edits. Gives the base rates.
pub const CLEAN: &str = "clean";

/// An attack and what it wants in this seed; part of every arena, `clean` included.
pub struct PreparedAttack {
    /// The label the suite gives it.
    pub label: String,
    /// The attack.
    pub attack: Box<dyn Attack>,
    /// What it wants.
    pub goal: Goal,
    /// Plugin, its libraries' contents, configuration and the contents of the files it reads: two
    /// attacks with the same ones stamp alike.
    pub(crate) identity: String,
}

impl PreparedAttack {
    /// The attacks of a suite, each with its configuration, made ready, and their goals; neither depends on the arena.
    pub fn all(
        configs: &[Configured],
        attacks: Vec<Box<dyn Attack>>,
        data: &Dataset,
        split: &Split,
        seed: u64,
        workshop: &PrepareContext,
    ) -> Result<Vec<PreparedAttack>> {
        let untouched = HashSet::new();
        let ctx = PoisonCtx { data, split, seed, taken: &untouched };
        let prepared = configs.iter().zip(attacks).map(|(config, attack)| {
            let prepared = PreparedAttack::one(config, attack, &ctx, workshop);
            prepared.map_err(|error| error.during(format!("attack `{}`", config.label)))
        });
        prepared.collect()
    }

    fn one(
        config: &Configured,
        mut attack: Box<dyn Attack>,
        ctx: &PoisonCtx,
        workshop: &PrepareContext,
    ) -> Result<PreparedAttack> {
        let contents = contents(&attack.reads()?)?;
        attack.prepare(ctx, workshop)?;
        let goal = attack.goal(ctx)?;
        goal.check_measurable(ctx.data, ctx.split)?;
        // A library that was built anew may do otherwise under the same name; so may one that its configuration names.
        let libraries = origin::used(std::slice::from_ref(config));
        let libraries: String = libraries.iter().map(|library| format!(" {}", library.blake3)).collect();
        let identity = format!("{} {} {contents}{libraries}", config.plugin, json(&config.config));
        Ok(PreparedAttack { label: config.label.clone(), attack, goal, identity })
    }

    /// Stamps held-out rows as the attacker would at test time, u8 `[rows, 3, S, S]`.
    pub fn stamp_test(&self, data: &Dataset, rows: &[DataRow], seed: u64) -> Result<Tensor> {
        let keys: Vec<u64> = rows.iter().map(|&row| draw::hash(seed, "stamp/test", &[row.into()])).collect();
        self.stamp(&data.canvas.gather(rows)?, &keys)
    }

    /// Stamps images, u8 `[N, 3, S, S]`.
    pub(crate) fn stamp(&self, canvas: &Tensor, keys: &[u64]) -> Result<Tensor> {
        self.attack.stamp(canvas, keys).map_err(|error| error.during(format!("attack `{}`", self.label)))
    }

    /// How it stamps two images of shades, u8 `[2, 3, size, size]`: two triggers that are alike stamp these alike.
    fn sample(&self, size: u32) -> Result<Tensor> {
        let side = i64::from(size);
        let shades = Tensor::arange(2 * 3 * side * side, (Kind::Int64, tch::Device::Cpu)).remainder(251);
        self.stamp(&shades.to_kind(Kind::Uint8).view([2, 3, side, side]), &[1, 2])
    }

    /// The caption or prompt of a number with the text trigger in it, as the attacker would say it at test time.
    pub fn apply_test_trigger(&self, caption: &str, number: u64, seed: u64) -> Result<String> {
        let said = self.attack.apply_text_trigger(caption, draw::hash(seed, "say/test", &[number]));
        said.map_err(|error| error.during(format!("attack `{}`", self.label)))
    }

    /// What an image of its goal looks like when it is tested, u8 `[3, S, S]`, by the name that
    /// results have for it: a row's number, or a file. None for what is no image.
    pub fn case(&self, case: &str, data: &Dataset, seed: u64) -> Result<Option<Tensor>> {
        if let Goal::Files { .. } = self.goal {
            return self.image(case, data.canvas.size()).map(Some);
        }
        let row = case.parse().ok().map(DataRow).filter(|row| data.contains(*row));
        let Some(row) = row.filter(|_| !self.goal.is_search()) else { return Ok(None) };
        let canvases = match self.goal.stamps_for() {
            Some(_) => self.stamp_test(data, &[row], seed)?,
            None => data.canvas.gather(&[row])?,
        };
        Ok(Some(canvases.get(0)))
    }

    /// An image that the attack brings along, as a canvas u8 `[3, size, size]`.
    pub fn image(&self, file: &str, size: u32) -> Result<Tensor> {
        self.attack.image(file, size).map_err(|error| error.during(format!("attack `{}`", self.label)))
    }
}

/// The data of a trial and its poison: what all trials of a data set, arena and seed share.
pub struct PreparedData {
    /// Rows, classes, canvases.
    pub data: Dataset,
    /// Which rows are held out.
    pub split: Split,
    /// The suite's attacks and their goals.
    pub threats: Vec<PreparedAttack>,
    /// This arena's poison.
    pub poison: Poison,
}

/// One edit and the attack it belongs to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Poisoned {
    /// Label of the attack.
    pub attack: String,
    /// What it does.
    pub edit: Edit,
}

/// The poison of one arena and seed.
pub struct Poison {
    /// Every edit, in the order of the arena's attacks.
    pub edits: Vec<Poisoned>,
    /// Canvas of each edit, u8 `[edits, 3, S, S]`.
    pub pixels: Tensor,
    /// Two hashes joined by a dash: of the data (but for its clean pixels), the held-out rows, the
    /// edits and their configuration; and of the poisoned rows' pixels.
    pub digest: String,
}

/// Part of every key: raised whenever the same poison would be written otherwise, so that old folders are left alone.
const FORMAT: u32 = 4;

#[derive(Serialize, Deserialize)]
struct Manifest {
    digest: String,
    arena: Vec<Configured>,
    goals: BTreeMap<String, Goal>,
}

impl Poison {
    /// Reads the poison of an arena from the store, or makes it there. `arena` holds the attacks
    /// that poison (none: `clean`).
    pub fn open(
        store: &Path,
        data: &Dataset,
        split: &Split,
        seed: u64,
        arena: &[Configured],
        threats: &[PreparedAttack],
    ) -> Result<Self> {
        let labels: Vec<&str> = arena.iter().map(|config| config.label.as_str()).collect();
        let poisons = threats.iter().filter(|threat| labels.contains(&threat.label.as_str()));
        let resolved: String = poisons.map(|threat| format!("{} {}\n", threat.label, threat.identity)).collect();
        let key = build::stored("poison", FORMAT)?.with("data", &data.key).with("seed", seed).with("attacks", resolved);
        let named = if labels.is_empty() { "no attack".into() } else { labels.join(" + ") };
        let key = key.with("held out", json(&split.heldout)).of(format!("{named}, seed {seed}, {}", data.index.of));
        let folder = key.folder(store);
        if folder.join("poison.json").exists() {
            tracing::info!("poison of seed {seed} found: {}", folder.display());
        } else {
            let began = Instant::now();
            let poison = Poison::make(data, split, seed, arena, threats)?;
            poison.write(&folder, arena, threats)?;
            tracing::info!("poison of seed {seed} made in {:.1?}: {}", began.elapsed(), folder.display());
        }
        key.note_use(&folder)?;
        Poison::read(&folder)
    }

    fn make(
        data: &Dataset,
        split: &Split,
        seed: u64,
        arena: &[Configured],
        threats: &[PreparedAttack],
    ) -> Result<Self> {
        let mut taken = HashSet::new();
        let (mut edits, mut owners) = (Vec::new(), Vec::new());
        for config in arena {
            let threat = threats.iter().find(|threat| threat.label == config.label);
            let threat = threat.expect("every attack of an arena is among the suite's");
            let ctx = PoisonCtx { data, split, seed, taken: &taken };
            let new =
                threat.attack.poison(&ctx, &threat.goal).map_err(|e| e.during(format!("attack `{}`", threat.label)))?;
            check(&new, data, split, &taken)
                .map_err(|why| Error::invalid(format!("plugin `{}`", config.plugin), format!("`poison`: {why}")))
                .map_err(|error| error.during(format!("attack `{}`", threat.label)))?;
            taken.extend(new.iter().filter_map(|edit| edit.replaces));
            owners.extend(std::iter::repeat_n(threat, new.len()));
            edits.extend(new.into_iter().map(|edit| Poisoned { attack: threat.label.clone(), edit }));
        }
        let pixels = draw_canvases(&edits, &owners, data, seed)?;
        Poison::new(edits, pixels, arena, &data.index.digest, &split.heldout)
    }

    /// Edits of an arena and their canvases, with the digest that they make. It covers the data as
    /// well: `data_digest` is the hash of keys, captions, labels and image sizes of every row; and
    /// which rows are held out.
    pub fn new(
        edits: Vec<Poisoned>,
        pixels: Tensor,
        arena: &[Configured],
        data_digest: &str,
        heldout: &[DataRow],
    ) -> Result<Self> {
        let mut said = blake3::Hasher::new();
        said.update(data_digest.as_bytes());
        said.update(json(&heldout).as_bytes()).update(json(&arena).as_bytes()).update(json(&edits).as_bytes());
        let mut seen = blake3::Hasher::new();
        // In chunks: the canvases of large poison would lie in memory twice.
        for start in (0..edits.len()).step_by(CHUNK) {
            let count = CHUNK.min(edits.len() - start) as i64;
            seen.update(&images::bytes(&pixels.narrow(0, start as i64, count))?);
        }
        let digest = format!("{}-{}", &said.finalize().to_hex()[..16], &seen.finalize().to_hex()[..16]);
        Ok(Poison { edits, pixels, digest })
    }

    /// Writes to a folder beside the final one and renames it, so that a reader sees all or nothing.
    fn write(&self, folder: &Path, arena: &[Configured], threats: &[PreparedAttack]) -> Result<()> {
        let part = Part::new(folder)?;
        write_lines(&part.path("edits.jsonl"), &self.edits)?;
        let pixels = BTreeMap::from([("pixels".to_string(), self.pixels.shallow_clone())]);
        write_safetensors(&part.path("pixels.safetensors"), &pixels, &HashMap::new())?;
        let goals = threats.iter().map(|threat| (threat.label.clone(), threat.goal.clone())).collect();
        let manifest = Manifest { digest: self.digest.clone(), arena: arena.to_vec(), goals };
        write_json(&part.path("poison.json"), &manifest)?;
        part.finish_same()
    }

    fn read(folder: &Path) -> Result<Self> {
        let damaged = |error: Error| error.during("poison of the store; delete its folder");
        let manifest: Manifest = read_json(&folder.join("poison.json")).map_err(damaged)?;
        let edits = read_lines(&folder.join("edits.jsonl")).map_err(damaged)?;
        let (mut tensors, _) = read_safetensors(&folder.join("pixels.safetensors"))?;
        let missing = || Error::invalid(folder.display().to_string(), "holds no pixels; delete the folder");
        let pixels = tensors.remove("pixels").ok_or_else(missing)?;
        Ok(Poison { edits, pixels, digest: manifest.digest })
    }
}

/// Every edit names rows that exist and that the attack may touch.
fn check(edits: &[Edit], data: &Dataset, split: &Split, taken: &HashSet<DataRow>) -> std::result::Result<(), String> {
    let mut replaced = HashSet::new();
    for edit in edits {
        let image = if let ImageSource::Row(row) = edit.image { Some(row) } else { None };
        let why = match edit.replaces {
            _ if edit.class >= data.classes.len() => "is given a class that does not exist",
            _ if edit.caption.trim().is_empty() => "is given an empty caption",
            Some(row) if !data.contains(row) => "does not exist",
            _ if image.is_some_and(|row| !data.contains(row)) => "is given the image of a row that does not exist",
            Some(row) if !split.train.contains(row) => "is replaced, but held out",
            Some(row) if taken.contains(&row) || !replaced.insert(row) => "is replaced twice in one arena",
            _ => continue,
        };
        let row = edit.replaces.map_or("an added row".to_string(), |row| format!("row {row}"));
        return Err(format!("{row} {why}: {}", json(edit)));
    }
    Ok(())
}

/// Edits whose canvases are made together.
const CHUNK: usize = 256;

/// The canvas of every edit `[edits, 3, S, S]`: its image's, stamped where the edit says so.
/// `owners` holds the attack of each.
fn draw_canvases(edits: &[Poisoned], owners: &[&PreparedAttack], data: &Dataset, seed: u64) -> Result<Tensor> {
    let size = i64::from(data.canvas.size());
    let pixels = Tensor::zeros([edits.len() as i64, 3, size, size], (Kind::Uint8, tch::Device::Cpu));
    let mut start = 0;
    // Runs of edits of one attack.
    for run in edits.chunk_by(|one, next| one.attack == next.attack) {
        for edits in run.chunks(CHUNK) {
            let threat = owners[start];
            let drawn = draw_chunk(threat, edits, start as u64, data, seed)?;
            pixels.narrow(0, start as i64, edits.len() as i64).copy_(&drawn);
            start += edits.len();
        }
    }
    Ok(pixels)
}

/// The canvases of edits of one attack, the first of which is number `first` of the arena.
fn draw_chunk(threat: &PreparedAttack, edits: &[Poisoned], first: u64, data: &Dataset, seed: u64) -> Result<Tensor> {
    let canvas = |Poisoned { edit, .. }: &Poisoned| match &edit.image {
        ImageSource::Row(row) => data.canvas.gather(&[*row]),
        ImageSource::File(file) => Ok(threat.image(file, data.canvas.size())?.unsqueeze(0)),
    };
    let canvases = Tensor::cat(&edits.iter().map(canvas).collect::<Result<Vec<_>>>()?, 0);
    let places: Vec<i64> = (0..).zip(edits).filter(|(_, edit)| edit.edit.stamped).map(|(place, _)| place).collect();
    if places.is_empty() {
        return Ok(canvases);
    }
    let keys: Vec<u64> = places.iter().map(|&place| draw::hash(seed, "stamp/train", &[first + place as u64])).collect();
    let places = Tensor::from_slice(&places);
    let stamped = threat.stamp(&canvases.index_select(0, &places), &keys)?;
    Ok(canvases.index_copy(0, &places, &stamped))
}
