//! The image trigger of another attack, for attacks that are made of several: its name and configuration, of which only `stamp` is used.

use gauntlet::plugin::{find, resolve};
use gauntlet::serde_json::{Map, Value};
use gauntlet::{Attack, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use tch::Tensor;

/// Another attack, of which only the trigger counts.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Written")]
pub struct Trigger {
    /// Name of the attack.
    pub plugin: String,
    /// Its keys, as in a table of its own; what is not given has its default.
    pub config: Map<String, Value>,
}

/// As a suite has it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Written {
    /// Name of the attack whose trigger it is.
    plugin: String,
    /// That attack's keys; what is not given has its default.
    #[serde(default)]
    config: Map<String, Value>,
}

impl TryFrom<Written> for Trigger {
    type Error = String;

    fn try_from(Written { plugin, config }: Written) -> std::result::Result<Self, String> {
        let known = find::<dyn Attack>(&plugin).map_err(|error| error.chain())?;
        let config = resolve(known, &config).map_err(|error| error.chain())?;
        Ok(Trigger { plugin, config })
    }
}

impl Trigger {
    /// The trigger of an attack that ships, with its default configuration but for some keys.
    pub fn new(plugin: &str, config: &[(&str, Value)]) -> Self {
        let config = config.iter().map(|(key, value)| (key.to_string(), value.clone())).collect();
        Written { plugin: plugin.into(), config }.try_into().expect("a default of ours names an attack and its keys")
    }

    /// The files that it reads.
    pub fn reads(&self) -> Result<Vec<PathBuf>> {
        self.build()?.reads()
    }

    /// Stamps pictures as that attack would.
    pub fn stamp(&self, canvas: &Tensor, keys: &[u64]) -> Result<Tensor> {
        self.build()?.stamp(canvas, keys)
    }

    fn build(&self) -> Result<Box<dyn Attack>> {
        find::<dyn Attack>(&self.plugin)?.build(&Value::Object(self.config.clone()).to_string())
    }
}
