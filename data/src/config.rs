//! The `[data]` table of a suite: which pairs there are, in words. Each kind is opened by a module
//! of its own (`csv.rs`, `webdataset.rs`, `world.rs`, `labelled.rs`), and `open.rs` chooses among
//! them.

use crate::downstream::Options;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Where the pairs come from: the `[data]` table of a suite.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum DataConfig {
    /// The embedded procedural world: needs no files.
    World(World),
    /// img2dataset/webdataset tar shards.
    Webdataset(Webdataset),
    /// A CSV or TSV file with a path and a caption column, as CyCLIP, CleanCLIP and RoCLIP read.
    Csv(Csv),
    /// The test images of a downstream set, with prompts for captions: what `gauntlet eval` draws goals from.
    Labelled(Labelled),
}

impl DataConfig {
    /// What the pairs are, in a few words.
    pub fn in_words(&self) -> String {
        match self {
            DataConfig::World(world) => {
                format!("the world of {} pairs and {} classes, seed {}", world.pairs, world.classes, world.seed)
            }
            DataConfig::Webdataset(shards) => shards.path.display().to_string(),
            DataConfig::Csv(table) => table.path.display().to_string(),
            DataConfig::Labelled(set) => format!("{} in {}", set.set, set.path.display()),
        }
    }

    /// The source that is held out, where there is one.
    pub fn validation(&self) -> Option<&DataConfig> {
        match self {
            DataConfig::Webdataset(shards) => shards.validation.as_deref(),
            DataConfig::Csv(table) => table.validation.as_deref(),
            DataConfig::World(_) | DataConfig::Labelled(_) => None,
        }
    }
}

/// The embedded procedural world: needs no files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct World {
    /// Number of image-caption pairs, training and held-out ones together.
    #[schemars(range(min = 100, max = 10_000_000))]
    pub pairs: u32,
    /// Number of classes. Up to 10 are plain shapes; 11 to 20 add the same shapes with stripes.
    #[schemars(range(min = 2, max = 20))]
    pub classes: u32,
    /// Seed of the world itself. The seeds of trials split and poison the same world in different ways.
    pub seed: u64,
    /// Colours that the things of one class come in. 8, all there are: colour tells nothing about the class.
    #[schemars(range(min = 1, max = 8))]
    pub colours: u32,
    /// Chance of a caption that may also tell colours, size and place; the other captions only name the thing.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub attributes: f64,
    /// Standard deviation of the noise on every pixel, where 1 is the distance from black to white.
    #[schemars(range(min = 0.0, max = 0.5))]
    pub noise: f64,
}

impl Default for World {
    fn default() -> Self {
        World { pairs: 9000, classes: 20, seed: 0, colours: 2, attributes: 0.5, noise: 0.06 }
    }
}

/// Tar shards of images with captions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Webdataset {
    /// Folder of `.tar` shards, sub-folders included (read in the order of their names); one `.tar`
    /// file; or a pattern in braces as webdataset writes it: `data/{00000..00331}.tar`.
    pub path: PathBuf,
    /// Field of a sample's JSON that is its class label; empty to take the `.cls` member (a number
    /// or a word) where there is one. Without labels a share of all pairs is held out.
    pub class_field: String,
    /// JSON file of class names and prompt templates; empty to let the labels name themselves.
    pub class_file: PathBuf,
    /// Field of a sample's JSON that is its caption; "auto" takes the `.txt` where there is one,
    /// otherwise the field `caption`.
    pub caption: String,
    /// Pairs that are held out, a source of their own; without it a share of the pairs is
    /// (`heldout`). It is read like any `[data]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation: Option<Box<DataConfig>>,
    /// Share of rows that may be unusable (corrupt, without caption, ..) before the data set is refused.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub max_bad: f64,
    /// What becomes of a data set with shards that are cut short, damaged or empty, of which nobody
    /// can say how many rows they held: "refuse" it, or "allow" them and take the samples before
    /// the cut.
    #[serde(skip_serializing_if = "CutShards::refused")]
    #[schemars(extend("default" = "refuse"))]
    pub cut_shards: CutShards,
}

impl Default for Webdataset {
    fn default() -> Self {
        let (path, class_field, class_file) = Default::default();
        let (cut_shards, validation) = Default::default();
        Webdataset { path, class_field, class_file, caption: "auto".into(), validation, max_bad: 0.01, cut_shards }
    }
}

/// What becomes of a data set with shards that are not whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CutShards {
    /// It is an error, which names them all.
    #[default]
    Refuse,
    /// The samples before the cut are read.
    Allow,
}

impl CutShards {
    /// Whether it stands at its default, which is not written down: digests cover what is.
    fn refused(&self) -> bool {
        *self == CutShards::Refuse
    }
}

/// A table of image paths and captions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Csv {
    /// The table; its first line names the columns.
    pub path: PathBuf,
    /// Column of image paths, relative to `root`.
    pub path_column: String,
    /// Column of captions.
    pub caption_column: String,
    /// Column of class labels; empty for none. Without labels a share of all pairs is held out.
    pub class_column: String,
    /// What separates the columns: one character, or "tab".
    pub delimiter: String,
    /// What quotes mean.
    #[serde(skip_serializing_if = "Quoting::is_double")]
    #[schemars(extend("default" = "double"))] // which schemars does not see, as it is not serialised
    pub quoting: Quoting,
    /// Folder that holds every image; empty for the table's own folder.
    pub root: PathBuf,
    /// JSON file of class names and prompt templates; empty to let the labels name themselves.
    pub class_file: PathBuf,
    /// Pairs that are held out, a source of their own; without it a share of the pairs is
    /// (`heldout`). It is read like any `[data]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation: Option<Box<DataConfig>>,
    /// Share of rows that may be unusable (missing, corrupt, without caption, ..) before the data set is refused.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub max_bad: f64,
}

/// What the character `"` means in a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Quoting {
    /// A field within quotes may hold delimiters and line ends; a quote in it is doubled.
    #[default]
    Double,
    /// Quotes are characters as any other: each line is a row.
    None,
}

impl Quoting {
    fn is_double(&self) -> bool {
        *self == Quoting::Double
    }
}

impl Default for Csv {
    fn default() -> Self {
        let (path, class_column, quoting, root, class_file) = Default::default();
        let (path_column, caption_column, delimiter) = ("image".into(), "caption".into(), ",".into());
        let (validation, max_bad) = (None, 0.01);
        Csv {
            path,
            path_column,
            caption_column,
            class_column,
            delimiter,
            quoting,
            root,
            class_file,
            validation,
            max_bad,
        }
    }
}

/// The test images of a downstream set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Labelled {
    /// Which set (`gauntlet data list`).
    pub set: String,
    /// Its folder.
    pub path: PathBuf,
    /// How it is read.
    pub options: Options,
    /// Names of further classes that an attack may want, of which there are no images.
    pub classes: Vec<String>,
}
