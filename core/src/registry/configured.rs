//! A plugin with its configuration, as resolved trials, poison and bundles record it.

use super::{Role, find};
use crate::Result;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A plugin with its complete configuration, under the label that the suite gives it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Configured {
    /// Unique in its role within the suite.
    pub label: String,
    /// Its configuration, completed with defaults.
    pub plugin: String,
    /// Its configuration, defaults filled in.
    pub config: Map<String, Value>,
}

impl Configured {
    /// Builds the plugin.
    pub fn build<T: Role + ?Sized>(&self) -> Result<Box<T>> {
        find::<T>(&self.plugin)?.build(&serde_json::to_string(&self.config).expect("plain data"))
    }
}

/// Whether a name can be used as a folder name.
pub fn is_label(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    !name.is_empty() && name.chars().all(allowed) && !name.starts_with('.')
}
