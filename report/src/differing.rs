//! The keys in which two resolved trials, or two suites, differ.

use gauntlet::Trial;
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A differing key of two resolved trials, with its value in each; `–` if it is missing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Differing {
    /// The key, with dots between tables.
    pub key: String,
    /// Its value in both, as JSON.
    pub values: [String; 2],
}

/// The keys in which two resolved trials differ, except seed and labels.
pub fn differing(first: &Trial, second: &Trial) -> Vec<Differing> {
    let labels = ["seed", "suite", "arena", "defense.label"];
    let all = differing_values(&json(first), &json(second));
    all.into_iter().filter(|differing| !labels.contains(&differing.key.as_str())).collect()
}

/// The keys in which two tables differ.
pub fn differing_values(first: &Value, second: &Value) -> Vec<Differing> {
    let (first, second) = (flat(first), flat(second));
    let all: BTreeSet<&String> = first.keys().chain(second.keys()).collect();
    let values = |key: &String| [&first, &second].map(|keys| keys.get(key).cloned().unwrap_or_else(|| "–".into()));
    let both = all.into_iter().map(|key| Differing { key: key.clone(), values: values(key) });
    both.filter(|one| one.values[0] != one.values[1]).collect()
}

fn json(trial: &Trial) -> Value {
    serde_json::to_value(trial).expect("plain data")
}

/// Values as JSON by dotted key.
fn flat(value: &Value) -> BTreeMap<String, String> {
    let mut keys = BTreeMap::new();
    flatten(value, String::new(), &mut keys);
    keys
}

fn flatten(value: &Value, key: String, keys: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(table) => {
            let dot = if key.is_empty() { "" } else { "." };
            table.iter().for_each(|(inner, value)| flatten(value, format!("{key}{dot}{inner}"), keys));
        }
        other => drop(keys.insert(key, other.to_string())),
    }
}
