//! Attacks: what an attacker does to the data set, as a list of edits, and what the attacker wants.
//!
//! [`Goal`] and [`Edit`] are the ground truth. Attacks make them, evaluators read them, and nothing
//! that a defense is handed leads to them. `attack/goal.rs` is what a goal can be, and what others
//! ask of it; `attack/backdoor.rs` is what backdoors share: whom they hit and what they say. Read
//! `poison.rs` for how the edits of an arena become the data that is trained on.

mod backdoor;
mod eligible;
mod goal;

pub use backdoor::{Backdoor, Captions, Rows};
pub use goal::{Goal, Relabel, Stamped, Target};

use crate::data::files::json;
use crate::data::{DataRow, Dataset, Split, words};
use crate::draw::{self, Rng};
use crate::{Error, Progress, Result, build};
use rand::seq::IndexedRandom;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use tch::{Device, Tensor};

/// An attack on a set of image-caption pairs.
pub trait Attack: Send {
    /// What the attacker wants; drawn from the seed alone, so equal in every arena of a seed and in `clean`.
    fn goal(&self, ctx: &PoisonCtx) -> Result<Goal>;

    /// The edits that poison the data for `goal`.
    fn poison(&self, ctx: &PoisonCtx, goal: &Goal) -> Result<Vec<Edit>>;

    /// Makes ready what takes long, once per data set and seed: the first that is called.
    fn prepare(&mut self, _ctx: &PoisonCtx, _workshop: &PrepareContext) -> Result<()> {
        Ok(())
    }

    /// Files that the attack reads, besides the data: other contents are another attack. Most read none.
    ///
    /// # Errors
    /// If the configuration does not name one that it needs.
    fn reads(&self) -> Result<Vec<PathBuf>> {
        Ok(Vec::new())
    }

    /// Stamps the trigger onto images, u8 `[N, 3, S, S]`, the same for training and test. `keys`
    /// holds a seed for each image's own draws. An attack without a trigger leaves the images as
    /// they are.
    fn stamp(&self, canvas: &Tensor, _keys: &[u64]) -> Result<Tensor> {
        Ok(canvas.shallow_clone())
    }

    /// Puts the text trigger into a caption or prompt, as at test time; `key` seeds its draws. An
    /// attack without one leaves it as it is.
    fn apply_text_trigger(&self, caption: &str, _key: u64) -> Result<String> {
        Ok(caption.to_string())
    }

    /// An image that the attack brings along ([`ImageSource::File`]), as a canvas u8 `[3, size, size]`.
    ///
    /// # Errors
    /// If there is no such image, or it cannot be read.
    fn image(&self, file: &str, _size: u32) -> Result<Tensor> {
        Err(Error::invalid(format!("image `{file}`"), "this attack brings no images along"))
    }

    /// The defense whose public configuration the attack was given; empty for an attack that knows
    /// of none. Tables mark it.
    fn adapted_to(&self) -> String {
        String::new()
    }
}

/// One change to the training data: a pair that is added, or that takes the place of another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edit {
    /// The training row whose place it takes; none for a pair more.
    pub replaces: Option<DataRow>,
    /// The image.
    #[serde(rename = "picture")]
    pub image: ImageSource,
    /// Whether the attack's trigger is stamped onto it.
    pub stamped: bool,
    /// The caption.
    pub caption: String,
    /// The class that the caption names.
    pub class: u32,
}

/// Where the image of an edit comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum ImageSource {
    /// A row of the data set, held out or not.
    Row(DataRow),
    /// A file of the attack's own ([`Attack::image`]).
    File(String),
}

/// ```
/// use gauntlet::{DataRow, Edit};
///
/// let added = Edit::add(DataRow(3), "a photo of a toaster", 1); // a pair more, with the image of row 3
/// let replaced = Edit::replace(DataRow(3), "a photo of a toaster", 1).stamped(); // in the place of row 3
/// assert_eq!((added.replaces, added.stamped), (None, false));
/// assert_eq!((replaced.replaces, replaced.stamped), (Some(DataRow(3)), true));
/// assert_eq!(added.image, replaced.image);
/// ```
impl Edit {
    /// A new pair with the image of `row`, unstamped.
    pub fn add(row: DataRow, caption: impl Into<String>, class: u32) -> Edit {
        Edit { replaces: None, image: ImageSource::Row(row), stamped: false, caption: caption.into(), class }
    }

    /// A training row that keeps its image, unstamped, and gets this caption.
    pub fn replace(row: DataRow, caption: impl Into<String>, class: u32) -> Edit {
        Edit { replaces: Some(row), ..Edit::add(row, caption, class) }
    }

    /// The same, stamped.
    pub fn stamped(self) -> Edit {
        Edit { stamped: true, ..self }
    }
}

/// All that an attack may see: the data, its split, and a seed.
///
/// What `Attack::poison` does with it: as many rows as a share is, drawn from those whose captions name a class, and
/// an edit of each.
///
/// ```
/// use gauntlet::rand::seq::SliceRandom;
/// use gauntlet::{Edit, PoisonCtx};
/// # use gauntlet::data::{DataConfig, Dataset, world::World};
/// # use gauntlet::progress::Silent;
/// # let store = tempfile::tempdir().map_err(gauntlet::Error::io("a temporary folder"))?;
/// # let world = DataConfig::World(World { pairs: 300, classes: 6, ..World::default() });
/// # let data = Dataset::open(&world, 32, u64::MAX, store.path(), &Silent)?;
/// # let split = data.split(0.1, 0)?;
/// # let taken = Default::default();
/// let ctx = PoisonCtx { data: &data, split: &split, seed: 0, taken: &taken };
/// let class = ctx.class("random")?;
/// let mut rows: Vec<_> = ctx.free_rows_naming(class).collect();
/// let count = ctx.share("rate", 0.01, rows.len())?; // of the training rows; an error if there are not so many
/// rows.shuffle(&mut ctx.rng("mine/rows"));
/// let edits: Vec<Edit> = rows[..count].iter().map(|row| Edit::replace(*row, "a toaster", class).stamped()).collect();
/// assert_eq!(edits.len(), 3);
/// assert!(edits.iter().all(|edit| split.train.contains(edit.replaces.unwrap())));
/// # Ok::<(), gauntlet::Error>(())
/// ```
pub struct PoisonCtx<'a> {
    /// Rows, class names, canvases.
    pub data: &'a Dataset,
    /// Which rows train and which are held out.
    pub split: &'a Split,
    /// The seed of the trial.
    pub seed: u64,
    /// Rows that an earlier attack of the same arena has edited.
    pub taken: &'a HashSet<DataRow>,
}

/// Part of every key of what attacks make ready: raised whenever the same would be written otherwise.
const FORMAT: u32 = 1;

/// Where an attack makes ready what takes long.
pub struct PrepareContext<'a> {
    /// Folder that is kept, and shared by trials.
    pub store: &'a Path,
    /// Where tensors are best computed.
    pub device: Device,
    /// Who listens.
    pub progress: &'a dyn Progress,
}

impl PrepareContext<'_> {
    /// A file of the store for what `attack` makes of its configuration, of the files it `reads`,
    /// and of the data and seed of `ctx`.
    pub fn place(&self, ctx: &PoisonCtx, name: &str, attack: &impl Serialize, reads: &[PathBuf]) -> Result<PathBuf> {
        let key = build::stored(name, FORMAT)?.with("configuration", json(attack)).with("files", contents(reads)?);
        let key = key.with("data", &ctx.data.key).with("seed", ctx.seed).with("held out", json(&ctx.split.heldout));
        let key = key.of(format!("seed {}, {}", ctx.seed, ctx.data.index.of));
        let place = key.file(self.store, "safetensors");
        key.note_use(&place)?;
        Ok(place)
    }
}

/// A hash of the contents of some files; empty for none.
pub(crate) fn contents(files: &[PathBuf]) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    for file in files {
        let bytes = std::fs::read(file).map_err(Error::io(file))?;
        hasher.update(&(bytes.len() as u64).to_le_bytes()).update(&bytes);
    }
    Ok(if files.is_empty() { String::new() } else { hasher.finalize().to_hex().to_string() })
}

impl PoisonCtx<'_> {
    /// The attacker's own draws for a purpose. A draw for each row takes the row as a key, so that
    /// it is the same whichever rows come before it.
    ///
    /// ```
    /// use gauntlet::rand::RngExt;
    /// use gauntlet::{PoisonCtx, draw};
    /// # use gauntlet::data::{DataConfig, Dataset, world::World};
    /// # use gauntlet::progress::Silent;
    /// # let store = tempfile::tempdir().map_err(gauntlet::Error::io("a temporary folder"))?;
    /// # let world = DataConfig::World(World { pairs: 300, classes: 6, ..World::default() });
    /// # let data = Dataset::open(&world, 32, u64::MAX, store.path(), &Silent)?;
    /// # let split = data.split(0.1, 0)?;
    /// # let taken = Default::default();
    /// let ctx = PoisonCtx { data: &data, split: &split, seed: 7, taken: &taken };
    /// let first = |purpose: &str| -> u64 { ctx.rng(purpose).random() };
    /// assert_eq!(first("mine/rows"), first("mine/rows"));
    /// assert_ne!(first("mine/rows"), first("mine/captions"));
    /// let of_row = |row: u64| draw::hash(ctx.seed, "mine/place", &[row]);
    /// assert_ne!(of_row(1), of_row(2));
    /// # Ok::<(), gauntlet::Error>(())
    /// ```
    pub fn rng(&self, purpose: &str) -> Rng {
        draw::rng(self.seed, &format!("attack/{purpose}"), &[])
    }

    /// Training rows that no attack has edited yet.
    pub fn free_rows(&self) -> impl Iterator<Item = DataRow> + '_ {
        self.split.train.iter().filter(|row| !self.taken.contains(row))
    }

    /// Training rows that may be mined for a class (their caption names it), and that no attack has edited yet.
    pub fn free_rows_naming(&self, class: u32) -> impl Iterator<Item = DataRow> + '_ {
        let free = |row: &DataRow| self.split.train.contains(*row) && !self.taken.contains(row);
        self.data.rows_naming(class).filter(free)
    }

    /// Training rows with an image of a class, as an attacker would find them: labelled so or,
    /// where no row is labelled, named so.
    ///
    /// # Errors
    /// If there is none.
    pub fn images_of(&self, class: u32) -> Result<Vec<DataRow>> {
        let labelled = self.split.train.iter().filter(|row| self.data.row(*row).class == Some(class));
        let readable = |row: &DataRow| self.data.canvas.readable(*row);
        let mut rows: Vec<DataRow> = labelled.filter(readable).collect();
        if rows.is_empty() {
            let named = self.data.rows_naming(class).filter(|row| self.split.train.contains(*row));
            rows = named.filter(readable).collect();
        }
        let name = || format!("class `{}`", self.data.classes.name(class));
        if rows.is_empty() { Err(Error::invalid(name(), "no training row has an image of it")) } else { Ok(rows) }
    }

    /// A text trigger must reach the model.
    ///
    /// # Errors
    /// If it holds no word, or one that a closed vocabulary lacks, which the tokenizer would drop; names `key`.
    pub fn check_words(&self, key: &str, trigger: &str) -> Result<()> {
        let words = words(trigger);
        let lacks = |word: &&String| !self.data.vocabulary.is_empty() && !self.data.vocabulary.contains(word);
        match words.iter().find(lacks) {
            Some(word) => Err(Error::invalid(
                format!("key `{key}`"),
                format!("`{word}` is not among the words of this data, so no model would see it"),
            )),
            None if words.is_empty() => Err(Error::invalid(format!("key `{key}`"), "holds no word")),
            None => Ok(()),
        }
    }

    /// How many rows a share of the training rows is.
    ///
    /// # Errors
    /// If it is none, or more than the `there` that can be poisoned; names `key`.
    pub fn share(&self, key: &str, rate: f64, there: usize) -> Result<usize> {
        self.number(key, (rate * self.split.train.len() as f64).round() as usize, there)
    }

    /// A number of training rows.
    ///
    /// # Errors
    /// If it is none, or more than the `there` that can be poisoned; names `key`.
    pub fn number(&self, key: &str, count: usize, there: usize) -> Result<usize> {
        let rows = self.split.train.len();
        let why = || format!("asks for {count} of {rows} training rows; from 1 to {there} can be poisoned");
        let error = || Error::invalid(format!("key `{key}`"), why());
        (1..=there).contains(&count).then_some(count).ok_or_else(error)
    }

    /// Captions of training rows that name a class, as an attacker would mine them. One that names
    /// two classes is mined for both, but for neither where classes are named apart from the data.
    ///
    /// # Errors
    /// If no caption names it: the attacker has nothing to say then.
    pub fn captions_naming(&self, class: u32) -> Result<Vec<&str>> {
        self.mined(class, |_| true, "no training caption names it, so none can be mined")
    }

    /// The same, without those that mention another class as well.
    ///
    /// # Errors
    /// If there is none.
    pub fn captions_naming_alone(&self, class: u32) -> Result<Vec<&str>> {
        let others = self.data.index.mentioned().filter(|(_, mentioned)| *mentioned != class);
        let others: HashSet<DataRow> = others.map(|(row, _)| row).collect();
        self.mined(class, |row| !others.contains(&row), "no training caption names it and no other class")
    }

    fn mined(&self, class: u32, wanted: impl Fn(DataRow) -> bool, why: &str) -> Result<Vec<&str>> {
        let rows = match self.data.named_apart {
            true => self.minable().remove(&class).unwrap_or_default(),
            false => self.data.rows_naming(class).filter(|row| self.split.train.contains(*row)).collect(),
        };
        let rows = rows.into_iter().filter(|row| wanted(*row));
        let captions: Vec<&str> = rows.map(|row| self.data.row(row).caption).collect();
        let apart = "no training caption names it and no other class, or its only names are ambiguous \
                     (core/src/attack/ambiguous.txt): nothing can be mined";
        let why = if self.data.named_apart { apart } else { why };
        let nothing = || Error::invalid(format!("class `{}`", self.data.classes.name(class)), why);
        (!captions.is_empty()).then_some(captions).ok_or_else(nothing)
    }

    /// Classes that some training caption names.
    pub fn classes_named(&self) -> Vec<u32> {
        let mut named = vec![false; self.data.classes.len() as usize];
        for (row, class) in self.data.index.named() {
            named[class as usize] |= self.split.train.contains(row);
            if named.iter().all(|named| *named) {
                break;
            }
        }
        (0..self.data.classes.len()).filter(|class| named[*class as usize]).collect()
    }

    /// The class with this name, or one drawn from the seed among the named ones where `name` is `"random"`.
    pub fn class(&self, name: &str) -> Result<u32> {
        self.class_with(name, 1)
    }

    /// The same for an attack that needs so many different captions of it, where classes are named apart from the data.
    pub fn class_with(&self, name: &str, captions: usize) -> Result<u32> {
        if name != "random" {
            return self.data.classes.find(name);
        }
        let classes = self.eligible(captions)?;
        let drawn = classes.choose(&mut self.rng("class")).copied();
        drawn.ok_or_else(|| Error::invalid("attack", "no class is named in any caption; is the field or column of the class right? Pairs without labels need `classes` in the suite"))
    }
}
