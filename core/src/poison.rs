//! Poison: the edits of an arena and their canvases. It is made once per (data, arena, seed),
//! stored under its content key, and read by every trial, so all defenses read the same file.
//! `poison/arena.rs` holds its inputs, `poison/bundle.rs` exports it from the store.

mod arena;
pub mod bundle;
mod images;

pub use arena::Arena;
pub use images::bytes;

use crate::attack::{Attack, Edit, Goal, ImageSource, PoisonCtx, PrepareContext, contents};
use crate::data::files::{
    Part, changed, check_sums, json, read_json, read_lines, read_safetensors, write_json, write_lines,
    write_safetensors,
};
use crate::data::store::make_once;
use crate::data::{DataRow, Dataset, Split};
use crate::registry::{Configured, origin};
use crate::{Error, Progress, Result, build, draw};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::time::Instant;
use tch::{Kind, Tensor};

/// The arena that every suite has: the same goals, no edits. It gives the base rates.
pub const CLEAN: &str = "clean";

/// An attack and its goal in this seed; part of every arena, `clean` included.
pub struct PreparedAttack {
    /// Its label in the suite.
    pub label: String,
    /// The attack.
    pub attack: Box<dyn Attack>,
    /// Its goal.
    pub goal: Goal,
    /// Plugin, contents of its libraries, configuration, and contents of the files it reads: two
    /// attacks with equal identities stamp alike.
    pub(crate) identity: String,
}

impl PreparedAttack {
    /// The attacks of a suite, prepared, each with its configuration and goal; neither depends on
    /// the arena.
    pub fn all(
        configs: &[Configured],
        attacks: Vec<Box<dyn Attack>>,
        data: &Dataset,
        split: &Split,
        seed: u64,
        context: &PrepareContext,
    ) -> Result<Vec<PreparedAttack>> {
        let untouched = HashSet::new();
        let ctx = PoisonCtx { data, split, seed, taken: &untouched };
        let prepared = configs.iter().zip(attacks).map(|(config, attack)| {
            let prepared = PreparedAttack::one(config, attack, &ctx, context);
            prepared.map_err(|error| error.during(format!("attack `{}`", config.label)))
        });
        prepared.collect()
    }

    fn one(
        config: &Configured,
        mut attack: Box<dyn Attack>,
        ctx: &PoisonCtx,
        context: &PrepareContext,
    ) -> Result<PreparedAttack> {
        let contents = contents(&attack.reads()?)?;
        attack.prepare(ctx, context)?;
        let goal = attack.goal(ctx)?;
        goal.check_measurable(ctx.data, ctx.split)?;
        // A rebuilt library may behave differently under the same name; so may a library that the
        // configuration names.
        let libraries = origin::used(std::slice::from_ref(config));
        let libraries: String = libraries.iter().map(|library| format!(" {}", library.blake3)).collect();
        let identity = format!("{} {} {contents}{libraries}", config.plugin, json(&config.config));
        Ok(PreparedAttack { label: config.label.clone(), attack, goal, identity })
    }

    /// Stamps held-out rows as the attacker does at test time, u8 `[rows, 3, S, S]`.
    pub fn stamp_test(&self, data: &Dataset, rows: &[DataRow], seed: u64) -> Result<Tensor> {
        let keys: Vec<u64> = rows.iter().map(|&row| draw::hash(seed, "stamp/test", &[row.into()])).collect();
        self.stamp(&data.canvas.gather(rows)?, &keys)
    }

    /// Stamps images, u8 `[N, 3, S, S]`.
    pub(crate) fn stamp(&self, canvas: &Tensor, keys: &[u64]) -> Result<Tensor> {
        self.attack.stamp(canvas, keys).map_err(|error| error.during(format!("attack `{}`", self.label)))
    }

    /// Its stamp on two images of shades, u8 `[2, 3, size, size]`: equal triggers give equal
    /// results.
    fn sample(&self, size: u32) -> Result<Tensor> {
        let side = i64::from(size);
        let shades = Tensor::arange(2 * 3 * side * side, (Kind::Int64, tch::Device::Cpu)).remainder(251);
        self.stamp(&shades.to_kind(Kind::Uint8).view([2, 3, side, side]), &[1, 2])
    }

    /// Inserts the text trigger into caption or prompt number `number`, as the attacker does at
    /// test time.
    pub fn apply_test_trigger(&self, caption: &str, number: u64, seed: u64) -> Result<String> {
        let said = self.attack.apply_text_trigger(caption, draw::hash(seed, "say/test", &[number]));
        said.map_err(|error| error.during(format!("attack `{}`", self.label)))
    }

    /// The test image of a case, u8 `[3, S, S]`. `case` is its name in the results: a row number,
    /// or a file. `None` if the case is not an image.
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

    /// An image that the attack supplies, as a canvas u8 `[3, size, size]`.
    pub fn image(&self, file: &str, size: u32) -> Result<Tensor> {
        self.attack.image(file, size).map_err(|error| error.during(format!("attack `{}`", self.label)))
    }
}

/// The data of a trial and its poison, shared by all trials of a data set, arena and seed.
pub struct PreparedData {
    /// Rows, classes, canvases.
    pub data: Dataset,
    /// Which rows are held out.
    pub split: Split,
    /// The suite's attacks and their goals.
    pub attacks: Vec<PreparedAttack>,
    /// This arena's poison.
    pub poison: Poison,
}

/// One edit and the attack it belongs to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Poisoned {
    /// Label of the attack.
    pub attack: String,
    /// The edit.
    pub edit: Edit,
}

/// The poison of one arena and seed.
pub struct Poison {
    /// Every edit, in the order of the arena's attacks.
    pub edits: Vec<Poisoned>,
    /// Canvas of each edit, u8 `[edits, 3, S, S]`.
    pub pixels: Tensor,
    /// Two hashes joined by a dash. The first covers the data (without its clean pixels), the
    /// held-out rows, the edits and their configuration; the second covers the pixels of the
    /// poisoned rows.
    pub digest: String,
}

/// Part of every key. Raise it when the same poison would be written in another form, so that old
/// folders are not read.
const FORMAT: u32 = 5;

/// Digest and inputs, for the check of a stored folder.
const MANIFEST: &str = "poison.json";

const PIXELS: &str = "pixels.safetensors";

#[derive(Serialize, Deserialize)]
struct Manifest {
    digest: String,
    data_digest: String,
    heldout: Vec<DataRow>,
    arena: Vec<Configured>,
    goals: BTreeMap<String, Goal>,
}

impl Poison {
    /// Reads the poison of an arena from the store, or makes and stores it. `arena` holds the
    /// attacks that poison (none: `clean`).
    pub fn open(
        context: &PrepareContext,
        data: &Dataset,
        split: &Split,
        seed: u64,
        arena: &[Configured],
        prepared_attacks: &[PreparedAttack],
    ) -> Result<Self> {
        let labels: Vec<&str> = arena.iter().map(|config| config.label.as_str()).collect();
        let poisons = prepared_attacks.iter().filter(|prepared| labels.contains(&prepared.label.as_str()));
        let resolved: String = poisons.map(|prepared| format!("{} {}\n", prepared.label, prepared.identity)).collect();
        let key = build::stored("poison", FORMAT)?.with("data", &data.key).with("seed", seed).with("attacks", resolved);
        let named = if labels.is_empty() { "no attack".into() } else { labels.join(" + ") };
        let key = key.with("held out", json(&split.heldout)).of(format!("{named}, seed {seed}, {}", data.index.of));
        let folder = key.folder(context.store);
        let began = Instant::now();
        let make = || {
            let poison = Poison::make(context, data, split, seed, arena, prepared_attacks)?;
            poison.write(&folder, arena, prepared_attacks, &data.index.digest, &split.heldout)
        };
        match make_once(&folder, context.progress, make)? {
            false => tracing::info!("poison of seed {seed} found: {}", folder.display()),
            true => tracing::info!("poison of seed {seed} made in {:.1?}: {}", began.elapsed(), folder.display()),
        }
        key.note_use(&folder)?;
        let (poison, found) = Poison::read(&folder)?;
        match found.data_digest == data.index.digest && found.heldout == split.heldout && found.arena == arena {
            true => Ok(poison),
            false => Err(changed(&folder, MANIFEST, "it is poison of something else")),
        }
    }

    fn make(
        context: &PrepareContext,
        data: &Dataset,
        split: &Split,
        seed: u64,
        arena: &[Configured],
        prepared_attacks: &[PreparedAttack],
    ) -> Result<Self> {
        let mut taken = HashSet::new();
        let (mut edits, mut owners) = (Vec::new(), Vec::new());
        for config in arena {
            let prepared = prepared_attacks.iter().find(|prepared| prepared.label == config.label);
            let prepared = prepared.expect("every attack of an arena is among the suite's");
            let ctx = PoisonCtx { data, split, seed, taken: &taken };
            let new = prepared
                .attack
                .poison(&ctx, &prepared.goal)
                .map_err(|e| e.during(format!("attack `{}`", prepared.label)))?;
            check(&new, data, split, &taken)
                .map_err(|why| Error::plugin(&config.plugin, format!("`poison`: {why}")))
                .map_err(|error| error.during(format!("attack `{}`", prepared.label)))?;
            taken.extend(new.iter().filter_map(|edit| edit.replaces));
            owners.extend(std::iter::repeat_n(prepared, new.len()));
            edits.extend(new.into_iter().map(|edit| Poisoned { attack: prepared.label.clone(), edit }));
        }
        let pixels = draw_canvases(&edits, &owners, data, seed, context.progress)?;
        Poison::new(edits, pixels, arena, &data.index.digest, &split.heldout)
    }

    /// Edits of an arena, their canvases, and the digest of both. The digest also covers the
    /// held-out rows and, as `data_digest`, the hash of keys, captions, labels and image sizes of
    /// every row.
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
        // In chunks, so that memory does not hold the canvases of large poison twice.
        for start in (0..edits.len()).step_by(CHUNK) {
            let count = CHUNK.min(edits.len() - start) as i64;
            seen.update(&images::bytes(&pixels.narrow(0, start as i64, count))?);
        }
        let digest = format!("{}-{}", &said.finalize().to_hex()[..16], &seen.finalize().to_hex()[..16]);
        Ok(Poison { edits, pixels, digest })
    }

    /// Writes to a temporary folder and renames it, so that a reader sees all or nothing.
    fn write(
        &self,
        folder: &Path,
        arena: &[Configured],
        prepared_attacks: &[PreparedAttack],
        data_digest: &str,
        heldout: &[DataRow],
    ) -> Result<()> {
        let part = Part::new(folder)?;
        write_lines(&part.path("edits.jsonl"), &self.edits)?;
        let pixels = BTreeMap::from([("pixels".to_string(), self.pixels.shallow_clone())]);
        write_safetensors(&part.path(PIXELS), &pixels, &HashMap::new())?;
        let goals = prepared_attacks.iter().map(|prepared| (prepared.label.clone(), prepared.goal.clone())).collect();
        let (digest, data_digest) = (self.digest.clone(), data_digest.to_string());
        let manifest = Manifest { digest, data_digest, heldout: heldout.to_vec(), arena: arena.to_vec(), goals };
        write_json(&part.path(MANIFEST), &manifest)?;
        // The pixels carry their own hash, and the digest covers them.
        part.finish_same(&[PIXELS])
    }

    fn read(folder: &Path) -> Result<(Self, Manifest)> {
        check_sums(folder)?;
        let damaged = |error: Error| error.during("poison of the store; delete its folder");
        let manifest: Manifest = read_json(&folder.join(MANIFEST)).map_err(damaged)?;
        let edits = read_lines(&folder.join("edits.jsonl")).map_err(damaged)?;
        let (mut tensors, _) = read_safetensors(&folder.join(PIXELS)).map_err(damaged)?;
        let pixels = tensors.remove("pixels").ok_or_else(|| changed(folder, PIXELS, "it holds no pixels"))?;
        let poison = Poison::new(edits, pixels, &manifest.arena, &manifest.data_digest, &manifest.heldout)?;
        if poison.digest != manifest.digest {
            let how = format!("edits and pixels make digest {}, not {}", poison.digest, manifest.digest);
            return Err(changed(folder, MANIFEST, &how));
        }
        Ok((poison, manifest))
    }

    /// Checks a folder of the store: that its files are as they were written, and make the digest
    /// that it states.
    ///
    /// # Errors
    /// Names the first file that was changed.
    pub fn check_stored(folder: &Path) -> Result<()> {
        Poison::read(folder).map(drop)
    }
}

/// Checks that every edit names rows that exist and that the attack may edit.
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

/// Edits per chunk of canvases.
const CHUNK: usize = 256;

/// The canvas of every edit `[edits, 3, S, S]`, stamped if the edit asks for it. `owners` holds the
/// attack of each edit.
fn draw_canvases(
    edits: &[Poisoned],
    owners: &[&PreparedAttack],
    data: &Dataset,
    seed: u64,
    progress: &dyn Progress,
) -> Result<Tensor> {
    let size = i64::from(data.canvas.size());
    let pixels = Tensor::zeros([edits.len() as i64, 3, size, size], (Kind::Uint8, tch::Device::Cpu));
    let mut start = 0;
    // Consecutive edits of one attack.
    for run in edits.chunk_by(|one, next| one.attack == next.attack) {
        for edits in run.chunks(CHUNK) {
            let prepared = owners[start];
            let drawn = draw_chunk(prepared, edits, start as u64, data, seed)?;
            pixels.narrow(0, start as i64, edits.len() as i64).copy_(&drawn);
            start += edits.len();
            progress.check_stopped()?;
            progress.report("poison", start as u64, pixels.size()[0] as u64, "images");
        }
    }
    Ok(pixels)
}

/// The canvases of consecutive edits of one attack; `first` is the arena-wide number of the first
/// edit.
fn draw_chunk(prepared: &PreparedAttack, edits: &[Poisoned], first: u64, data: &Dataset, seed: u64) -> Result<Tensor> {
    let canvas = |Poisoned { edit, .. }: &Poisoned| match &edit.image {
        ImageSource::Row(row) => data.canvas.gather(&[*row]),
        ImageSource::File(file) => Ok(prepared.image(file, data.canvas.size())?.unsqueeze(0)),
    };
    let canvases = Tensor::cat(&edits.iter().map(canvas).collect::<Result<Vec<_>>>()?, 0);
    let places: Vec<i64> = (0..).zip(edits).filter(|(_, edit)| edit.edit.stamped).map(|(place, _)| place).collect();
    if places.is_empty() {
        return Ok(canvases);
    }
    let keys: Vec<u64> = places.iter().map(|&place| draw::hash(seed, "stamp/train", &[first + place as u64])).collect();
    let places = Tensor::from_slice(&places);
    let stamped = prepared.stamp(&canvases.index_select(0, &places), &keys)?;
    Ok(canvases.index_copy(0, &places, &stamped))
}
