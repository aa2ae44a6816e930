//! Where plugins come from: the libraries loaded into this program, and those that a trial uses.
//! `library.rs` loads them.

use super::Configured;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// A loaded library. It stays loaded until the program ends.
pub struct Library {
    /// Prefix of its plugins' names: `mine` for `libmine.so`.
    pub name: String,
    /// Path as given.
    pub given: PathBuf,
    /// Canonical path, symbolic links resolved.
    pub path: PathBuf,
    /// What a trial records about it.
    pub origin: Origin,
}

/// Identity of a library, recorded to run the same again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// Name of the file as given, without its folder: the prefix of its plugins' names derives from
    /// it.
    pub file: String,
    /// BLAKE3 of its content.
    pub blake3: String,
    /// The versions it was built with.
    pub built: String,
}

/// Append-only: plugins are looked up by name anywhere in the program.
static LOADED: Mutex<Vec<&'static Library>> = Mutex::new(Vec::new());

/// Every loaded library, in order of loading.
pub fn loaded() -> Vec<&'static Library> {
    LOADED.lock().expect("nothing panics while it is locked").clone()
}

/// Adds a library to the loaded ones.
pub(crate) fn add(library: &'static Library) {
    LOADED.lock().expect("nothing panics while it is locked").push(library);
}

/// `mine` for `folder/libmine.so`, in the form of a plugin's name.
pub(crate) fn name(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    stem.strip_prefix("lib").unwrap_or(&stem).replace('_', "-")
}

/// The library of a plugin; `None` if the plugin is linked.
pub fn of(plugin: &str) -> Option<&'static Library> {
    let (name, _) = plugin.split_once('/')?;
    loaded().into_iter().find(|library| library.name == name)
}

/// The loaded libraries of these plugins and of the plugins that their configurations name, each
/// once.
pub fn used<'a>(plugins: impl IntoIterator<Item = &'a Configured>) -> Vec<Origin> {
    let loaded: Vec<Origin> = loaded().into_iter().map(|library| library.origin.clone()).collect();
    among(plugins, &loaded)
}

/// The `libraries` of these plugins and of the plugins that their configurations name, each once.
pub fn among<'a>(plugins: impl IntoIterator<Item = &'a Configured>, libraries: &[Origin]) -> Vec<Origin> {
    let mut names = Vec::new();
    for plugin in plugins {
        names.push(plugin.plugin.as_str());
        plugin.config.values().for_each(|value| named_in(value, &mut names));
    }
    let prefixes: Vec<&str> = names.iter().filter_map(|name| Some(name.split_once('/')?.0)).collect();
    let mut used: Vec<Origin> =
        libraries.iter().filter(|library| prefixes.contains(&library.name().as_str())).cloned().collect();
    used.sort();
    used.dedup();
    used
}

/// Plugins that a configuration names: the values of every key `plugin` in it.
fn named_in<'a>(value: &'a Value, names: &mut Vec<&'a str>) {
    match value {
        Value::Object(table) => {
            names.extend(table.get("plugin").and_then(Value::as_str));
            table.values().for_each(|value| named_in(value, names));
        }
        Value::Array(values) => values.iter().for_each(|value| named_in(value, names)),
        _ => {}
    }
}

impl Origin {
    /// Prefix of its plugins' names.
    fn name(&self) -> String {
        name(Path::new(&self.file))
    }

    /// Checks that exactly this library is loaded. A trial runs only with the libraries it was made
    /// with; gauntlet never loads a library because a file names it.
    pub fn check(&self) -> Result<()> {
        let named = loaded().into_iter().find(|library| library.name == self.name());
        let what = format!("plugin library {}", self.file);
        let short = |hash: &str| hash.chars().take(16).collect::<String>();
        match named {
            None => Err(Error::invalid(what, format!("is not loaded; give it: --plugin PATH/{}", self.file))),
            Some(library) if library.origin.blake3 != self.blake3 => {
                let why = format!(
                    "has another content than the trial was made with (BLAKE3 {}..., the trial says {}...); give that one: --plugin \
                     PATH/{}",
                    short(&library.origin.blake3),
                    short(&self.blake3),
                    self.file
                );
                Err(Error::invalid(what, why))
            }
            Some(_) => Ok(()),
        }
    }
}
