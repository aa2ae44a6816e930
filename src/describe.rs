//! `gauntlet list` and `gauntlet describe`: everything they say comes from the plugins' own structs.

use gauntlet::data::{csv::Csv, webdataset::Webdataset, world::World};
use gauntlet::plugin::{self, Plugin, Role, schema_of};
use gauntlet::suite::Suite;
use gauntlet::train::Recipe;
use gauntlet::{Attack, Defense, Error, Evaluator, Result};
use serde_json::{Map, Value, json};
use std::fmt::Write;

/// Every plugin, one line each.
pub fn list(as_json: bool) -> Result<String> {
    let rows = [rows::<dyn Attack>()?, rows::<dyn Defense>()?, rows::<dyn Evaluator>()?].concat();
    if as_json {
        let rows: Vec<Value> = rows
            .iter()
            .map(|[kind, name, summary, paper]| json!({"kind": kind, "name": name, "summary": summary, "paper": paper}))
            .collect();
        return Ok(pretty(&Value::Array(rows)));
    }
    let mut text = String::new();
    let mut last = "";
    for [kind, name, summary, _] in rows {
        if kind != last {
            text += &format!("{}{kind}s\n", if last.is_empty() { "" } else { "\n" });
        }
        text += &format!("  {name:22} {summary}\n");
        last = kind;
    }
    Ok(text + "\n`gauntlet describe NAME` explains one; `gauntlet describe suite` the keys of a suite.\n")
}

fn rows<T: Role + ?Sized>() -> Result<Vec<[&'static str; 4]>> {
    Ok(plugin::all::<T>()?.into_iter().map(|plugin| [T::KIND, plugin.name, plugin.summary, plugin.paper]).collect())
}

/// One plugin, or one part of a suite file.
pub fn describe(name: &str, as_json: bool) -> Result<String> {
    let parts = [
        ("suite", "the keys of a suite file", schema_of::<Suite>()),
        ("recipe", "the table `[recipe]` of a suite: how every model is trained", schema_of::<Recipe>()),
        ("world", "`[data]` with kind = \"world\": the embedded procedural world", schema_of::<World>()),
        ("webdataset", "`[data]` with kind = \"webdataset\": tar shards", schema_of::<Webdataset>()),
        ("csv", "`[data]` with kind = \"csv\": a table of paths and captions", schema_of::<Csv>()),
    ];
    if let Some((name, summary, schema)) = parts.into_iter().find(|(part, _, _)| *part == name) {
        return Ok(explain("part", name, summary, "", &schema, &Value::Null, &[], as_json));
    }
    let mut known = Vec::new();
    let attack = of_role::<dyn Attack>(name, as_json, &mut known)?;
    if let Some(text) = attack.or(of_role::<dyn Defense>(name, as_json, &mut known)?) {
        return Ok(text);
    }
    if let Some(plugin) = plugin::all::<dyn Evaluator>()?.into_iter().find(|plugin| plugin.name == name) {
        let evaluator = (plugin.build)(&(plugin.defaults)())?;
        let scores: Vec<Value> = evaluator.definitions().iter().map(|score| json!(score)).collect();
        return Ok(of_plugin(plugin, &scores, as_json));
    }
    known.extend(plugin::all::<dyn Evaluator>()?.iter().map(|plugin| plugin.name.to_string()));
    known.extend(["suite", "recipe", "world", "webdataset", "csv"].map(String::from));
    Err(Error::Unknown { kind: "plugin", name: name.into(), known })
}

fn of_role<T: Role + ?Sized>(name: &str, as_json: bool, known: &mut Vec<String>) -> Result<Option<String>> {
    let plugins = plugin::all::<T>()?;
    known.extend(plugins.iter().map(|plugin| plugin.name.to_string()));
    Ok(plugins.into_iter().find(|plugin| plugin.name == name).map(|plugin| of_plugin(plugin, &[], as_json)))
}

fn of_plugin<T: Role + ?Sized>(plugin: &Plugin<T>, scores: &[Value], as_json: bool) -> String {
    let defaults = serde_json::from_str(&(plugin.defaults)()).expect("defaults are JSON");
    explain(T::KIND, plugin.name, plugin.summary, plugin.paper, &(plugin.schema)(), &defaults, scores, as_json)
}

#[expect(clippy::too_many_arguments, reason = "one sentence about a plugin, word by word")]
fn explain(
    kind: &str,
    name: &str,
    summary: &str,
    paper: &str,
    schema: &str,
    defaults: &Value,
    scores: &[Value],
    as_json: bool,
) -> String {
    let schema: Value = serde_json::from_str(schema).expect("a schema is JSON");
    let mut fields = Vec::new();
    collect_fields(&schema, &schema, defaults, "", &mut fields);
    if as_json {
        let about =
            json!({"kind": kind, "name": name, "summary": summary, "paper": paper, "fields": fields, "scores": scores});
        return pretty(&about);
    }
    let mut text = format!("{name} ({kind})\n  {summary}\n");
    if !paper.is_empty() {
        let _ = writeln!(text, "  paper: {paper}");
    }
    for score in scores {
        let better = match score["higher_is_better"].as_bool() {
            Some(true) => "higher is better",
            Some(false) => "lower is better",
            None => "diagnostic",
        };
        let _ = writeln!(text, "\n  score {} ({better})\n      {}", word(&score["score"]), word(&score["definition"]));
    }
    for field in &fields {
        let value = match word(&field["is"]) {
            "optional" => format!("= {}", field["default"]),
            is => format!("({is})"),
        };
        let _ = writeln!(text, "\n  {} {value}{}", word(&field["key"]), bounds(field));
        for line in word(&field["help"]).lines() {
            let _ = writeln!(text, "      {}", line.trim());
        }
        for choice in field["choices"].as_array().into_iter().flatten() {
            let _ = writeln!(text, "      - {}: {}", word(&choice["value"]), word(&choice["help"]));
        }
    }
    if fields.is_empty() {
        text += "\n  It has no fields.\n";
    }
    text
}

/// Every field with its default, range, help and choices; fields of nested tables under dotted keys.
fn collect_fields(root: &Value, schema: &Value, defaults: &Value, prefix: &str, fields: &mut Vec<Value>) {
    for (key, field) in schema["properties"].as_object().unwrap_or(&Map::new()) {
        let target = dereference(root, field);
        let required = schema["required"].as_array().is_some_and(|names| names.contains(&json!(key)));
        let default = if defaults.is_null() { field.get("default").unwrap_or(&Value::Null) } else { &defaults[key] };
        let full = format!("{prefix}{key}");
        let help = field["description"].as_str().or(target["description"].as_str()).unwrap_or_default();
        if target["properties"].is_object() {
            fields.push(json!({"key": full, "help": help, "is": "table"}));
            collect_fields(root, target, default, &format!("{full}."), fields);
            continue;
        }
        let choices: Vec<Value> = target["oneOf"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|choice| choice["const"].is_string())
            .map(|choice| json!({"value": choice["const"], "help": choice["description"]}))
            .collect();
        let range = if field["items"].is_object() { &field["items"] } else { field };
        let is = if required { "required" } else { "optional" };
        fields.push(json!({"key": full, "help": help, "is": is, "default": default, "minimum": range["minimum"], "maximum": range["maximum"], "choices": choices}));
    }
}

/// The schema a field points to: its own, one elsewhere in the document, or the only real one of an optional field.
fn dereference<'a>(root: &'a Value, field: &'a Value) -> &'a Value {
    let optional =
        field["anyOf"].as_array().and_then(|choices| choices.iter().find(|choice| choice["$ref"].is_string()));
    let pointer = optional.unwrap_or(field)["$ref"].as_str();
    pointer.and_then(|pointer| root.pointer(pointer.trim_start_matches('#'))).unwrap_or(field)
}

fn bounds(field: &Value) -> String {
    match (&field["minimum"], &field["maximum"]) {
        (Value::Null, Value::Null) => String::new(),
        (low, Value::Null) => format!("  (from {low})"),
        (Value::Null, high) => format!("  (to {high})"),
        (low, high) => format!("  ({low} to {high})"),
    }
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).expect("plain data") + "\n"
}
