//! Rules that every plugin must satisfy. A plugin's own test is one call:
//!
//! ```no_run
//! gauntlet::conformance::check();
//! ```
//!
//! This crate is all that the test needs: attacks poison a small embedded world, defenses train on
//! it, and evaluators measure the result. `conformance/words.rs` checks a plugin's name, help and
//! configuration, `attacks.rs`, `defenses.rs` and `evaluators.rs` its behaviour; `standin.rs` holds
//! stand-ins for the other roles.

mod attacks;
mod defenses;
mod evaluators;
mod standin;
mod words;

use crate::library::guard;
use crate::registry::Configured;
use crate::registry::{self, Plugin, Role};
use crate::{Attack, Defense, Evaluator};
use serde_json::{Map, Value};
use std::collections::HashMap;

/// Checks every plugin that is linked into this binary, in its default configuration.
///
/// # Panics
/// If a plugin breaks a rule, or there is no plugin; the message has one line per failure, which
/// names the plugin.
pub fn check() {
    Conformance::default().check();
}

/// The checks, with keys for plugins that cannot run with their defaults.
#[derive(Default)]
pub struct Conformance {
    settings: HashMap<String, Map<String, Value>>,
}

/// Result of a check; the error says what is wrong with the plugin.
type Held = Result<(), String>;

impl Conformance {
    /// Sets keys (a table) over a plugin's defaults. Their values are not checked.
    ///
    /// # Panics
    /// If `keys` is not a table.
    pub fn with(mut self, plugin: &str, keys: Value) -> Self {
        let Value::Object(keys) = keys else { panic!("the keys of `{plugin}` must be a table, not {keys}") };
        self.settings.insert(plugin.to_string(), keys);
        self
    }

    /// Runs all of the checks below.
    ///
    /// # Panics
    /// Like [`check`](check()).
    pub fn check(&self) {
        guard::shorten_panics();
        let none = names::<dyn Attack>().and_then(|attacks| {
            Ok(attacks.is_empty() && names::<dyn Defense>()?.is_empty() && names::<dyn Evaluator>()?.is_empty())
        });
        let none = none.unwrap_or_else(|error| panic!("{}", error.chain()));
        assert!(!none, "no plugin is linked into this binary; call something of its crate, or test within the crate");
        let checks =
            [self.words(), self.configurations(), self.presets(), self.attacks(), self.defenses(), self.evaluators()];
        let failures = checks.concat();
        assert!(failures.is_empty(), "plugins that break a rule:\n{}", failures.join("\n"));
    }

    /// Every plugin has a one-line summary, and a description of each field. Returns one line per
    /// failure.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        [
            self.each::<dyn Attack>(words::documented),
            self.each::<dyn Defense>(words::documented),
            self.each::<dyn Evaluator>(words::documented),
        ]
        .concat()
    }

    /// Defaults and a resolved trial's configuration resolve to themselves, and an unknown key is
    /// refused. Returns one line per failure.
    #[must_use]
    pub fn configurations(&self) -> Vec<String> {
        let (attacks, defenses) = (self.each::<dyn Attack>(words::resolves), self.each::<dyn Defense>(words::resolves));
        [attacks, defenses, self.each::<dyn Evaluator>(words::resolves)].concat()
    }

    /// Every preset has a value and a source for every field, and resolves to these values. Returns
    /// one line per failure.
    #[must_use]
    pub fn presets(&self) -> Vec<String> {
        let (attacks, defenses) = (self.each::<dyn Attack>(words::presets), self.each::<dyn Defense>(words::presets));
        [attacks, defenses, self.each::<dyn Evaluator>(words::presets)].concat()
    }

    /// Every attack is a function of its seed, has the same goal in every arena, and stamps each
    /// image independently. Returns one line per failure.
    #[must_use]
    pub fn attacks(&self) -> Vec<String> {
        let prepared_data = attacks::TestData::new();
        self.each::<dyn Attack>(|plugin| prepared_data.check(plugin, &self.configured(plugin)))
    }

    /// Every defense trains a few steps, ends with bit-identical weights when it is run again, and
    /// also when it is interrupted after every step and resumed from its state. Returns one line
    /// per failure.
    #[must_use]
    pub fn defenses(&self) -> Vec<String> {
        self.each::<dyn Defense>(|plugin| defenses::check(plugin, &self.configured(plugin)))
    }

    /// Every evaluator defines its scores, no two evaluators define the same score, and each gives
    /// equal scores twice, for every kind of goal. Returns one line per failure.
    #[must_use]
    pub fn evaluators(&self) -> Vec<String> {
        let mut scores = HashMap::new();
        let defined = registry::all::<dyn Evaluator>().into_iter().flatten();
        let twice: Vec<String> = defined.filter_map(|plugin| evaluators::twice(plugin, &mut scores).err()).collect();
        [twice, self.each::<dyn Evaluator>(|plugin| evaluators::check(plugin, &self.configured(plugin)))].concat()
    }

    /// Checks every plugin of a role; failures name the plugin.
    fn each<T: Role + ?Sized>(&self, check: impl Fn(&Plugin<T>) -> Held) -> Vec<String> {
        let plugins = match registry::all::<T>() {
            Ok(plugins) => plugins,
            Err(error) => return vec![error.chain()],
        };
        let failure = |plugin: &Plugin<T>| check(plugin).err().map(|why| failure(T::KIND, plugin.name, &why));
        plugins.into_iter().filter_map(failure).collect()
    }

    /// A plugin as configured by a suite that sets only the required keys.
    fn configured<T: ?Sized>(&self, plugin: &Plugin<T>) -> Configured {
        let mut config = defaults(plugin);
        config.extend(self.settings.get(plugin.name).cloned().unwrap_or_default());
        Configured { label: plugin.name.into(), plugin: plugin.name.into(), config }
    }
}

/// A failure of a plugin. The trial that the plugin failed in has often named it already, by label
/// and by plugin, which here are the same: it is named once.
fn failure(kind: &str, name: &str, why: &str) -> String {
    let names = [format!("{kind} `{name}`: "), format!("plugin `{name}`: ")];
    let mut rest = why;
    while let Some(shorter) = names.iter().find_map(|name| rest.strip_prefix(name.as_str())) {
        rest = shorter;
    }
    format!("{}{rest}", names[0])
}

fn names<T: Role + ?Sized>() -> crate::Result<Vec<&'static str>> {
    Ok(registry::all::<T>()?.into_iter().map(|plugin| plugin.name).collect())
}

fn defaults<T: ?Sized>(plugin: &Plugin<T>) -> Map<String, Value> {
    serde_json::from_str(&(plugin.defaults)()).expect("defaults are a JSON object")
}

/// `Ok` if `right`, otherwise the reason `why`.
fn must(right: bool, why: impl Into<String>) -> Held {
    if right { Ok(()) } else { Err(why.into()) }
}

#[cfg(test)]
mod tests;
