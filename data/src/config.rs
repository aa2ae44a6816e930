//! The `[data]` table of a suite: the configuration of each kind of source. Each kind is opened by
//! its own module (`csv.rs`, `webdataset.rs`, `world.rs`, `labelled.rs`); `open.rs` chooses among
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
    /// A CSV or TSV file with a path and a caption column, the format of CyCLIP, CleanCLIP and
    /// RoCLIP.
    Csv(Csv),
    /// The test images of a downstream set, with prompts as captions: `gauntlet eval` draws goals
    /// from it.
    Labelled(Labelled),
}

impl DataConfig {
    /// A short description of the pairs.
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

    /// The held-out source, if there is one.
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
    /// Seed of the world itself. The seeds of trials split and poison the same world in different
    /// ways.
    pub seed: u64,
    /// Number of colours of the things of one class. With 8, the maximum, the colour tells nothing
    /// about the class.
    #[schemars(range(min = 1, max = 8))]
    pub colours: u32,
    /// Probability that a caption may also tell colours, size and place; the other captions only
    /// name the thing.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub attributes: f64,
    /// Standard deviation of the noise on every pixel, on a scale where black is 0 and white is 1.
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
    /// file; or a pattern in braces in the notation of webdataset: `data/{00000..00331}.tar`.
    pub path: PathBuf,
    /// Field of a sample's JSON that holds its class label; empty to use the `.cls` member (a
    /// number or a word) if there is one. Without labels a share of all pairs is held out.
    pub class_field: String,
    /// JSON file of class names and prompt templates; empty to use the labels as names.
    pub class_file: PathBuf,
    /// Field of a sample's JSON that holds its caption; "auto" uses the `.txt` if there is one,
    /// otherwise the field `caption`.
    pub caption: String,
    /// Held-out pairs from a separate source. Without it a share of the pairs is held out
    /// (`heldout`). It has the same keys as `[data]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation: Option<Box<DataConfig>>,
    /// Maximum share of unusable rows (corrupt, without caption, ..); above it the data set is
    /// refused.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub max_bad: f64,
    /// How to handle shards that are cut short, damaged or empty, whose number of rows is unknown:
    /// "refuse" the data set, or "allow" them and use the samples before the cut.
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

/// How to handle shards that are not complete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CutShards {
    /// An error that names all of them.
    #[default]
    Refuse,
    /// Reads the samples before the cut.
    Allow,
}

impl CutShards {
    /// Whether it has its default value. The default is not serialised, because digests cover the
    /// serialised text.
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
    /// The separator of the columns: one character, or "tab".
    pub delimiter: String,
    /// The meaning of quotes.
    #[serde(skip_serializing_if = "Quoting::is_double")]
    #[schemars(extend("default" = "double"))] // schemars omits it, as it is not serialised
    pub quoting: Quoting,
    /// Folder that holds every image; empty for the folder of the table.
    pub root: PathBuf,
    /// JSON file of class names and prompt templates; empty to use the labels as names.
    pub class_file: PathBuf,
    /// Held-out pairs from a separate source. Without it a share of the pairs is held out
    /// (`heldout`). It has the same keys as `[data]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation: Option<Box<DataConfig>>,
    /// Maximum share of unusable rows (missing, corrupt, without caption, ..); above it the data
    /// set is refused.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub max_bad: f64,
}

/// The meaning of the character `"` in a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Quoting {
    /// A quoted field may hold delimiters and line ends; a quote inside it is doubled.
    #[default]
    Double,
    /// Quotes are ordinary characters: each line is a row.
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
    /// Name of the set (`gauntlet data list`).
    pub set: String,
    /// Its folder.
    pub path: PathBuf,
    /// Options of its reader.
    pub options: Options,
    /// Names of further classes without images, for attacks that need them.
    pub classes: Vec<String>,
}
