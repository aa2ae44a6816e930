//! What prompts call the classes of a set, and the prompts: as published with CLIP (`names.json`, see `NOTICE`), or from a class file.

use crate::data::ClassFile;
use crate::{Error, Result};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::path::PathBuf;

/// Made by `setup/downstream_tables.py`.
const TABLE: &str = include_str!("names.json");

/// A set's entry.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Names {
    /// Label as the set's files write it -> name, in the order of the labels.
    classes: Map<String, Value>,
    templates: Vec<String>,
}

/// Names and templates for the classes of a set, by their labels. Labels that neither table nor class file knows are an error; a set
/// that has no table names its classes by their labels.
pub(super) fn names(set: &str, labels: &[String], class_file: &PathBuf) -> Result<(Vec<String>, Vec<String>)> {
    if !class_file.as_os_str().is_empty() {
        let file = ClassFile::read(class_file)?;
        let name = |label: &String| {
            let known = || file.classes.keys().cloned().collect();
            let names = file.classes.get(label).ok_or_else(|| Error::Unknown {
                kind: "class",
                name: label.clone(),
                known: known(),
            });
            names.map(|names| names[0].clone()).map_err(|error| error.during(class_file.display().to_string()))
        };
        return Ok((labels.iter().map(name).collect::<Result<_>>()?, file.templates.clone()));
    }
    let Some(published) = published(set) else {
        return Ok((labels.iter().map(|label| label.replace('_', " ")).collect(), vec!["a photo of a {}.".into()]));
    };
    let name = |label: &String| match published.classes.get(label) {
        Some(Value::String(name)) => Ok(name.clone()),
        _ => Err(Error::Unknown {
            kind: "class",
            name: label.clone(),
            known: published.classes.keys().cloned().collect(),
        }),
    };
    Ok((labels.iter().map(name).collect::<Result<_>>()?, published.templates))
}

fn published(set: &str) -> Option<Names> {
    let table: Map<String, Value> = serde_json::from_str(TABLE).expect("the table was made by a script");
    table.get(set).map(|names| Names::deserialize(names).expect("the table was made by a script"))
}
