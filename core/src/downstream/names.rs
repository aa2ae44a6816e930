//! What prompts call the classes of a set, and the prompts: as published with CLIP (`names.json`, see `NOTICE`), or from a class file.

use crate::data::ClassFile;
use crate::error::closest;
use crate::{Error, Result};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::path::PathBuf;

/// Made by `setup/downstream_tables.py`.
const TABLE: &str = include_str!("names.json");

/// A set's entry.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Published {
    /// Label as the set's files write it -> name.
    classes: Map<String, Value>,
    templates: Vec<String>,
}

/// Prompts of a set that CLIP has none for.
const TEMPLATE: &str = "a photo of a {}.";

/// Names and templates for the classes of a set, by their labels: from the class file if one is given, otherwise CLIP's. Where CLIP
/// does not name the classes (`named`), they are called by their labels.
pub(super) fn names(
    set: &str,
    labels: &[String],
    named: bool,
    class_file: &PathBuf,
) -> Result<(Vec<String>, Vec<String>)> {
    if !class_file.as_os_str().is_empty() {
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

/// The classes of a set, each with CLIP's name, and CLIP's prompts; none of a set that CLIP has no names for.
pub fn vocabulary(set: &str) -> Option<ClassFile> {
    let Published { classes, templates } = published(set)?;
    let names = |(label, name): (String, Value)| Some((label, vec![name.as_str()?.to_string()]));
    Some(ClassFile { classes: classes.into_iter().filter_map(names).collect(), templates })
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
