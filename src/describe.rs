//! `gauntlet list`, `gauntlet describe` and `gauntlet schema`. Their texts come from the plugins'
//! structs and presets.

use comfy_table::{ContentArrangement, LineStyle, Table, presets::UTF8_HORIZONTAL_ONLY};
use gauntlet::data::{csv::Csv, webdataset::Webdataset, world::World};
use gauntlet::defense::{Needs, Undefended};
use gauntlet::evaluator::DownstreamConfig;
use gauntlet::recipe::{self, Recipe};
use gauntlet::registry::{self, Plugin, Preset, PresetField, Role, schema_of};
use gauntlet::suite::{self, Suite};
use gauntlet::{Attack, Defense, Error, Evaluator, Result};
use serde_json::{Map, Value, json};
use std::fmt::Write;
use std::path::Path;

/// Lists every plugin, one line each.
pub fn list(as_json: bool) -> Result<String> {
    let rows = [rows::<dyn Attack>()?, rows::<dyn Defense>()?, rows::<dyn Evaluator>()?].concat();
    if as_json {
        let rows: Vec<Value> = rows
            .iter()
            .map(|row| json!({"kind": row.kind, "name": row.name, "summary": row.summary, "paper": row.paper, "library": row.library}))
            .collect();
        return Ok(pretty(&Value::Array(rows)));
    }
    let mut text = String::new();
    let mut last = "";
    let width = rows.iter().map(|row| row.name.len()).max().unwrap_or_default();
    for Listed { kind, name, summary, library, .. } in rows {
        if kind != last {
            text += &format!("{}{kind}s\n", if last.is_empty() { "" } else { "\n" });
        }
        let from = library.map(|path| format!("\n  {:width$} from {}", "", path.display())).unwrap_or_default();
        text += &format!("  {name:width$} {summary}{from}\n");
        last = kind;
    }
    Ok(text + "\n`gauntlet describe NAME` explains a plugin; `gauntlet describe suite` explains the keys of a suite.\n")
}

/// A plugin in the list.
#[derive(Clone)]
struct Listed {
    kind: &'static str,
    name: &'static str,
    summary: &'static str,
    paper: &'static str,
    /// The library that it was loaded from; `None` for a linked plugin.
    library: Option<&'static Path>,
}

fn rows<T: Role + ?Sized>() -> Result<Vec<Listed>> {
    let row = |plugin: &'static Plugin<T>| Listed {
        kind: T::KIND,
        name: plugin.name,
        summary: plugin.summary,
        paper: plugin.paper,
        library: plugin.library().map(|library| library.path.as_path()),
    };
    Ok(registry::all::<T>()?.into_iter().map(row).collect())
}

/// Describes one plugin, or one part of a suite file.
pub fn describe(name: &str, as_json: bool) -> Result<String> {
    let part = |name: &'static str, summary: &'static str, schema: String| About {
        kind: "part",
        name,
        summary,
        paper: "",
        library: None,
        schema,
        defaults: Value::Null,
        scores: Vec::new(),
        needs: Vec::new(),
        presets: Vec::new(),
    };
    let recipe = part("recipe", "the table `[recipe]` of a suite: the training of every model", schema_of::<Recipe>());
    let parts = [
        part("suite", "the keys of a suite file", schema_of::<Suite>()),
        About { presets: recipe::preset::presets(), ..recipe },
        part("world", "`[data]` with kind = \"world\": the embedded procedural world", schema_of::<World>()),
        part("webdataset", "`[data]` with kind = \"webdataset\": tar shards", schema_of::<Webdataset>()),
        part("csv", "`[data]` with kind = \"csv\": a table of paths and captions", schema_of::<Csv>()),
        part(
            "downstream",
            "a table `[downstream.LABEL]`: a data set for evaluation (`gauntlet data list`)",
            schema_of::<DownstreamConfig>(),
        ),
    ];
    let mut evaluators = Vec::new();
    for plugin in registry::all::<dyn Evaluator>()? {
        let definitions = plugin.build(&(plugin.defaults)())?.definitions();
        let scores = definitions.iter().map(|score| json!(score)).collect();
        evaluators.push(About { scores, ..About::plugin(plugin) });
    }
    let attacks = registry::all::<dyn Attack>()?.into_iter().map(About::plugin);
    let mut defenses = Vec::new();
    for plugin in registry::all::<dyn Defense>()? {
        let needs = plugin.build(&(plugin.defaults)())?.needs();
        defenses.push(About { needs: words(&needs), ..About::plugin(plugin) });
    }
    let all: Vec<About> = attacks.chain(defenses).chain(evaluators).chain(parts).collect();
    let known = || all.iter().map(|about| about.name.to_string()).collect();
    let defines = |about: &&About| about.scores.iter().any(|score| score["score"] == name);
    let about = all.iter().find(|about| about.name == name).or_else(|| all.iter().find(defines));
    let about = about.ok_or_else(|| Error::Unknown { kind: "plugin", name: name.into(), known: known() })?;
    Ok(if as_json { about.json() } else { about.text() })
}

/// The JSON schema of suite files.
pub fn schema() -> Result<String> {
    Ok(pretty(&suite::schema()?))
}

/// The description of a plugin or a part of a suite.
struct About {
    kind: &'static str,
    name: &'static str,
    summary: &'static str,
    paper: &'static str,
    library: Option<&'static Path>,
    schema: String,
    defaults: Value,
    scores: Vec<Value>,
    /// Inputs that a defense needs besides the data.
    needs: Vec<String>,
    presets: Vec<Preset>,
}

fn words(needs: &Needs) -> Vec<String> {
    let mut words = Vec::new();
    match needs.undefended {
        Undefended::Unused => {}
        Undefended::Reference => words.push("the undefended model, as reference model".into()),
        Undefended::Start => words.push("the undefended model, as initial model".into()),
    }
    if needs.clean_pairs > 0.0 {
        let share = needs.clean_pairs < 1.0;
        let count = if share {
            format!("{:.1}% of the rows", 100.0 * needs.clean_pairs)
        } else {
            needs.clean_pairs.to_string()
        };
        words.push(format!("pairs that are known to be clean: {count}, by default"));
    }
    words
}

impl About {
    fn plugin<T: Role + ?Sized>(plugin: &Plugin<T>) -> Self {
        About {
            kind: T::KIND,
            name: plugin.name,
            summary: plugin.summary,
            paper: plugin.paper,
            library: plugin.library().map(|library| library.path.as_path()),
            schema: (plugin.schema)(),
            defaults: serde_json::from_str(&(plugin.defaults)()).expect("defaults are JSON"),
            scores: Vec::new(),
            needs: Vec::new(),
            presets: registry::presets(plugin),
        }
    }

    fn fields(&self) -> Vec<Value> {
        let schema: Value = serde_json::from_str(&self.schema).expect("a schema is JSON");
        let mut fields = Vec::new();
        collect_fields(&schema, &schema, &self.defaults, "", &mut fields);
        fields
    }

    fn json(&self) -> String {
        let About { kind, name, summary, paper, library, scores, needs, presets, .. } = self;
        pretty(
            &json!({"kind": kind, "name": name, "summary": summary, "paper": paper, "library": library, "fields": self.fields(), "scores": scores, "needs": needs, "presets": presets}),
        )
    }

    fn text(&self) -> String {
        let mut text = format!("{} ({})\n  {}\n", self.name, self.kind, self.summary);
        if !self.paper.is_empty() {
            let _ = writeln!(text, "  paper: {}", self.paper);
        }
        if let Some(library) = self.library {
            let _ = writeln!(text, "  from: {}", library.display());
        }
        for need in &self.needs {
            let _ = writeln!(text, "  needs: {need}");
        }
        for score in &self.scores {
            let better = match score["higher_is_better"].as_bool() {
                Some(true) => "higher is better",
                Some(false) => "lower is better",
                None => "diagnostic",
            };
            let version = match score["version"].as_u64() {
                Some(version) if version > 1 => format!(", version {version} of its definition"),
                _ => String::new(),
            };
            let (name, definition) = (word(&score["score"]), word(&score["definition"]));
            let _ = writeln!(text, "\n  score {name} ({better}{version})\n      {definition}");
        }
        let fields = self.fields();
        fields.iter().for_each(|field| explain(field, &mut text));
        if fields.is_empty() {
            text += "\n  It has no fields.\n";
        }
        if !self.presets.is_empty() {
            text += &compare(&fields, &self.presets);
        }
        text
    }
}

/// One field: default, range, help, choices.
fn explain(field: &Value, text: &mut String) {
    let value = match word(&field["is"]) {
        "optional" => format!("= {}", field["default"]),
        is => format!("({is})"),
    };
    let _ = writeln!(text, "\n  {} {value}{}", word(&field["key"]), bounds(field));
    for line in word(&field["help"]).lines() {
        let _ = writeln!(text, "      {}", line.trim());
    }
    for choice in field["choices"].as_array().into_iter().flatten() {
        let help = word(&choice["help"]).lines().map(str::trim).collect::<Vec<_>>().join("\n        ");
        let _ = writeln!(text, "      - {}: {help}", word(&choice["value"]));
    }
}

/// The presets side by side: every key with its default and each preset's value; then the numbered
/// sources, and the deviations of each preset.
fn compare(fields: &[Value], presets: &[Preset]) -> String {
    let mut sources: Vec<&str> = Vec::new();
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none()));
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(["key", "default"].into_iter().chain(presets.iter().map(|preset| preset.name.as_str())));
    for field in fields.iter().filter(|field| field["is"] != "table") {
        let mut row = vec![word(&field["key"]).to_string(), short(&field["default"])];
        for preset in presets {
            let found = preset.fields.iter().find(|PresetField { key, .. }| field["key"] == **key);
            row.push(found.map_or("–".into(), |found| {
                let known = sources.iter().position(|source| *source == found.source);
                let number = known.unwrap_or(sources.len());
                if known.is_none() {
                    sources.push(&found.source);
                }
                format!("{} [{}]", short(&found.value), number + 1)
            }));
        }
        table.add_row(row);
    }
    let mut text = format!(
        "\n  Presets: `preset = \"NAME\"`; keys that are set in addition override it.\n\n{table}\n\n  Sources:\n"
    );
    for (number, source) in sources.iter().enumerate() {
        let _ = writeln!(text, "  {:>4} {source}", format!("[{}]", number + 1));
    }
    for preset in presets {
        let _ = writeln!(text, "\n  {}: {}", preset.name, preset.summary);
        preset.deviations.iter().for_each(|deviation| text += &format!("      deviates: {deviation}\n"));
    }
    text
}

/// A value for a table: a number with many digits has four figures.
fn short(value: &Value) -> String {
    match value {
        Value::String(text) if text.is_empty() => "(empty)".into(),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(short).collect::<Vec<_>>().join(", ")),
        Value::Number(number) if number.to_string().len() > 8 => {
            let number = number.as_f64().expect("a JSON number");
            let places = (3 - number.abs().log10().floor() as i32).clamp(0, 12) as usize;
            format!("≈{number:.places$}")
        }
        other => other.to_string(),
    }
}

/// Every field with its default, range, help and choices; fields of nested tables under dotted
/// keys.
fn collect_fields(root: &Value, schema: &Value, defaults: &Value, prefix: &str, fields: &mut Vec<Value>) {
    for (key, field) in schema["properties"].as_object().unwrap_or(&Map::new()) {
        let target = dereference(root, field);
        let required = schema["required"].as_array().is_some_and(|names| names.contains(&json!(key)));
        let default = defaults.get(key).or(field.get("default")).unwrap_or(&Value::Null);
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

/// The schema of a field: its own, a referenced one, or the only non-null one of an optional field.
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
