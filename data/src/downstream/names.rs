//! The names of the classes of a set in prompts, and the prompts: as published with CLIP
//! (`names.json`, see `NOTICE`), or from a class file.

use crate::error::closest;
use crate::{ClassFile, regular, words};
use crate::{Error, Result};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Made by `setup/downstream_tables.py`.
const TABLE: &str = include_str!("names.json");

/// A set's entry.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Published {
    /// Label as written in the set's files -> name.
    classes: Map<String, Value>,
    templates: Vec<String>,
}

/// The prompt of a set that CLIP has none for.
const TEMPLATE: &str = "a photo of a {}.";

/// Names and templates for the classes of a set, by their labels: from the class file if one is
/// given, otherwise CLIP's. If CLIP does not name the classes (`named` is false), their labels
/// serve as names.
pub(super) fn names(
    set: &str,
    labels: &[String],
    named: bool,
    class_file: &PathBuf,
) -> Result<(Vec<String>, Vec<String>)> {
    if !class_file.as_os_str().is_empty() {
        regular::look(class_file).map_err(Error::io(class_file))?;
        let file = ClassFile::read(class_file)?;
        let names =
            find(labels, |label| Some(file.classes.get(label)?[0].clone()), || file.classes.keys().cloned().collect());
        return Ok((names.map_err(|error| error.during(class_file.display().to_string()))?, file.templates));
    }
    let published = published(set);
    let templates = published.as_ref().map_or_else(|| vec![TEMPLATE.into()], |published| published.templates.clone());
    match published.filter(|_| named) {
        Some(Published { classes, .. }) => {
            let name = |label: &str| classes.get(label)?.as_str().map(str::to_string);
            Ok((find(labels, name, || classes.keys().cloned().collect())?, templates))
        }
        None => Ok((labels.iter().map(|label| label.replace('_', " ")).collect(), templates)),
    }
}

/// The classes of a set with CLIP's names and prompts; `None` for a set that CLIP has no names for.
pub fn vocabulary(set: &str) -> Option<ClassFile> {
    let Published { classes, templates } = published(set)?;
    let names = |(label, name): (String, Value)| Some((label, vec![name.as_str()?.to_string()]));
    Some(ClassFile { classes: classes.into_iter().filter_map(names).collect(), templates, aliases: Default::default() })
}

/// Refuses two classes with the same prompt name, because no prompt tells them apart. Two cases are
/// allowed: CLIP gives two pairs of ImageNet's classes the same name, and a class file may do so on
/// purpose for class folders. `Set::of_distinct_names` then merges them and adds a note.
pub(super) fn shared(set: &str, labels: &[String], classes: &[String], class_file: &Path) -> Result<()> {
    let mut first: HashMap<String, usize> = HashMap::new();
    for (class, at) in classes.iter().zip(0..) {
        let words = words(class).join(" ");
        let name = if words.is_empty() { class.trim().to_string() } else { words };
        if let Some(other) = first.insert(name, at) {
            let what = format!("classes `{}` and `{}` are both called `{class}`", labels[other], labels[at]);
            let meant = set == "imagenet" || set == "imagefolder" && !class_file.as_os_str().is_empty();
            if !meant {
                return Err(Error::invalid(set, format!("{what}; a class file can tell them apart")));
            }
        }
    }
    Ok(())
}

/// Refuses labels in another order than published, if their position in a list is their number: a
/// list that was sorted or cut would shift them. Unpublished labels are not checked.
pub(super) fn in_order(set: &str, found: &[String], list: &str) -> Result<()> {
    let published = labels(set);
    let places = found.iter().map(|label| published.iter().position(|known| known == label));
    let known: Vec<(usize, &String)> = places.zip(found).filter_map(|(place, label)| Some((place?, label))).collect();
    match known.windows(2).find(|pair| pair[0].0 >= pair[1].0) {
        Some(pair) => {
            let why = format!("class `{}` is before `{}`, not as published", pair[0].1, pair[1].1);
            Err(Error::invalid(
                list,
                format!("{why}; a class is numbered by its position, so all labels would be wrong"),
            ))
        }
        None => Ok(()),
    }
}

/// The labels of a set in CLIP's order.
pub(super) fn labels(set: &str) -> Vec<String> {
    published(set).map_or_else(Vec::new, |published| published.classes.keys().cloned().collect())
}

fn find(
    labels: &[String],
    name: impl Fn(&str) -> Option<String>,
    known: impl Fn() -> Vec<String>,
) -> Result<Vec<String>> {
    let unknown = |label: &String| {
        let known = known();
        let guess = closest(label, &known).map(|guess| format!(" (it has one for `{guess}`)"));
        let why = format!("the table of class names has no name for it{}", guess.unwrap_or_default());
        Error::invalid(format!("class `{label}`"), format!("{why}; a class file can give one"))
    };
    labels.iter().map(|label| name(label).ok_or_else(|| unknown(label))).collect()
}

fn published(set: &str) -> Option<Published> {
    let table: Map<String, Value> = serde_json::from_str(TABLE).expect("the table was made by a script");
    table.get(set).map(|names| Published::deserialize(names).expect("the table was made by a script"))
}
