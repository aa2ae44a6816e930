//! Presets: named complete configurations, each value with its source. `registry.rs` registers the
//! presets of a plugin; `suite.rs` resolves the key `preset`.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A named complete configuration. A suite selects it with `preset = "NAME"`; other keys override
/// its values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preset {
    /// Kebab-case, unique among the presets of its owner.
    pub name: String,
    /// One line: the configuration that it reproduces.
    pub summary: String,
    /// How it deviates from that configuration, and why.
    pub deviations: Vec<String>,
    /// Every key of the configuration.
    pub fields: Vec<PresetField>,
}

/// One value of a preset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PresetField {
    /// The key; dotted for nested tables.
    pub key: String,
    /// Its value.
    pub value: Value,
    /// Source of the value, in a few words: a section, a file, an option; or `unverified`.
    pub source: String,
}

impl Preset {
    /// A preset from (dotted key, value, source).
    pub fn new(name: &str, summary: &str, deviations: &[&str], fields: Vec<(&str, Value, &str)>) -> Self {
        let field =
            |(key, value, source): (&str, Value, &str)| PresetField { key: key.into(), value, source: source.into() };
        Preset {
            name: name.into(),
            summary: summary.into(),
            deviations: deviations.iter().map(|deviation| deviation.to_string()).collect(),
            fields: fields.into_iter().map(field).collect(),
        }
    }

    /// The configuration, dotted keys as nested tables.
    pub fn table(&self) -> Map<String, Value> {
        let mut table = Map::new();
        for PresetField { key, value, .. } in &self.fields {
            let nested = key
                .rsplit('.')
                .fold(value.clone(), |inner, part| Value::Object(Map::from_iter([(part.into(), inner)])));
            let Value::Object(nested) = nested else { unreachable!("a key has one part at least") };
            lay_over(&mut table, nested);
        }
        table
    }
}

/// Removes the key `preset` from a table and applies the other keys over the preset of that name.
/// Returns a table without that key unchanged.
///
/// # Errors
/// If there is no such preset; the error lists the presets and suggests the closest.
pub fn expand(table: &Map<String, Value>, presets: &[Preset]) -> Result<Map<String, Value>> {
    let mut own = table.clone();
    let name = match own.shift_remove("preset") {
        None => return Ok(own),
        Some(Value::String(name)) => name,
        Some(other) => return Err(Error::invalid("key `preset`", format!("must be a name, not {other}"))),
    };
    if presets.is_empty() {
        return Err(Error::invalid("key `preset`", format!("names `{name}`, but there are no presets here")));
    }
    let known = || presets.iter().map(|preset| preset.name.clone()).collect();
    let unknown = || Error::Unknown { kind: "preset", name: name.clone(), known: known() };
    let mut full = presets.iter().find(|preset| preset.name == name).ok_or_else(unknown)?.table();
    lay_over(&mut full, own);
    Ok(full)
}

/// Applies `own` over `base`, merging nested tables; a nested table that names a `plugin` replaces
/// the old one, since another plugin has other keys.
pub(crate) fn lay_over(base: &mut Map<String, Value>, own: Map<String, Value>) {
    for (key, value) in own {
        match (base.get_mut(&key), value) {
            (Some(Value::Object(under)), Value::Object(over)) if !over.contains_key("plugin") => lay_over(under, over),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn expanded(own: Value) -> Result<Value> {
        let fields = vec![("every", json!(3), "a"), ("blur.low", json!(0.1), "b"), ("blur.high", json!(2.0), "c")];
        let presets = [Preset::new("paper", "as written", &[], fields), Preset::new("official", "as run", &[], vec![])];
        expand(own.as_object().unwrap(), &presets).map(Value::Object)
    }

    #[test]
    fn own_keys_override_a_preset_key_by_key_and_its_name_goes() {
        let own = json!({ "blur": { "high": 1.0 }, "preset": "paper", "pool": 5 });
        let full = json!({ "every": 3, "blur": { "low": 0.1, "high": 1.0 }, "pool": 5 });
        assert_eq!(expanded(own).unwrap(), full);
        assert_eq!(expanded(json!({ "pool": 5 })).unwrap(), json!({ "pool": 5 }), "without a preset nothing changes");
    }

    #[test]
    fn an_unknown_preset_is_answered_with_those_there_are_and_a_guess() {
        let message = expanded(json!({ "preset": "offical" })).unwrap_err().chain();
        assert_eq!(message, "no preset named `offical`; did you mean `official`? (there are: paper, official)");
        assert!(expanded(json!({ "preset": 3 })).unwrap_err().chain().contains("must be a name, not 3"));
        let none = expand(json!({ "preset": "paper" }).as_object().unwrap(), &[]).unwrap_err().chain();
        assert!(none.contains("key `preset`: names `paper`, but there are no presets here"), "{none}");
    }
}
