//! The tier of a trial: which of a suite's frozen sizes it has. `suite/tier.rs` selects it.

use crate::evaluator::Downstream;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// The tier at which a suite was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tier {
    /// Its name.
    pub name: String,
    /// Hash of the resolved keys that all rows share; seeds, device, threads, paths, arenas and
    /// defenses are not included.
    pub keys: String,
    /// Whether `--set` changed one of those keys, an arena or a defense: then it differs from the
    /// tier of that name.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub modified: bool,
}

impl Tier {
    /// Identity of a trial's experiment in result lines, on data with this digest and these sets:
    /// equal values mean the same experiment.
    pub fn of_data(&self, digest: &str, sets: &[Downstream]) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.keys.as_bytes()).update(digest.as_bytes());
        for Downstream { label, set, .. } in sets {
            let parts = json!([label, set.name, set.classes, set.templates, set.fit.labels(), set.test.labels()]);
            hasher.update(parts.to_string().as_bytes());
        }
        format!("{} {}", self.said(), &hasher.finalize().to_hex()[..16])
    }

    /// Its name, marked if modified.
    pub fn said(&self) -> String {
        format!("{}{}", self.name, if self.modified { " (modified)" } else { "" })
    }
}
