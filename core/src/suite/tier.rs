//! Tiers: one experiment at several frozen sizes. A table `[tiers.NAME]` overrides keys of the
//! suite, `--tier NAME` selects one, and every result line names it. Results of two tiers are never
//! compared in one table (`report/src/view/comparable.rs` refuses them): a small tier shows that
//! the experiment runs, and is not comparable with a large one.

use super::{Resolved, Suite};
use crate::data::{ClassFile, vocabulary};
use crate::recipe::Recipe;
use crate::{Error, Result};
use serde_json::{Value, json};
use std::path::PathBuf;

/// Removes the table `tiers` from a suite's table and applies the selected tier to the rest.
///
/// # Errors
/// If there is no such tier.
pub(super) fn pick(suite: &mut toml::Table, tier: Option<&str>) -> Result<()> {
    let tiers = match suite.remove("tiers") {
        None => toml::Table::new(),
        Some(toml::Value::Table(tiers)) => tiers,
        Some(_) => return Err(Error::invalid("key `tiers`", "must be a table of tables: [tiers.small], [tiers.full]")),
    };
    let Some(name) = tier else { return Ok(()) };
    if tiers.is_empty() {
        return Err(Error::invalid(format!("--tier {name}"), "this suite has no tiers (tables [tiers.NAME])"));
    }
    match tiers.get(name) {
        Some(toml::Value::Table(keys)) => {
            lay_over(suite, keys);
            Ok(())
        }
        Some(_) => Err(Error::invalid(format!("key `tiers.{name}`"), "must be a table of the keys that it changes")),
        None => Err(Error::Unknown { kind: "tier", name: name.into(), known: tiers.keys().cloned().collect() }),
    }
}

/// Overrides keys, merging nested tables. A table that sets `kind`, `plugin` or `preset` replaces
/// the other table as a whole; `false` in place of a table removes it.
fn lay_over(below: &mut toml::Table, above: &toml::Table) {
    for (key, value) in above {
        match (below.get_mut(key), value) {
            (Some(toml::Value::Table(_)), toml::Value::Boolean(false)) => drop(below.remove(key)),
            (Some(toml::Value::Table(below)), toml::Value::Table(above)) if !is_another(above) => {
                lay_over(below, above)
            }
            _ => drop(below.insert(key.clone(), value.clone())),
        }
    }
}

/// Whether a table names its kind, plugin or preset.
fn is_another(table: &toml::Table) -> bool {
    ["kind", "plugin", "preset"].iter().any(|own| table.contains_key(*own))
}

impl Suite {
    /// Two hashes of resolved keys, which include plugins' defaults and the contents of class
    /// files: one of the keys that all rows share, which identify the tier; one of all keys that
    /// results depend on. Arenas and defenses may be added to a tier.
    ///
    /// # Errors
    /// If a plugin's keys cannot be resolved, or a class file cannot be read.
    pub(super) fn frozen(&self) -> Result<[String; 2]> {
        let Resolved { model, attacks, defenses, evaluators } = self.resolve()?;
        let classes = if self.classes.is_empty() { None } else { Some(vocabulary::read(&self.classes)?) };
        // Checkpoint settings change no result.
        let recipe = Recipe { checkpoint_steps: 0, keep_checkpoint: false, ..self.recipe.clone() };
        let mut shared = json!({
            "name": self.name, "heldout": self.heldout, "data": self.data, "classes": classes, "model": model,
            "recipe": recipe, "clean_after": self.clean_after, "baseline": self.baseline, "accuracy": self.accuracy,
            "attacks": attacks, "evaluators": evaluators, "downstream": self.downstream,
        });
        resolve_files(&mut shared)?;
        let rest = json!({ "arenas": self.arenas, "defenses": defenses, "gate": self.gate, "costly": self.costly });
        Ok([hash(&shared.to_string()), hash(&format!("{shared} {rest}"))])
    }
}

fn hash(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex()[..32].to_string()
}

/// Leaves out paths, which depend on the machine, and replaces a class file by its contents.
fn resolve_files(value: &mut Value) -> Result<()> {
    match value {
        Value::Object(table) => {
            ["path", "root"].iter().for_each(|key| drop(table.shift_remove(*key)));
            for (key, inner) in table.iter_mut() {
                match inner {
                    Value::String(path) if key == "class_file" && !path.is_empty() => {
                        *inner = json!(ClassFile::read(&PathBuf::from(path.as_str()))?);
                    }
                    inner => resolve_files(inner)?,
                }
            }
        }
        Value::Array(list) => list.iter_mut().try_for_each(resolve_files)?,
        _ => {}
    }
    Ok(())
}

/// Whether a setting is only a path.
pub(super) fn is_place(setting: &str) -> bool {
    let key = setting.split('=').next().unwrap_or_default();
    matches!(key.rsplit('.').next().map(str::trim), Some("path" | "root"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picked(tier: Option<&str>) -> Result<toml::Table> {
        let text = "heldout = 0.1\n[data]\nkind = \"csv\"\npath = \"a\"\nclass_column = \"c\"\n[defenses.clip]\n[defenses.roclip]\nevery = 2\n\
            [tiers.small]\nheldout = 0.2\ndefenses.roclip.first = 3\n[tiers.world]\ndata = { kind = \"world\" }\ndefenses.roclip = false\n";
        let mut table: toml::Table = text.parse().expect("TOML");
        pick(&mut table, tier).map(|()| table)
    }

    #[test]
    fn a_tier_overrides_keys_replaces_what_is_another_thing_and_leaves_out_what_is_false() {
        let small = picked(Some("small")).expect("it is there");
        assert_eq!((small["heldout"].as_float(), small.contains_key("tiers")), (Some(0.2), false));
        let roclip = &small["defenses"]["roclip"];
        assert_eq!((roclip["every"].as_integer(), roclip["first"].as_integer()), (Some(2), Some(3)));
        let world = picked(Some("world")).expect("it is there");
        assert!(world["data"].get("class_column").is_none(), "the columns of a table are none of the world's");
        assert!(world["defenses"].get("roclip").is_none() && world["defenses"].get("clip").is_some());
        assert_eq!(picked(None).expect("none is asked for")["heldout"].as_float(), Some(0.1));
        let message = picked(Some("smal")).expect_err("it is misspelt").chain();
        assert!(message.contains("did you mean `small`"), "{message}");
    }
}
