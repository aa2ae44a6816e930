//! Classes of a data set: their labels, their names in captions and prompts, and the captions that
//! name them.
//!
//! Classes with the same prompt name are one class, whatever their labels, because no prompt tells
//! them apart. They share one number in rows, goals and predictions, so any comparison of numbers
//! treats them alike. `classes/search.rs` finds names in captions, `classes/inflect.rs` has the
//! plurals.

mod inflect;
mod search;

use crate::tokenize::{Cleaner, words};
use crate::{Error, Result, json, regular};
pub(crate) use search::Search;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

/// Class names and prompt templates, as in a JSON file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassFile {
    /// Label -> its names. The first one fills the prompts.
    pub classes: BTreeMap<String, Vec<String>>,
    /// Prompts, with `{}` in the place of the name.
    pub templates: Vec<String>,
    /// Label -> the names of the class in captions. Needed only if they differ from its names
    /// without the text in brackets: "kite (bird of prey)" fills a prompt, but no caption contains
    /// it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub aliases: BTreeMap<String, Vec<String>>,
}

/// Largest size of a class file in bytes: a million classes take less.
const LARGEST: u64 = 64 << 20;

impl ClassFile {
    /// Labels that serve as names.
    pub fn of_labels(labels: Vec<String>) -> Self {
        let name = |label: String| (label.clone(), vec![label.replace('_', " ")]);
        let templates = ["a photo of a {}", "an image of a {}", "{}"].map(String::from).to_vec();
        ClassFile { classes: labels.into_iter().map(name).collect(), templates, aliases: BTreeMap::new() }
    }

    /// Reads the class file of a path; `None` if the path is empty.
    pub(crate) fn read_if_named(path: &PathBuf) -> Result<Option<Self>> {
        match path.as_os_str().is_empty() {
            true => Ok(None),
            false => ClassFile::read(path).map(Some),
        }
    }

    /// Reads and checks a class file.
    pub fn read(path: &PathBuf) -> Result<Self> {
        let bytes = regular::read(path, LARGEST).map_err(Error::io(path))?;
        let wrong = |why: String| Error::invalid(path.display(), why);
        let text = json::standard(&bytes).map_err(wrong)?;
        let file: ClassFile = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
        let nameless = file.classes.iter().find(|(_, names)| names.first().is_none_or(|name| name.trim().is_empty()));
        if let Some((label, _)) = nameless {
            return Err(wrong(format!("class `{label}` has no name")));
        }
        if let Some(label) = file.aliases.keys().find(|label| !file.classes.contains_key(*label)) {
            return Err(wrong(format!("`aliases` has a label `{label}`, and `classes` has none")));
        }
        if file.templates.is_empty() || file.templates.iter().any(|template| !template.contains("{}")) {
            return Err(wrong("every template needs `{}` where the name goes, and one is needed".into()));
        }
        Ok(file)
    }
}

/// A class of a vocabulary.
#[derive(Clone, Debug, PartialEq)]
pub struct Class {
    /// Its label in the data; any text in a vocabulary without data.
    pub label: String,
    /// Its names. The first one fills the prompts.
    pub names: Vec<String>,
    /// Its names in captions.
    pub aliases: Vec<String>,
}

/// The classes of a vocabulary. Those of a data set are in the sorted order of their labels.
#[derive(Clone)]
pub struct Classes {
    /// The label of each class. The index is the class. If several labels share a prompt name, it
    /// is the first of them.
    pub labels: Vec<String>,
    /// Names of each class. The first one fills the prompts.
    pub names: Vec<Vec<String>>,
    /// Prompts, with `{}` in the place of the name.
    pub templates: Vec<String>,
    /// Names of each class in captions.
    aliases: Vec<Vec<String>>,
    /// Every label and its class.
    of_label: HashMap<String, u32>,
    /// Labels that share a prompt name.
    shared: Vec<Vec<String>>,
    /// Built at the first search of a caption.
    search: Arc<OnceLock<Search>>,
}

impl Classes {
    /// Classes from a class file. Without one, labels serve as names and the prompt is "a photo of
    /// a ...".
    pub fn new(labels: Vec<String>, file: Option<ClassFile>) -> Self {
        let mut file = file.unwrap_or_else(|| ClassFile::of_labels(labels));
        let class = |(label, names): (String, Vec<String>)| Class {
            aliases: file.aliases.remove(&label).unwrap_or_else(|| usual(&names)),
            label,
            names,
        };
        Classes::of(file.classes.into_iter().map(class), file.templates)
    }

    /// The classes of a list. Classes with the same prompt name become one, in the place of the
    /// first.
    pub fn of(list: impl IntoIterator<Item = Class>, templates: Vec<String>) -> Self {
        let (mut labels, mut names, mut aliases) = (Vec::new(), Vec::<Vec<String>>::new(), Vec::<Vec<String>>::new());
        let (mut of_label, mut of_name, mut sharing) = (HashMap::new(), HashMap::new(), Vec::<Vec<String>>::new());
        let cleaner = Cleaner::default();
        for class in list {
            let number = *of_name.entry(same_name(&class.names[0], &cleaner)).or_insert(labels.len());
            if number == labels.len() {
                labels.push(class.label.clone());
                [&mut names, &mut aliases, &mut sharing].into_iter().for_each(|lists| lists.push(Vec::new()));
            }
            add_new(&mut names[number], class.names);
            add_new(&mut aliases[number], class.aliases);
            sharing[number].push(class.label.clone());
            of_label.insert(class.label, number as u32);
        }
        let shared = sharing.into_iter().filter(|labels| labels.len() > 1).collect();
        Classes { labels, names, templates, aliases, of_label, shared, search: Arc::default() }
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

    /// The class of a label.
    pub fn of_label(&self, label: &str) -> Option<u32> {
        self.of_label.get(label).copied()
    }

    /// All names of a class in captions: its names and its aliases.
    pub fn called(&self, class: u32) -> impl Iterator<Item = &str> {
        self.names[class as usize].iter().chain(&self.aliases[class as usize]).map(String::as_str)
    }

    /// The class with this label or name.
    pub fn find(&self, name: &str) -> Result<u32> {
        let named = |class: &u32| self.names[*class as usize].iter().any(|known| known == name);
        let known = || self.names.iter().map(|names| names[0].clone()).collect();
        let found = self.of_label(name).or_else(|| (0..self.len()).find(named));
        found.ok_or_else(|| Error::Unknown { kind: "class", name: name.into(), known: known() })
    }

    /// The classes as a class file, with one label per class.
    pub fn file(&self) -> ClassFile {
        let class = |lists: &[Vec<String>]| self.labels.iter().cloned().zip(lists.iter().cloned()).collect();
        let mut aliases: BTreeMap<String, Vec<String>> = class(&self.aliases);
        // Aliases that follow from the names are left out.
        let names: BTreeMap<String, Vec<String>> = class(&self.names);
        aliases.retain(|label, aliases| *aliases != usual(&names[label]));
        ClassFile { classes: names, templates: self.templates.clone(), aliases }
    }

    /// A warning about classes that have several labels.
    pub fn warning(&self) -> Option<String> {
        one_class(self.shared.iter().map(|labels| (self.name(self.of_label[&labels[0]]), labels.as_slice())))
    }

    /// The classes that may be mined from a caption, each once, in sorted order. The caption must
    /// contain one of their names in whole words, in any case, and not as a part of a longer name
    /// ("sea lion" is not a lion if both are classes).
    pub fn named_in(&self, caption: &str) -> Vec<u32> {
        self.search().classes(caption).named
    }

    /// The classes that a caption may be about, each once, in sorted order. These are more than may
    /// be mined from it: any of their names in singular or plural, with or without spaces, and also
    /// as a part of a longer name.
    pub fn mentioned_in(&self, caption: &str) -> Vec<u32> {
        self.search().classes(caption).mentioned
    }

    pub(super) fn search(&self) -> &Search {
        self.search.get_or_init(|| Search::new(&self.names, &self.aliases))
    }

    /// Every prompt of a class: each template with its first name.
    pub fn prompts(&self, class: u32) -> impl Iterator<Item = String> + '_ {
        self.templates.iter().map(move |template| template.replace("{}", self.name(class)))
    }
}

/// Lists the labels that are one class because they share a name; `None` if there are none.
pub(crate) fn one_class<'a>(shared: impl Iterator<Item = (&'a str, &'a [String])>) -> Option<String> {
    let said: Vec<String> = shared.map(|(name, labels)| format!("`{name}` ({})", labels.join(", "))).collect();
    let why = "no prompt tells them apart, so either counts, in accuracy and in attacks";
    (!said.is_empty()).then(|| format!("labels that share a name are one class: {}; {why}", said.join(", ")))
}

/// Two prompt names are the same if this is equal: their words, in any case. A name without words
/// is returned as it is.
pub(crate) fn same_name(name: &str, cleaner: &Cleaner) -> Vec<String> {
    let clean = cleaner.clean(name);
    let words = words(&clean);
    if words.is_empty() { vec![clean.trim().to_string()] } else { words }
}

/// The usual names in captions of a class with these names.
fn usual(names: &[String]) -> Vec<String> {
    names.iter().map(|name| without_brackets(name)).collect()
}

/// A name without the text in brackets; unchanged if nothing would be left.
fn without_brackets(name: &str) -> String {
    let (mut kept, mut deep) = (String::new(), 0usize);
    for char in name.chars() {
        match char {
            '(' | '[' => deep += 1,
            ')' | ']' => deep = deep.saturating_sub(1),
            _ if deep == 0 => kept.push(char),
            _ => {}
        }
    }
    let kept = kept.split_whitespace().collect::<Vec<_>>().join(" ");
    if words(&kept).is_empty() { name.to_string() } else { kept }
}

fn add_new(list: &mut Vec<String>, more: Vec<String>) {
    for word in more {
        if !list.contains(&word) {
            list.push(word);
        }
    }
}

#[cfg(test)]
mod tests;
