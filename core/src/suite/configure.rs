//! Resolves a suite's table of plugins (label -> keys) to complete configurations. The suite itself
//! uses some keys: `plugin` names the plugin if the label does not, `preset` names one of its
//! presets, `of` names another label of the same table to copy values from, and `oracle` and
//! `weights` of a defense never reach the plugin.

use crate::defense::DefenseRole;
use crate::evaluator::{self, ScoreRole};
use crate::registry::Configured;
use crate::registry::{self, Plugin, Role, preset};
use crate::{Defense, Error, Result};
use serde_json::{Map, Value};

/// Resolves a whole table, in order.
pub(super) fn all<T: Role + ?Sized>(table: &Map<String, Value>) -> Result<Vec<Configured>> {
    table.keys().map(|label| one::<T>(table, label)).collect()
}

fn one<T: Role + ?Sized>(table: &Map<String, Value>, label: &str) -> Result<Configured> {
    let place = format!("{} `{label}`", T::KIND);
    let mut config = table[label].as_object().cloned().ok_or_else(|| Error::invalid(&place, "must be a table"))?;
    let weights = if T::KIND == <dyn Defense>::KIND { name_in(&mut config, "weights", &place)? } else { None };
    // Weights that were trained elsewhere are measured as plain CLIP: no defense runs here.
    let name = match name_in(&mut config, "plugin", &place)? {
        Some(name) => name,
        None if weights.is_some() => undefended()?.into(),
        None => label.to_string(),
    };
    let of = name_in(&mut config, "of", &place)?;
    if weights.is_some() && role(&name)? != DefenseRole::Undefended {
        let why = format!(
            "`weights` are measured and nothing is trained, so `plugin = \"{name}\"` would do nothing: leave it out"
        );
        return Err(Error::invalid(&place, why));
    }
    if T::KIND == <dyn Defense>::KIND
        && let Some(oracle) = config.shift_remove("oracle")
        && !oracle.is_boolean()
    {
        return Err(Error::invalid(&place, format!("`oracle` must be true or false, not {oracle}")));
    }
    let plugin = registry::find::<T>(&name).map_err(|error| error.during(&place))?;
    if T::KIND == <dyn Defense>::KIND
        && table[label].get("oracle") == Some(&Value::Bool(true))
        && role(&name)? != DefenseRole::Undefended
    {
        let why = format!(
            "`oracle` is for plain CLIP: `plugin = \"{}\"`; another defense would still meet the poison when it reads the data",
            undefended()?
        );
        return Err(Error::invalid(&place, why));
    }
    if let Some(of) = of {
        take_over(plugin, &mut config, table, (label, &of))
            .map_err(|error| error.during(format!("{place}, key `of`")))?;
    }
    let config = registry::resolve(plugin, &config)?;
    Ok(Configured { label: label.to_string(), plugin: name, config })
}

/// The role of a defense, by the name of its plugin.
fn role(name: &str) -> Result<DefenseRole> {
    let plugin = registry::find::<dyn Defense>(name)?;
    Ok(plugin.build(&(plugin.defaults)())?.role())
}

/// Name of the plugin whose role is the undefended model.
fn undefended() -> Result<&'static str> {
    for plugin in registry::all::<dyn Defense>()? {
        if role(plugin.name)? == DefenseRole::Undefended {
            return Ok(plugin.name);
        }
    }
    Err(Error::invalid("defenses", "no registered plugin is the undefended model"))
}

/// Refuses a table of evaluators if none of them measures the accuracy on downstream sets.
pub(super) fn check_accuracy(evaluators: &Map<String, Value>) -> Result<()> {
    let all = evaluator::definitions()?.into_iter();
    let measuring = all.filter(|(_, definition)| definition.role == Some(ScoreRole::SetAccuracy));
    let measuring: Vec<&str> = measuring.map(|(plugin, _)| plugin).collect();
    let plugins = evaluators.iter().map(|(label, table)| table.get("plugin").and_then(Value::as_str).unwrap_or(label));
    if plugins.into_iter().any(|plugin| measuring.contains(&plugin)) {
        return Ok(());
    }
    let why = format!("is measured by `{}`, which `[evaluators]` does not name", measuring.join("` or `"));
    Err(Error::invalid("key `accuracy`", why))
}

/// Removes one of the suite's own keys from a plugin's table and returns the name it holds.
fn name_in(config: &mut Map<String, Value>, key: &str, place: &str) -> Result<Option<String>> {
    match config.shift_remove(key) {
        None => Ok(None),
        Some(Value::String(name)) => Ok(Some(name)),
        Some(other) => Err(Error::invalid(place, format!("`{key}` must be a name, not {other}"))),
    }
}

/// Copies into `config` the value of every key that `plugin` shares with the row labelled `of`. If
/// both are the same plugin, the row is an ablation and its own keys are the changes. Otherwise
/// setting a shared key is an error, since it would have two values.
fn take_over<T: Role + ?Sized>(
    plugin: &Plugin<T>,
    config: &mut Map<String, Value>,
    table: &Map<String, Value>,
    (label, of): (&str, &str),
) -> Result<()> {
    let followed = table.get(of).ok_or_else(|| {
        let known = table.iter().filter(|(_, other)| other.get("of").is_none()).map(|(label, _)| label.clone());
        Error::Unknown { kind: T::KIND, name: of.into(), known: known.collect() }
    })?;
    if followed.get("of").is_some() {
        return Err(Error::invalid(format!("`{of}`"), "has `of` itself; name the label it refers to"));
    }
    let followed = one::<T>(table, of)?;
    let shared = shared(plugin, &followed);
    if followed.plugin == plugin.name {
        if config.contains_key("preset") {
            return Err(Error::invalid(
                "key `preset`",
                format!("every value is taken over from `{of}`; set the keys to change"),
            ));
        }
        let mut all = shared.clone();
        preset::lay_over(&mut all, std::mem::take(config));
        if all == shared && table[label].get("oracle").is_none() {
            return Err(Error::invalid(
                format!("`{of}`"),
                "is the same plugin, and this table changes no key; set the keys to change",
            ));
        }
        *config = all;
        return Ok(());
    }
    if shared.is_empty() {
        return Err(Error::invalid(format!("`{of}`"), format!("has no key that `{}` has", plugin.name)));
    }
    for (key, value) in shared {
        if config.contains_key(&key) {
            return Err(Error::invalid(
                format!("key `{key}`"),
                format!("is taken over from `{of}`; leave it out here"),
            ));
        }
        config.insert(key, value);
    }
    Ok(())
}

/// The values in `other` of the keys that `plugin` also has.
fn shared<T: Role + ?Sized>(plugin: &Plugin<T>, other: &Configured) -> Map<String, Value> {
    let defaults: Map<String, Value> = serde_json::from_str(&(plugin.defaults)()).expect("defaults are a JSON object");
    defaults.keys().filter_map(|key| Some((key.clone(), other.config.get(key)?.clone()))).collect()
}

/// Warnings about controls that set another row's keys by hand, but match none of the rows they
/// could control for.
pub(super) fn stray_controls(table: &Map<String, Value>) -> Result<Vec<String>> {
    let (mut controls, mut others) = (Vec::new(), Vec::new());
    for configured in all::<dyn Defense>(table)? {
        let is_control = configured.build::<dyn Defense>()?.role() == DefenseRole::Control;
        if is_control { controls.push(configured) } else { others.push(configured) }
    }
    let mut warnings = Vec::new();
    for control in controls.iter().filter(|control| table[&control.label].get("of").is_none()) {
        let plugin = registry::find::<dyn Defense>(&control.plugin)?;
        let like = others.iter().filter(|other| !shared(plugin, other).is_empty());
        let unlike: Vec<(&String, Vec<String>)> =
            like.map(|other| (&other.label, unlike(plugin, control, other))).collect();
        if let Some((label, keys)) = unlike.first().filter(|_| unlike.iter().all(|(_, keys)| !keys.is_empty())) {
            warnings.push(format!(
                "defense `{}` controls for nothing in this suite: it differs from `{label}` in {}; `of = \"{label}\"` copies these keys",
                control.label,
                keys.join(", ")
            ));
        }
    }
    Ok(warnings)
}

/// The keys in which a control differs from a row that it could control for.
fn unlike<T: Role + ?Sized>(plugin: &Plugin<T>, control: &Configured, other: &Configured) -> Vec<String> {
    let shared = shared(plugin, other).into_iter();
    shared.filter(|(key, value)| control.config[key] != *value).map(|(key, _)| format!("`{key}`")).collect()
}
