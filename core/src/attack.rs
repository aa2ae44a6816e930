//! Attacks: the attacker's goal, and the list of edits that poisons the data set.
//!
//! [`Goal`] and [`Edit`] are the ground truth. Attacks make them and evaluators read them; no type
//! that a defense receives leads to them. `attack/goal.rs` lists the kinds of goals,
//! `attack/backdoor.rs` chooses the rows and captions of a backdoor. Read `poison.rs` next: it
//! turns the edits of an arena into training data.

mod backdoor;
mod eligible;
mod goal;

pub use backdoor::{Backdoor, Captions, Rows};
pub use goal::{Goal, Relabel, Stamped, Target};

use crate::data::files::json;
use crate::data::{DataRow, Dataset, Split, regular, words};
use crate::draw::{self, Rng};
use crate::{Error, Progress, Result, build};
use rand::seq::IndexedRandom;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use tch::{Device, Tensor};

/// An attack on a set of image-caption pairs.
pub trait Attack: Send {
    /// The attacker's goal. It depends on the seed alone, so it is the same in every arena of a
    /// seed, `clean` included.
    fn goal(&self, ctx: &PoisonCtx) -> Result<Goal>;

    /// The edits that poison the data for `goal`.
    fn poison(&self, ctx: &PoisonCtx, goal: &Goal) -> Result<Vec<Edit>>;

    /// Computes and stores anything that takes long, once per data set and seed. Called before
    /// `goal`, `poison` and `stamp`.
    fn prepare(&mut self, _ctx: &PoisonCtx, _workshop: &PrepareContext) -> Result<()> {
        Ok(())
    }

    /// Files that the attack reads besides the data. Their contents are part of the attack's
    /// identity. Most attacks read none.
    ///
    /// # Errors
    /// If the configuration does not name a file that the attack needs.
    fn reads(&self) -> Result<Vec<PathBuf>> {
        Ok(Vec::new())
    }

    /// Stamps the trigger onto images, u8 `[N, 3, S, S]`; training and test images are stamped the
    /// same way. `keys` holds one seed per image for random draws. An attack without a trigger
    /// returns the images unchanged.
    fn stamp(&self, canvas: &Tensor, _keys: &[u64]) -> Result<Tensor> {
        Ok(canvas.shallow_clone())
    }

    /// Inserts the text trigger into a caption or prompt, as at test time; `key` seeds its draws.
    /// An attack without a text trigger returns the caption unchanged.
    fn apply_text_trigger(&self, caption: &str, _key: u64) -> Result<String> {
        Ok(caption.to_string())
    }

    /// An image that the attack supplies ([`ImageSource::File`]), as a canvas u8 `[3, size, size]`.
    ///
    /// # Errors
    /// If there is no such image, or it cannot be decoded.
    fn image(&self, file: &str, _size: u32) -> Result<Tensor> {
        Err(Error::invalid(format!("image `{file}`"), "this attack supplies no images"))
    }

    /// The defense whose public configuration the attack was given; empty if the attack knows of no
    /// defense. Tables mark such an attack.
    fn adapted_to(&self) -> String {
        String::new()
    }
}

/// One change to the training data: a pair that is added, or that replaces another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edit {
    /// The training row that this pair replaces; `None` adds a pair.
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
    /// A file that the attack supplies ([`Attack::image`]).
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

    /// A training row that keeps its image, unstamped, and gets a new caption.
    pub fn replace(row: DataRow, caption: impl Into<String>, class: u32) -> Edit {
        Edit { replaces: Some(row), ..Edit::add(row, caption, class) }
    }

    /// The same, stamped.
    pub fn stamped(self) -> Edit {
        Edit { stamped: true, ..self }
    }
}

/// Everything that an attack may read: the data, its split, and a seed.
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

/// Part of the key of every file that attacks prepare. Raise it when the same input would produce
/// other files.
const FORMAT: u32 = 1;

/// Where an attack prepares files in [`Attack::prepare`].
pub struct PrepareContext<'a> {
    /// Folder of the store, which persists and is shared by trials.
    pub store: &'a Path,
    /// Device to compute tensors on.
    pub device: Device,
    /// Receives progress messages.
    pub progress: &'a dyn Progress,
}

impl PrepareContext<'_> {
    /// Path in the store for a file that `attack` prepares. It depends on the attack's
    /// configuration, the files that it `reads`, and the data and seed of `ctx`.
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
        let bytes = regular::read(file, regular::WEIGHTS).map_err(Error::io(file))?;
        hasher.update(&(bytes.len() as u64).to_le_bytes()).update(&bytes);
    }
    Ok(if files.is_empty() { String::new() } else { hasher.finalize().to_hex().to_string() })
}

impl PoisonCtx<'_> {
    /// The attacker's random stream for one purpose.
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

    /// Training rows whose captions may be mined for a class (they name it), and that no attack has
    /// edited yet.
    pub fn free_rows_naming(&self, class: u32) -> impl Iterator<Item = DataRow> + '_ {
        let free = |row: &DataRow| self.split.train.contains(*row) && !self.taken.contains(row);
        self.data.rows_naming(class).filter(free)
    }

    /// Training rows with an image of a class, as an attacker would find them: by label or, if no
    /// row has a label, by caption.
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

    /// Checks that a text trigger reaches the model.
    ///
    /// # Errors
    /// If it holds no word, or a word that a closed vocabulary lacks (the tokenizer would drop it);
    /// the error names `key`.
    pub fn check_words(&self, key: &str, trigger: &str) -> Result<()> {
        let words = words(trigger);
        let lacks = |word: &&String| !self.data.vocabulary.is_empty() && !self.data.vocabulary.contains(word);
        match words.iter().find(lacks) {
            Some(word) => Err(Error::invalid(
                format!("key `{key}`"),
                format!("`{word}` is not in the vocabulary of this data, so no model would see it"),
            )),
            None if words.is_empty() => Err(Error::invalid(format!("key `{key}`"), "holds no word")),
            None => Ok(()),
        }
    }

    /// The number of rows in a share of the training rows.
    ///
    /// # Errors
    /// If it is 0, or more than the `available` rows that can be poisoned; the error names `key`.
    pub fn share(&self, key: &str, rate: f64, available: usize) -> Result<usize> {
        self.number(key, (rate * self.split.train.len() as f64).round() as usize, available)
    }

    /// Checks a number of training rows.
    ///
    /// # Errors
    /// If it is 0, or more than the `available` rows that can be poisoned; the error names `key`.
    pub fn number(&self, key: &str, count: usize, available: usize) -> Result<usize> {
        let rows = self.split.train.len();
        let why = || format!("asks for {count} of {rows} training rows; from 1 to {available} can be poisoned");
        let error = || Error::invalid(format!("key `{key}`"), why());
        (1..=available).contains(&count).then_some(count).ok_or_else(error)
    }

    /// Captions of training rows that name a class, as an attacker would mine them. A caption that
    /// names two classes is mined for both; if the classes are named apart from the data, for
    /// neither.
    ///
    /// # Errors
    /// If no caption names the class.
    pub fn captions_naming(&self, class: u32) -> Result<Vec<&str>> {
        self.mined(class, |_| true, "no training caption names it, so none can be mined")
    }

    /// Captions that name a class and mention no other class.
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

    /// Classes that at least one training caption names.
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

    /// The class with this name; `"random"` draws one from the seed among the classes that captions
    /// name.
    pub fn class(&self, name: &str) -> Result<u32> {
        self.class_with(name, 1)
    }

    /// [`class`](PoisonCtx::class) for an attack that needs `captions` different captions of the
    /// class if the classes are named apart from the data.
    pub fn class_with(&self, name: &str, captions: usize) -> Result<u32> {
        if name != "random" {
            return self.data.classes.find(name);
        }
        let classes = self.eligible(captions)?;
        let drawn = classes.choose(&mut self.rng("class")).copied();
        drawn.ok_or_else(|| Error::invalid("attack", "no caption names any class; check the field or column of the class; pairs without labels need the key `classes` in the suite"))
    }
}
