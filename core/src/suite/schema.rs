//! The JSON schema of suite files, for editors and other TOML tools: the schema of [`Suite`] with
//! those of all registered plugins inserted.

use super::Suite;
use crate::registry::{self, Plugin, Preset, Role};
use crate::{Attack, Defense, Evaluator, Result, recipe};
use serde_json::{Map, Value, json};

/// The schema of a suite, JSON Schema draft 2020-12, with the plugins that are linked or loaded
/// now.
///
/// A table labelled with a plugin's name has that plugin's keys; under any other label it has the
/// keys of the plugin that it names.
pub fn schema() -> Result<Value> {
    let mut schema = schemars::schema_for!(Suite).to_value();
    schema["title"] = json!("gauntlet suite");
    let recipe = &mut schema["$defs"]["Recipe"]["properties"];
    recipe["preset"] = preset_key(&recipe::preset::presets());
    let tables = [
        ("attacks", tables::<dyn Attack>()?),
        ("defenses", tables::<dyn Defense>()?),
        ("evaluators", tables::<dyn Evaluator>()?),
    ];
    for (key, Tables { table, definitions }) in tables {
        let property = schema["properties"][key].as_object_mut().expect("a suite has these tables");
        property.extend(table);
        schema["$defs"].as_object_mut().expect("a suite refers to other types").extend(definitions);
    }
    Ok(schema)
}

/// The schema of the tables of one role, and the definitions it refers to.
struct Tables {
    table: Map<String, Value>,
    definitions: Map<String, Value>,
}

fn tables<T: Role + ?Sized>() -> Result<Tables> {
    let plugins = registry::all::<T>()?;
    let names: Vec<&str> = plugins.iter().map(|plugin| plugin.name).collect();
    let mut definitions: Map<String, Value> = plugins.iter().flat_map(|plugin| define(plugin)).collect();
    let summaries = plugins.iter().map(|plugin| json!({ "const": plugin.name, "description": plugin.summary }));
    let choice = json!({ "description": "Name of the plugin.", "oneOf": summaries.collect::<Vec<_>>() });
    let any = json!({
        "type": "object",
        "required": ["plugin"],
        "properties": { "plugin": choice },
        "allOf": plugins.iter().map(|plugin| named::<T>(plugin.name)).collect::<Vec<_>>(),
    });
    definitions.insert(T::KIND.into(), any);
    let table = json!({
        "properties": names.iter().map(|name| (name.to_string(), labelled::<T>(name))).collect::<Map<_, _>>(),
        "additionalProperties": { "$ref": format!("#/$defs/{}", T::KIND) },
    });
    let Value::Object(table) = table else { unreachable!("written as an object") };
    Ok(Tables { table, definitions })
}

/// For a table with any label: the schema of the plugin it names.
fn named<T: Role + ?Sized>(name: &str) -> Value {
    let this = json!({ "required": ["plugin"], "properties": { "plugin": { "const": name } } });
    json!({ "if": this, "then": refer(T::KIND, name) })
}

/// A table may be labelled with one plugin's name and name another plugin.
fn labelled<T: Role + ?Sized>(name: &str) -> Value {
    let own = json!({ "properties": { "plugin": { "const": name } } });
    json!({ "if": own, "then": refer(T::KIND, name), "else": { "$ref": format!("#/$defs/{}", T::KIND) } })
}

fn refer(kind: &str, name: &str) -> Value {
    json!({ "$ref": format!("#/$defs/{}", definition(kind, name)) })
}

/// Key of a plugin's definition. A slash would be a separator in a `$ref`.
fn definition(kind: &str, name: &str) -> String {
    format!("{kind}.{}", name.replace('/', "."))
}

/// The schema of a plugin's table with the suite's own keys, and its types under names unique to
/// the plugin.
fn define<T: Role + ?Sized>(plugin: &Plugin<T>) -> Vec<(String, Value)> {
    let mut schema: Map<String, Value> = serde_json::from_str(&(plugin.schema)()).expect("a schema is a JSON object");
    let name = definition(T::KIND, plugin.name);
    let inner = schema.shift_remove("$defs");
    schema.shift_remove("$schema");
    schema.insert("title".into(), plugin.name.into());
    let own = [
        ("plugin", json!({ "const": plugin.name, "description": "Name of the plugin, if the label is not its name." })),
        ("preset", preset_key(&registry::presets(plugin))),
        (
            "of",
            json!({ "type": "string", "description": "Label of the table to copy values from, for every key that both have. With the same plugin this table is an ablation, and its own keys are the changes." }),
        ),
    ];
    let oracle = json!({ "type": "boolean", "description": "Whether the suite removes the poison by the ground truth, as a perfect filter would." });
    let weights = json!({ "type": "string", "description": "Weights that were trained elsewhere on `gauntlet poison export`, a file for each arena and \
        seed ({arena} and {seed} stand for them): they are measured, nothing is trained." });
    let of_defenses = [("oracle", oracle), ("weights", weights)];
    let own = own.into_iter().chain(of_defenses.into_iter().filter(|_| T::KIND == <dyn Defense>::KIND));
    let properties = schema.entry("properties").or_insert_with(|| json!({}));
    for (key, value) in own {
        properties[key] = value;
    }
    let mut table = Value::Object(schema);
    readdress(&mut table, &name);
    let types = inner.as_ref().and_then(Value::as_object).into_iter().flatten().map(|(key, value)| {
        let mut value = value.clone();
        readdress(&mut value, &name);
        (format!("{name}.{key}"), value)
    });
    types.chain([(name.clone(), table)]).collect()
}

/// The schema of the key `preset`: one of these names; refused if there are none.
fn preset_key(presets: &[Preset]) -> Value {
    let choice = |preset: &Preset| json!({ "const": preset.name, "description": preset.summary });
    match presets {
        [] => json!(false),
        presets => json!({
            "description": "A complete configuration to start from; other keys override its values.",
            "oneOf": presets.iter().map(choice).collect::<Vec<_>>(),
        }),
    }
}

/// Rewrites the references in a plugin's schema to the places of its types in the whole.
fn readdress(schema: &mut Value, name: &str) {
    match schema {
        Value::Object(object) => {
            for (key, value) in object {
                let own = value.as_str().filter(|_| key == "$ref").and_then(|to| to.strip_prefix("#/$defs/"));
                match own.map(|own| format!("#/$defs/{name}.{own}")) {
                    Some(there) => *value = json!(there),
                    None => readdress(value, name),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| readdress(item, name)),
        _ => {}
    }
}
