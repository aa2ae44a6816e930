//! What every plugin must hold, whoever wrote it. A plugin's own test is one call:
//!
//! ```no_run
//! gauntlet::conformance::check();
//! ```
//!
//! Nothing beside this crate is needed: attacks poison a small embedded world, defenses train on it
//! and evaluators measure what came of that. `conformance/words.rs` checks what a plugin says of
//! itself, `attacks.rs`, `defenses.rs` and `evaluators.rs` what it does, and `standin.rs` plays the
//! parts that the plugin at hand does not play.

mod attacks;
mod defenses;
mod evaluators;
mod standin;
mod words;

use crate::registry::Configured;
use crate::registry::{self, Plugin, Role};
use crate::{Attack, Defense, Evaluator};
use serde_json::{Map, Value};
use std::collections::HashMap;

/// Checks every plugin that is linked into this very binary, as its default configuration has it.
///
/// # Panics
/// If one does not hold what it must, or there is none; the message has a line for each failure,
/// which names the plugin.
pub fn check() {
    Conformance::default().check();
}

/// The checks, for plugins that need a key or two before they can run at all.
#[derive(Default)]
pub struct Conformance {
    settings: HashMap<String, Map<String, Value>>,
}

/// What a check finds: nothing, or what is wrong with the plugin.
type Held = Result<(), String>;

impl Conformance {
    /// With these keys (a table) over the defaults of a plugin; what they must be is its own business.
    ///
    /// # Panics
    /// If `keys` is no table.
    pub fn with(mut self, plugin: &str, keys: Value) -> Self {
        let Value::Object(keys) = keys else { panic!("the keys of `{plugin}` must be a table, not {keys}") };
        self.settings.insert(plugin.to_string(), keys);
        self
    }

    /// All of the checks below.
    ///
    /// # Panics
    /// As [`check`](check()) does.
    pub fn check(&self) {
        let none = names::<dyn Attack>().and_then(|attacks| {
            Ok(attacks.is_empty() && names::<dyn Defense>()?.is_empty() && names::<dyn Evaluator>()?.is_empty())
        });
        let none = none.unwrap_or_else(|error| panic!("{}", error.chain()));
        assert!(!none, "no plugin is linked into this binary; call something of its crate, or test within the crate");
        let checks =
            [self.words(), self.configurations(), self.presets(), self.attacks(), self.defenses(), self.evaluators()];
        let failures = checks.concat();
        assert!(failures.is_empty(), "plugins that do not hold what they must:\n{}", failures.join("\n"));
    }

    /// Every plugin says in a line what it is, and of each of its fields what it means. Returns
    /// what fails, a line each.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        [
            self.each::<dyn Attack>(words::told),
            self.each::<dyn Defense>(words::told),
            self.each::<dyn Evaluator>(words::told),
        ]
        .concat()
    }

    /// Defaults and a resolved trial's configuration resolve to themselves, and an unknown key is
    /// refused. Returns what fails.
    #[must_use]
    pub fn configurations(&self) -> Vec<String> {
        let (attacks, defenses) = (self.each::<dyn Attack>(words::resolves), self.each::<dyn Defense>(words::resolves));
        [attacks, defenses, self.each::<dyn Evaluator>(words::resolves)].concat()
    }

    /// Every preset has a value and a source for every field, and resolves to these values. Returns what fails.
    #[must_use]
    pub fn presets(&self) -> Vec<String> {
        let (attacks, defenses) = (self.each::<dyn Attack>(words::presets), self.each::<dyn Defense>(words::presets));
        [attacks, defenses, self.each::<dyn Evaluator>(words::presets)].concat()
    }

    /// Every attack is a function of its seed, wants the same in every arena and stamps each image
    /// for itself. Returns what fails.
    #[must_use]
    pub fn attacks(&self) -> Vec<String> {
        let ground = attacks::TestData::new();
        self.each::<dyn Attack>(|plugin| ground.check(plugin, &self.configured(plugin)))
    }

    /// Every defense trains a few steps, ends with the same weights bit for bit when it does so
    /// again, and also when it is interrupted after every step and goes on from its state. Returns
    /// what fails.
    #[must_use]
    pub fn defenses(&self) -> Vec<String> {
        self.each::<dyn Defense>(|plugin| defenses::check(plugin, &self.configured(plugin)))
    }

    /// Every evaluator defines its scores, no two of them one score, and gives the same ones twice,
    /// whatever the attackers want. Returns what fails.
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
        let failure =
            |plugin: &Plugin<T>| check(plugin).err().map(|why| format!("{} `{}`: {why}", T::KIND, plugin.name));
        plugins.into_iter().filter_map(failure).collect()
    }

    /// A plugin as a suite would have it that sets no more than it must.
    fn configured<T: ?Sized>(&self, plugin: &Plugin<T>) -> Configured {
        let mut config = defaults(plugin);
        config.extend(self.settings.get(plugin.name).cloned().unwrap_or_default());
        Configured { label: plugin.name.into(), plugin: plugin.name.into(), config }
    }
}

fn names<T: Role + ?Sized>() -> crate::Result<Vec<&'static str>> {
    Ok(registry::all::<T>()?.into_iter().map(|plugin| plugin.name).collect())
}

fn defaults<T: ?Sized>(plugin: &Plugin<T>) -> Map<String, Value> {
    serde_json::from_str(&(plugin.defaults)()).expect("defaults are a JSON object")
}

/// `Ok` where something is as it must be, and otherwise why it is not.
fn must(right: bool, why: impl Into<String>) -> Held {
    if right { Ok(()) } else { Err(why.into()) }
}

#[cfg(test)]
mod tests;
