//! Checks a suite's keys and the names they refer to, before any plugin is built.

use super::{MEAN, Suite, configure};
use crate::poison::CLEAN;
use crate::registry::is_label;
use crate::trial::check_ranges;
use crate::{Error, Result};
use serde_json::Value;

impl Suite {
    pub(super) fn check(&self) -> Result<()> {
        check_ranges(self.threads, self.heldout, self.cache_gb, &self.recipe, self.clean_after)?;
        let mut seeds = self.seeds.clone();
        seeds.sort_unstable();
        seeds.dedup();
        match () {
            () if self.seeds.is_empty() => wrong("seeds", "must name at least one seed"),
            () if seeds.len() < self.seeds.len() => wrong("seeds", "names a seed twice"),
            () if self.arenas.contains_key(CLEAN) => wrong("arenas", "`clean` is always added and has no attacks"),
            () if self.clean_after == Some(0) => {
                wrong("clean_after", "must be at least 1 and less than `recipe.epochs`")
            }
            () if self.is_oracle(&self.baseline) => {
                wrong("baseline", "is an oracle, which uses the ground truth; name a defense that does not")
            }
            () => self.check_names(),
        }
    }

    fn check_names(&self) -> Result<()> {
        self.check_arenas()?;
        if !self.defenses.contains_key(&self.baseline) {
            let known = self.defenses.keys().cloned().collect();
            let unknown = Error::Unknown { kind: "defense", name: self.baseline.clone(), known };
            return Err(unknown.during("key `baseline`"));
        }
        self.check_accuracy()?;
        self.defenses.iter().try_for_each(check_weights)?;
        self.check_labels()
    }

    fn check_arenas(&self) -> Result<()> {
        for (arena, attacks) in &self.arenas {
            if let Some(name) = attacks.iter().find(|name| !self.attacks.contains_key(*name)) {
                let known = self.attacks.keys().cloned().collect();
                let unknown = Error::Unknown { kind: "attack", name: name.clone(), known };
                return Err(unknown.during(format!("arena `{arena}`")));
            }
        }
        match self.arenas.iter().find(|(_, attacks)| names_twice(attacks)) {
            Some((arena, _)) => Err(Error::invalid(format!("arena `{arena}`"), "names an attack twice")),
            None => Ok(()),
        }
    }

    /// Checks that some evaluator measures the key `accuracy`.
    fn check_accuracy(&self) -> Result<()> {
        let accuracy = &self.accuracy;
        if accuracy.is_empty() {
            return Ok(());
        }
        if self.downstream.is_empty() {
            let set = if accuracy == MEAN { "LABEL" } else { accuracy };
            let why = format!(
                "is `{accuracy}`, but the suite has no downstream set: add a table [downstream.{set}] with its path"
            );
            return Err(Error::invalid("key `accuracy`", why));
        }
        if accuracy != MEAN && !self.downstream.contains_key(accuracy) {
            let known = self.downstream.keys().map(String::clone).chain([MEAN.into()]).collect();
            let unknown = Error::Unknown { kind: "table [downstream.LABEL]", name: accuracy.clone(), known };
            return Err(unknown.during("key `accuracy`"));
        }
        if self.evaluators.is_empty() { Ok(()) } else { configure::check_accuracy(&self.evaluators) }
    }

    fn check_labels(&self) -> Result<()> {
        let labels = self.defenses.keys().chain(self.attacks.keys()).chain(self.arenas.keys());
        match labels.chain(self.downstream.keys()).find(|name| !is_label(name)) {
            None => Ok(()),
            Some(name) => Err(Error::invalid(
                format!("label `{name}`"),
                "may hold only letters, digits, dash, dot and underscore, since it names a folder; `plugin = \"...\"` names the plugin",
            )),
        }
    }
}

fn wrong(key: &str, why: &str) -> Result<()> {
    Err(Error::invalid(format!("key `{key}`"), why))
}

fn names_twice(attacks: &[String]) -> bool {
    attacks.iter().enumerate().any(|(place, attack)| attacks[..place].contains(attack))
}

/// Checks the path pattern of weights that were trained elsewhere: only arena and seed are
/// substituted.
fn check_weights((label, table): (&String, &Value)) -> Result<()> {
    let pattern = table.get("weights").and_then(Value::as_str).unwrap_or_default();
    let rest = pattern.replace("{arena}", "").replace("{seed}", "");
    if !rest.contains(['{', '}']) {
        return Ok(());
    }
    let why = format!("`{pattern}`: only {{arena}} and {{seed}} are substituted");
    Err(Error::invalid(format!("key `defenses.{label}.weights`"), why))
}
