//! `gauntlet schema`: an editor with the schema accepts every suite that ships, and marks errors
//! that the program would reject.
//!
//! The few keywords of the schema are checked by this file: a validating crate would require other
//! features of tch's dependencies, and cargo would build everything twice, for the program and for
//! its tests.

use crate::program::gauntlet;
use serde_json::{Value, json};
use std::path::Path;

fn schema() -> Value {
    let ran = gauntlet(&["schema"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let schema: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    schema
}

/// A suite file as a validator reads it.
fn read(path: &Path) -> Value {
    let table: toml::Table = std::fs::read_to_string(path).unwrap().parse().unwrap();
    serde_json::to_value(table).unwrap()
}

/// The errors of a validator of draft 2020-12 for `value`. Panics at an unknown keyword.
fn complaints(root: &Value, schema: &Value, value: &Value, place: &str) -> Vec<String> {
    let keywords = match schema {
        Value::Bool(true) => return Vec::new(),
        Value::Bool(false) => return vec![format!("{place}: may not be there")],
        schema => schema.as_object().unwrap(),
    };
    keywords.iter().flat_map(|(keyword, with)| keyword_complaints(root, schema, keyword, with, value, place)).collect()
}

fn keyword_complaints(
    root: &Value,
    schema: &Value,
    keyword: &str,
    with: &Value,
    value: &Value,
    place: &str,
) -> Vec<String> {
    let all = |schema: &Value| complaints(root, schema, value, place);
    let fits = |schema: &&Value| all(schema).is_empty();
    let unless =
        |right: bool| if right { Vec::new() } else { vec![format!("{place}: {value} against {keyword} {with}")] };
    let choices = with.as_array().into_iter().flatten();
    match keyword {
        "$ref" => all(root.pointer(with.as_str().unwrap().trim_start_matches('#')).unwrap()),
        "allOf" => choices.flat_map(all).collect(),
        "anyOf" => unless(choices.filter(fits).count() > 0),
        "oneOf" => unless(choices.filter(fits).count() == 1),
        "if" => schema.get(if fits(&with) { "then" } else { "else" }).map_or(Vec::new(), all),
        "const" => unless(with == value),
        "enum" => unless(with.as_array().unwrap().contains(value)),
        "type" => {
            let kinds = with.as_array().cloned().unwrap_or_else(|| vec![with.clone()]);
            unless(kinds.iter().any(|kind| is(value, kind.as_str().unwrap())))
        }
        "minimum" => unless(value.as_f64().is_none_or(|number| number >= with.as_f64().unwrap())),
        "maximum" => unless(value.as_f64().is_none_or(|number| number <= with.as_f64().unwrap())),
        "minItems" => unless(value.as_array().is_none_or(|items| items.len() as u64 >= with.as_u64().unwrap())),
        "maxItems" => unless(value.as_array().is_none_or(|items| items.len() as u64 <= with.as_u64().unwrap())),
        "required" => {
            unless(value.as_object().is_none_or(|table| {
                with.as_array().unwrap().iter().all(|key| table.contains_key(key.as_str().unwrap()))
            }))
        }
        "items" => {
            let items = value.as_array().into_iter().flatten().enumerate();
            items.flat_map(|(number, item)| complaints(root, with, item, &format!("{place}/{number}"))).collect()
        }
        "properties" => {
            let table =
                value.as_object().into_iter().flatten().filter_map(|(key, value)| Some((key, value, with.get(key)?)));
            table.flat_map(|(key, value, schema)| complaints(root, schema, value, &format!("{place}/{key}"))).collect()
        }
        "additionalProperties" => {
            let more =
                value.as_object().into_iter().flatten().filter(|(key, _)| schema["properties"].get(key).is_none());
            more.flat_map(|(key, value)| complaints(root, with, value, &format!("{place}/{key}"))).collect()
        }
        "then" | "else" | "$defs" | "$schema" | "title" | "description" | "default" | "format" => Vec::new(),
        unknown => panic!("{place}: the keyword `{unknown}` is not checked here"),
    }
}

fn is(value: &Value, kind: &str) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "number" => value.is_number(),
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        "null" => value.is_null(),
        other => panic!("{other} is no type"),
    }
}

#[test]
fn every_suite_that_ships_is_as_the_schema_says() {
    let schema = schema();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("suites");
    let files = folder.read_dir().unwrap().map(|entry| entry.unwrap().path());
    let suites: Vec<_> = files.filter(|path| path.extension().is_some_and(|kind| kind == "toml")).collect();
    assert!(suites.len() > 6);
    for suite in suites {
        assert_eq!(complaints(&schema, &schema, &read(&suite), ""), [] as [String; 0], "{}", suite.display());
    }
}

#[test]
fn what_the_program_would_refuse_is_refused() {
    let schema = schema();
    let demo = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("suites/demo.toml"));
    let complaint = |place: &str, value: Value| {
        let mut suite = demo.clone();
        let (table, key) = place.rsplit_once('/').unwrap();
        suite
            .pointer_mut(table)
            .unwrap_or_else(|| panic!("{table}"))
            .as_object_mut()
            .unwrap()
            .insert(key.into(), value);
        complaints(&schema, &schema, &suite, "").join("; ")
    };
    for (place, value, word) in [
        ("/sedes", json!([0]), "sedes"),
        ("/heldout", json!(0.99), "0.9"),
        ("/data/pairz", json!(3), "pairz"),
        ("/recipe/epochs", json!(0), "minimum 1"),
        ("/recipe/preset", json!("roclip"), "preset"),
        ("/attacks/targeted/targets", json!(0), "minimum 1"),
        ("/attacks/badnet/sizze", json!(3), "sizze"),
        ("/defenses/roclip/every", json!("two"), "two"),
        ("/defenses/roclip/preset", json!("oficial"), "preset"),
        ("/defenses/clip/preset", json!("paper"), "preset"),
        ("/defenses/k3", json!({ "every": 3 }), "plugin"),
        ("/defenses/k3", json!({ "plugin": "roclap" }), "plugin"),
        ("/defenses/k3", json!({ "plugin": "roclip", "evry": 3 }), "evry"),
        ("/defenses/k3", json!({ "plugin": "roclip", "augmentation": { "crop": 1 } }), "crop"),
        ("/defenses/clip", json!({ "plugin": "roclip", "evry": 3 }), "evry"),
    ] {
        let complaint = complaint(place, value.clone());
        assert!(complaint.contains(word), "{place} = {value}: {word:?} is not in: {complaint}");
    }
    for (place, value) in [
        ("/recipe/preset", json!("roclip-paper")),
        (
            "/defenses/k3",
            json!({ "plugin": "roclip", "preset": "official", "every": 3, "augmentation": { "flip": 0.5 } }),
        ),
        ("/defenses/idle", json!({ "plugin": "exposure-control", "of": "roclip" })),
        ("/defenses/clip", json!({ "plugin": "roclip", "every": 3 })),
        ("/evaluators", json!({ "zero-shot": {}, "retrieval": {} })),
    ] {
        assert_eq!(complaint(place, value.clone()), "", "{place} = {value}");
    }
}
