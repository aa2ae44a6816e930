//! Classes of a data set: their labels, the names that captions and prompts call them by, and which captions name them.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

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
        let bytes = std::fs::read(path).map_err(Error::io(path))?;
        let text = super::json::standard(&bytes).map_err(|why| Error::invalid(path.display().to_string(), why))?;
        let file: ClassFile = serde_json::from_slice(&text)
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
