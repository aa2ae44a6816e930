//! Checks of a plugin's name, help, configuration and presets.

use super::{Held, defaults, must};
use crate::Defense;
use crate::registry::{self, Plugin, Preset, PresetField, Role};
use serde_json::{Map, Value, json};
use std::collections::HashSet;

/// Name, summary, and a doc comment for every field.
pub(super) fn documented<T: Role + ?Sized>(plugin: &Plugin<T>) -> Held {
    let (name, summary) = (plugin.name, plugin.summary);
    must(name.split('-').all(is_word), "its name is not kebab-case")?;
    let line = (10..150).contains(&summary.len()) && !summary.contains('\n');
    must(line, format!("its summary is not one line of 10 to 150 characters: {summary:?}"))?;
    let schema: Value = serde_json::from_str(&(plugin.schema)()).expect("a schema is JSON");
    let helpless = helpless(&schema, "");
    must(helpless.is_empty(), format!("without a doc comment: {}", helpless.join(", ")))?;
    let defaults = defaults(plugin);
    let documented = schema["properties"].as_object().into_iter().flatten();
    // A field that is not written at its default value declares that default in its schema.
    let written = documented.filter(|(key, field)| defaults.contains_key(*key) || field.get("default").is_none());
    let documented: Vec<&String> = written.map(|(key, _)| key).collect();
    let fields: Vec<&String> = defaults.keys().collect();
    must(documented == fields, format!("its schema has the fields {documented:?}, its defaults {fields:?}"))?;
    let of_defenses: &[&str] = if T::KIND == <dyn Defense>::KIND { &["oracle", "weights"] } else { &[] };
    let own = ["plugin", "preset", "of"].iter().chain(of_defenses).find(|own| defaults.contains_key(**own));
    own.map_or(Ok(()), |own| Err(format!("its field `{own}` has the name of a suite's own key")))
}

fn is_word(word: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    word.starts_with(|c: char| c.is_ascii_lowercase()) && word.chars().all(plain)
}

/// Fields and choices without a description, anywhere in a schema.
fn helpless(schema: &Value, place: &str) -> Vec<String> {
    let Some(object) = schema.as_object() else {
        return schema.as_array().into_iter().flatten().flat_map(|inner| helpless(inner, place)).collect();
    };
    let fields = schema["properties"].as_object().into_iter().flatten();
    let choices = schema["oneOf"].as_array().into_iter().flatten().filter(|choice| choice["const"].is_string());
    let fields = fields.filter(|(_, field)| lacks_help(field)).map(|(key, _)| format!("{place}/{key}"));
    let choices = choices.filter(|choice| lacks_help(choice)).map(|choice| format!("{place}/{}", choice["const"]));
    let inner = object.iter().flat_map(|(key, inner)| helpless(inner, &format!("{place}/{key}")));
    fields.chain(choices).chain(inner).collect()
}

fn lacks_help(value: &Value) -> bool {
    value["description"].as_str().is_none_or(|help| help.trim().is_empty())
}

/// An empty table resolves to the defaults, and a misspelt key is refused.
pub(super) fn resolves<T: Role + ?Sized>(plugin: &Plugin<T>) -> Held {
    let full = defaults(plugin);
    let resolve = |config: &Map<String, Value>| registry::resolve(plugin, config).map_err(|error| error.chain());
    must(resolve(&Map::new())? == full, "an empty table does not resolve to its defaults; `#[serde(default)]`?")?;
    must(resolve(&full)? == full, "its defaults do not resolve to themselves, so no trial could be run again")?;
    let with_typo = Map::from_iter(full.into_iter().chain([("no-such-key".to_string(), json!(1))]));
    let refused = plugin.build(&Value::Object(with_typo).to_string()).is_err();
    must(refused, "a key that does not exist is not refused; `#[serde(deny_unknown_fields)]`?")
}

/// Presets are complete and every value has a source.
pub(super) fn presets<T: Role + ?Sized>(plugin: &Plugin<T>) -> Held {
    let presets = registry::presets(plugin);
    let names: HashSet<&str> = presets.iter().map(|preset| preset.name.as_str()).collect();
    must(names.len() == presets.len(), "two of its presets have one name")?;
    presets
        .iter()
        .try_for_each(|preset| complete(plugin, preset).map_err(|why| format!("preset `{}`: {why}", preset.name)))
}

fn complete<T: Role + ?Sized>(plugin: &Plugin<T>, preset: &Preset) -> Held {
    let keys: Vec<String> = preset.fields.iter().map(|field| field.key.clone()).collect();
    let fields: Vec<String> = leaves(&defaults(plugin)).into_iter().map(|(key, _)| key).collect();
    must(keys == fields, format!("has the keys {keys:?}, not those of the fields in their order, {fields:?}"))?;
    let unsaid = preset.fields.iter().find(|field| field.source.trim().len() < 4);
    let PresetField { key, .. } = unsaid.unwrap_or(&preset.fields[0]);
    must(unsaid.is_none(), format!("`{key}` has no source; write `unverified` if none is known"))?;
    must(preset.summary.len() > 10, "has a summary that says too little")?;
    must(preset.deviations.iter().all(|deviation| deviation.len() > 20), "has a deviation that says too little")?;
    let named = Map::from_iter([("preset".to_string(), json!(preset.name))]);
    let resolved = registry::resolve(plugin, &named).map_err(|error| error.chain())?;
    let same =
        |ours: &Value, given: &Value| ours == given || ours.as_f64().is_some() && ours.as_f64() == given.as_f64();
    let lost =
        leaves(&resolved).into_iter().zip(leaves(&preset.table())).find(|(ours, given)| !same(&ours.1, &given.1));
    lost.map_or(Ok(()), |((key, ours), (_, given))| Err(format!("`{key}` is {given}, but resolves to {ours}")))
}

/// Values by dotted key; nested tables are flattened, lists are not.
fn leaves(table: &Map<String, Value>) -> Vec<(String, Value)> {
    table.iter().flat_map(leaves_of).collect()
}

fn leaves_of((key, value): (&String, &Value)) -> Vec<(String, Value)> {
    match value {
        Value::Object(inner) => {
            leaves(inner).into_iter().map(|(rest, value)| (format!("{key}.{rest}"), value)).collect()
        }
        value => vec![(key.clone(), value.clone())],
    }
}
