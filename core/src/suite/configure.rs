//! From a suite's table of plugins (label -> keys) to complete configurations. Some keys are the
//! suite's own: `plugin` names the plugin where the label does not, `preset` a preset of it, `of`
//! another label of the same table, whose values are taken over, and a defense's `oracle` and
//! `weights` are none of the plugin's business.

use crate::defense::DefenseRole;
use crate::evaluator::{self, ScoreRole};
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
            "`oracle` is for plain CLIP: `plugin = \"{}\"`; a defense's own looks at the data would still meet the poison",
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

/// What a defense is there for, of the name of its plugin.
fn role(name: &str) -> Result<DefenseRole> {
    let plugin = registry::find::<dyn Defense>(name)?;
    Ok(plugin.build(&(plugin.defaults)())?.role())
}

/// Name of the plugin that is no defense.
fn undefended() -> Result<&'static str> {
    for plugin in registry::all::<dyn Defense>()? {
        if role(plugin.name)? == DefenseRole::Undefended {
            return Ok(plugin.name);
        }
    }
    Err(Error::invalid("defenses", "no plugin of this program is the undefended model"))
}

/// Refuses evaluators of which none measures the accuracy on downstream sets.
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

/// Takes a key of the suite's own, which names something, out of a table.
fn name_in(config: &mut Map<String, Value>, key: &str, place: &str) -> Result<Option<String>> {
    match config.shift_remove(key) {
        None => Ok(None),
        Some(Value::String(name)) => Ok(Some(name)),
        Some(other) => Err(Error::invalid(place, format!("`{key}` must be a name, not {other}"))),
    }
}

/// Gives `config` the value of every key that `plugin` shares with the one labelled `of`. Where
/// both are the same plugin this is an ablation, and the keys that are set here are what it
/// changes; elsewhere such a key is an error: two values would be two truths.
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

/// Controls that repeat another's keys by hand and agree with none of those they could control.
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
                "defense `{}` controls for nothing in this suite: it differs from `{label}` in {}; `of = \"{label}\"` takes these over",
                control.label,
                keys.join(", ")
            ));
        }
    }
    Ok(warnings)
}

/// The keys in which a control differs from one that it could control for.
fn unlike<T: Role + ?Sized>(plugin: &Plugin<T>, control: &Configured, other: &Configured) -> Vec<String> {
    let shared = shared(plugin, other).into_iter();
    shared.filter(|(key, value)| control.config[key] != *value).map(|(key, _)| format!("`{key}`")).collect()
}
