//! Image-caption pairs: rows, their classes, their canvases, and which of them are held out.
//!
//! The road: a [`Source`] (tar shards, a table, the embedded world) is read once, row by row, into the canvas cache
//! (`data/canvas.rs`); from then on a [`Dataset`] is rows in memory and pixels in a memory-mapped file. `data/load.rs`
//! turns them into batches.

pub mod augment;
pub mod canvas;
pub mod csv;
pub mod eda;
pub mod load;
pub mod tokenize;
pub mod webdataset;
pub mod world;

use crate::{Error, Result, draw};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::OnceLock;

/// Where the pairs come from: the `[data]` table of a suite.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum DataConfig {
    /// The embedded procedural world: needs no files.
    World(world::World),
    /// img2dataset/webdataset tar shards.
    Webdataset(webdataset::Webdataset),
    /// A CSV or TSV file with a path and a caption column, as CyCLIP, CleanCLIP and RoCLIP read.
    Csv(csv::Csv),
}

impl DataConfig {
    /// Opens the source: checks paths, reads indexes and tables, decodes nothing.
    pub fn open(&self) -> Result<Box<dyn Source>> {
        Ok(match self {
            DataConfig::World(world) => Box::new(world.open()?),
            DataConfig::Webdataset(shards) => Box::new(shards.open()?),
            DataConfig::Csv(table) => Box::new(table.open()?),
        })
    }
}

/// Pairs in a fixed order, each read on demand and only while the canvas cache is built. Shared by reading threads.
#[expect(clippy::len_without_is_empty, reason = "an empty source is refused when it is opened")]
pub trait Source: Sync {
    /// Number of rows, bad ones included.
    fn len(&self) -> usize;

    /// Changes whenever what is read could change: the configuration, and names, sizes and modification times of files.
    fn fingerprint(&self) -> String;

    /// Reads one row: caption, label, and the picture resized and centre-cropped to u8 `[3, size, size]`.
    fn read(&self, row: usize, size: u32) -> std::result::Result<Pair, BadRow>;

    /// Class names and prompt templates where the source knows them; otherwise the sorted labels name themselves.
    fn classes(&self) -> Result<Option<ClassFile>>;

    /// The share of bad rows (0 to 1) above which the data set is refused.
    fn max_bad(&self) -> f64;

    /// Synonyms for EDA: WordNet's, but for a closed vocabulary.
    fn synonyms(&self) -> eda::Synonyms {
        eda::Synonyms::wordnet()
    }

    /// The closed word list of a source that has one.
    fn vocabulary(&self) -> Vec<String> {
        Vec::new()
    }
}

/// One pair as its source gives it.
pub struct Pair {
    /// What a person would call the row: shard and key, or table and line.
    pub name: String,
    /// The caption, trimmed, not empty.
    pub caption: String,
    /// The class label, where the source has one for this row.
    pub label: Option<String>,
    /// The canvas: planar RGB, `3 * size * size` bytes.
    pub canvas: Vec<u8>,
    /// Hash of the picture's bytes as they lie on disk.
    pub source_hash: [u8; 32],
}

/// A row that cannot be used, and why; found while the canvas cache is built and dropped for every trial alike.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BadRow {
    /// What a person would call the row.
    pub name: String,
    /// What is wrong with it.
    pub why: String,
}

/// A usable row of a data set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// What a person would call the row.
    pub name: String,
    /// Its caption.
    pub caption: String,
    /// Its class, an index into [`Classes`].
    pub class: Option<u32>,
    /// Hash (hexadecimal) of the picture's bytes as they lie on disk.
    pub source_hash: String,
}

/// The usable rows of a data set, in source order, and their canvases.
pub struct Dataset {
    /// Rows that can be used.
    pub rows: Vec<Row>,
    /// Class names and prompt templates.
    pub classes: Classes,
    /// Synonyms for EDA.
    pub synonyms: eda::Synonyms,
    /// The closed word list of the world; empty for real data.
    pub vocabulary: Vec<String>,
    /// Pixels, one canvas a row.
    pub canvas: canvas::Canvas,
    /// Content key of the canvas cache.
    pub key: String,
    /// Rows naming each class, found on first use.
    naming: OnceLock<Vec<Vec<u32>>>,
}

impl Dataset {
    pub(crate) fn new(
        rows: Vec<Row>,
        classes: Classes,
        source: &dyn Source,
        canvas: canvas::Canvas,
        key: String,
    ) -> Self {
        let (synonyms, vocabulary) = (source.synonyms(), source.vocabulary());
        Dataset { rows, classes, synonyms, vocabulary, canvas, key, naming: OnceLock::new() }
    }

    /// Rows (held out or not) whose caption names `class` by any of its names.
    pub fn rows_naming(&self, class: u32) -> &[u32] {
        let index = || {
            let mut naming = vec![Vec::new(); self.classes.len() as usize];
            for (row, number) in self.rows.iter().zip(0..) {
                for class in self.classes.named_in(&row.caption) {
                    naming[class as usize].push(number);
                }
            }
            naming
        };
        &self.naming.get_or_init(index)[class as usize]
    }

    /// Holds out `share` of every class (at least one row of each), drawn from the seed; rows without a class all train.
    ///
    /// # Errors
    /// If no row has a class: there would be nothing to test on.
    pub fn split(&self, share: f64, seed: u64) -> Result<Split> {
        let mut by_class: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for (row, number) in self.rows.iter().zip(0u32..) {
            if let Some(class) = row.class {
                by_class.entry(class).or_default().push(number);
            }
        }
        if by_class.is_empty() {
            return Err(Error::invalid(
                "data",
                "no row has a class label, so nothing can be held out to test on; set `class_field` (or `class_column` of a table)",
            ));
        }
        let mut held = vec![false; self.rows.len()];
        for rows in by_class.values_mut() {
            rows.sort_by_key(|&row| draw::hash(seed, "split", &[row.into()]));
            let count = ((rows.len() as f64 * share).round() as usize).max(1);
            rows.iter().take(count).for_each(|&row| held[row as usize] = true);
        }
        let (heldout, train) = (0..self.rows.len() as u32).partition(|&row| held[row as usize]);
        Ok(Split { train, heldout })
    }
}

/// Which rows train and which are held out: the zero-shot test, the targets and the stamped test pictures.
#[derive(Clone, Debug, PartialEq)]
pub struct Split {
    /// Rows that train, in source order.
    pub train: Vec<u32>,
    /// Rows held out; every one has a class.
    pub heldout: Vec<u32>,
}

/// Class names and prompt templates as a JSON file gives them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassFile {
    /// Label -> its names, the first of which fills the prompts.
    pub classes: BTreeMap<String, Vec<String>>,
    /// Prompts with `{}` where the name goes.
    pub templates: Vec<String>,
}

impl ClassFile {
    /// Reads a class file and checks that it can be used.
    pub fn read(path: &PathBuf) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
        let file: ClassFile = serde_json::from_str(&text)
            .map_err(|error| Error::invalid(path.display().to_string(), error.to_string()))?;
        let nameless = file.classes.iter().find(|(_, names)| names.first().is_none_or(|name| name.trim().is_empty()));
        if let Some((label, _)) = nameless {
            return Err(Error::invalid(path.display().to_string(), format!("class `{label}` has no name")));
        }
        if file.templates.is_empty() || file.templates.iter().any(|template| !template.contains("{}")) {
            return Err(Error::invalid(
                path.display().to_string(),
                "every template needs `{}` where the name goes, and one is needed",
            ));
        }
        Ok(file)
    }
}

/// The classes of a data set, in sorted order of their labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Classes {
    /// Labels as the data writes them, sorted: the index is the class.
    pub labels: Vec<String>,
    /// Names of each class, the first of which fills the prompts.
    pub names: Vec<Vec<String>>,
    /// Prompts with `{}` where the name goes.
    pub templates: Vec<String>,
    /// First word of a name -> (all words of the name, class).
    by_word: HashMap<String, Vec<(Vec<String>, u32)>>,
}

impl Classes {
    /// Classes from a class file; without one, labels name themselves and the prompt is "a photo of a ...".
    pub fn new(labels: Vec<String>, file: Option<ClassFile>) -> Self {
        let file = file.unwrap_or_else(|| ClassFile {
            classes: labels.into_iter().map(|label| (label.clone(), vec![label.replace('_', " ")])).collect(),
            templates: vec!["a photo of a {}".into(), "a picture of a {}".into(), "{}".into()],
        });
        let (labels, names): (Vec<_>, Vec<_>) = file.classes.into_iter().unzip();
        let mut by_word: HashMap<String, Vec<(Vec<String>, u32)>> = HashMap::new();
        for (names, class) in names.iter().zip(0..) {
            for words in names.iter().map(|name| words(name)).filter(|words| !words.is_empty()) {
                by_word.entry(words[0].clone()).or_default().push((words, class));
            }
        }
        Classes { labels, names, templates: file.templates, by_word }
    }

    /// Number of classes.
    pub fn len(&self) -> u32 {
        self.labels.len() as u32
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The first name of a class.
    pub fn name(&self, class: u32) -> &str {
        &self.names[class as usize][0]
    }

    /// The class with this label or name.
    pub fn find(&self, name: &str) -> Result<u32> {
        let matches = |class: &u32| {
            let class = *class as usize;
            self.labels[class] == name || self.names[class].iter().any(|known| known == name)
        };
        let known = || self.names.iter().map(|names| names[0].clone()).collect();
        (0..self.len()).find(matches).ok_or_else(|| Error::Unknown { kind: "class", name: name.into(), known: known() })
    }

    /// The classes that a caption names, each once, in sorted order: whole words, whatever their case.
    pub fn named_in(&self, caption: &str) -> Vec<u32> {
        let caption = words(caption);
        let mut classes = Vec::new();
        for (at, word) in caption.iter().enumerate() {
            let candidates = self.by_word.get(word).into_iter().flatten();
            classes.extend(candidates.filter(|(name, _)| caption[at..].starts_with(name)).map(|(_, class)| *class));
        }
        classes.sort_unstable();
        classes.dedup();
        classes
    }

    /// Every prompt of a class: each template with its first name.
    pub fn prompts(&self, class: u32) -> impl Iterator<Item = String> + '_ {
        self.templates.iter().map(move |template| template.replace("{}", self.name(class)))
    }
}

/// Lower-case words: runs of letters and digits.
pub fn words(text: &str) -> Vec<String> {
    let runs = text.split(|c: char| !c.is_alphanumeric());
    runs.filter(|run| !run.is_empty()).map(str::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captions_name_classes_by_whole_words_in_any_case() {
        let names = BTreeMap::from([
            ("cat".to_string(), vec!["cat".to_string(), "tabby".to_string()]),
            ("ice".to_string(), vec!["ice cream".to_string()]),
        ]);
        let classes = Classes::new(vec![], Some(ClassFile { classes: names, templates: vec!["a {}".into()] }));
        assert_eq!(classes.named_in("A Tabby, eating ICE cream"), [0, 1]);
        assert_eq!(classes.named_in("a catalogue of ice"), [] as [u32; 0]);
        assert_eq!(classes.prompts(1).collect::<Vec<_>>(), ["a ice cream"]);
    }
}
