//! From a suite's table of plugins (label -> keys) to complete configurations. Some keys are the suite's own: `plugin` names the
//! plugin where the label does not, `preset` a preset of it, `of` another label of the same table, whose values are taken over, and a
//! defense's `oracle` and `weights` are none of the plugin's business.

use crate::registry::Configured;
use crate::registry::{self, Plugin, Role, preset};
use crate::{Defense, Error, Result};
use serde_json::{Map, Value};

/// Resolves a whole table, in its order.
pub(super) fn all<T: Role + ?Sized>(table: &Map<String, Value>) -> Result<Vec<Configured>> {
    table.keys().map(|label| one::<T>(table, label)).collect()
}

fn one<T: Role + ?Sized>(table: &Map<String, Value>, label: &str) -> Result<Configured> {
    let place = format!("{} `{label}`", T::KIND);
    let mut config = table[label].as_object().cloned().ok_or_else(|| Error::invalid(&place, "must be a table"))?;
    let weights = if T::KIND == <dyn Defense>::KIND { name_in(&mut config, "weights", &place)? } else { None };
    // What was trained elsewhere is measured as plain CLIP is: nothing of it runs here.
    let unnamed = if weights.is_some() { "clip" } else { label };
    let name = name_in(&mut config, "plugin", &place)?.unwrap_or_else(|| unnamed.into());
    let of = name_in(&mut config, "of", &place)?;
    if weights.is_some() && name != "clip" {
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
    if table[label].get("oracle") == Some(&Value::Bool(true)) && name != "clip" {
        let why = "`oracle` is for plain CLIP: `plugin = \"clip\"`; a defense's own looks at the data would still meet the poison";
        return Err(Error::invalid(&place, why));
    }
    let plugin = registry::find::<T>(&name).map_err(|error| error.during(&place))?;
    if let Some(of) = of {
        take_over(plugin, &mut config, table, (label, &of))
            .map_err(|error| error.during(format!("{place}, key `of`")))?;
    }
    let config = registry::resolve(plugin, &config)?;
    Ok(Configured { label: label.to_string(), plugin: name, config })
}

/// Takes a key of the suite's own, which names something, out of a table.
fn name_in(config: &mut Map<String, Value>, key: &str, place: &str) -> Result<Option<String>> {
    match config.shift_remove(key) {
        None => Ok(None),
        Some(Value::String(name)) => Ok(Some(name)),
        Some(other) => Err(Error::invalid(place, format!("`{key}` must be a name, not {other}"))),
    }
}

/// Gives `config` the value of every key that `plugin` shares with the one labelled `of`. Where both are the same plugin this is an ablation,
/// and the keys that are set here are what it changes; elsewhere such a key is an error: two values would be two truths.
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
        return Err(Error::invalid(format!("`{of}`"), "follows another itself; name that one"));
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
            return Err(Error::invalid(format!("`{of}`"), "is the same plugin, of which no key is changed here"));
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

/// The values in `other` of the keys that `plugin` has, too.
fn shared<T: Role + ?Sized>(plugin: &Plugin<T>, other: &Configured) -> Map<String, Value> {
    let defaults: Map<String, Value> = serde_json::from_str(&(plugin.defaults)()).expect("defaults are a JSON object");
    defaults.keys().filter_map(|key| Some((key.clone(), other.config.get(key)?.clone()))).collect()
}

/// Controls (plugins named `...-control`) that repeat another's keys by hand and agree with none of those they could control.
pub(super) fn stray_controls<T: Role + ?Sized>(table: &Map<String, Value>) -> Result<Vec<String>> {
    let all = all::<T>(table)?;
    let mut warnings = Vec::new();
    for control in all.iter().filter(is_control).filter(|control| table[&control.label].get("of").is_none()) {
        let plugin = registry::find::<T>(&control.plugin)?;
        let others = all.iter().filter(|other| !is_control(other) && !shared(plugin, other).is_empty());
        let unlike: Vec<(&String, Vec<String>)> =
            others.map(|other| (&other.label, unlike(plugin, control, other))).collect();
        if let Some((label, keys)) = unlike.first().filter(|_| unlike.iter().all(|(_, keys)| !keys.is_empty())) {
            warnings.push(format!(
                "{} `{}` controls for nothing in this suite: it differs from `{label}` in {}; `of = \"{label}\"` takes these over",
                T::KIND,
                control.label,
                keys.join(", ")
            ));
        }
    }
    Ok(warnings)
}

fn is_control(configured: &&Configured) -> bool {
    configured.plugin.ends_with("-control")
}

/// The keys in which a control differs from one that it could control for.
fn unlike<T: Role + ?Sized>(plugin: &Plugin<T>, control: &Configured, other: &Configured) -> Vec<String> {
    let shared = shared(plugin, other).into_iter();
    shared.filter(|(key, value)| control.config[key] != *value).map(|(key, _)| format!("`{key}`")).collect()
}
