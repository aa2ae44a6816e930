//! The image trigger of another attack, for attacks that combine several. It has the attack's name
//! and keys; only the stamp is used.

use gauntlet::registry::{find, resolve};
use gauntlet::serde_json::{Map, Value};
use gauntlet::{Attack, Error, PoisonCtx, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use tch::{Device, Kind, Tensor};

/// Another attack's trigger. It stores every key of that attack but `poison`, so that a resolved
/// trial replays even if defaults change.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Written")]
pub struct Trigger {
    plugin: String,
    config: Map<String, Value>,
}

/// The attack as the suite writes it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Written {
    /// Name of the attack.
    plugin: String,
    /// Its keys, without `poison`, which the using attack sets; `preset` names one of its presets.
    #[serde(default)]
    config: Map<String, Value>,
}

impl TryFrom<Written> for Trigger {
    type Error = String;

    fn try_from(written: Written) -> std::result::Result<Self, String> {
        Trigger::resolve(written).map_err(|error| error.chain())
    }
}

impl Trigger {
    /// The trigger of a built-in attack, with its defaults changed by `keys`.
    pub fn new(plugin: &str, keys: &[(&str, Value)]) -> Self {
        let config = keys.iter().map(|(key, value)| (key.to_string(), value.clone())).collect();
        Trigger::resolve(Written { plugin: plugin.into(), config }).expect("the attack is built in")
    }

    fn resolve(Written { plugin, config }: Written) -> Result<Trigger> {
        let wrong = |why: &str| Error::invalid(format!("trigger `{plugin}`"), why);
        if config.contains_key("poison") {
            return Err(wrong("must not set the key `poison`, which belongs to the attack that uses the trigger"));
        }
        let mut config = resolve(find::<dyn Attack>(&plugin)?, &config)?;
        config.shift_remove("poison").ok_or_else(|| wrong("is no backdoor with a trigger for images"))?;
        Ok(Trigger { plugin, config })
    }

    /// The files that the trigger reads.
    pub fn reads(&self) -> Result<Vec<PathBuf>> {
        self.build()?.reads()
    }

    /// Stamps one image, to fail before training if the trigger cannot stamp.
    ///
    /// # Errors
    /// If it cannot stamp; an attack that optimises its trigger cannot be part of another attack.
    pub fn try_out(&self, ctx: &PoisonCtx) -> Result<()> {
        let side = i64::from(ctx.data.canvas.size());
        let black = Tensor::zeros([1, 3, side, side], (Kind::Uint8, Device::Cpu));
        self.stamp(&black, &[0]).map(drop).map_err(|error| error.during(format!("trigger `{}`", self.plugin)))
    }

    /// Stamps images as that attack does.
    pub fn stamp(&self, canvas: &Tensor, keys: &[u64]) -> Result<Tensor> {
        self.build()?.stamp(canvas, keys)
    }

    fn build(&self) -> Result<Box<dyn Attack>> {
        find::<dyn Attack>(&self.plugin)?.build(&Value::Object(self.config.clone()).to_string())
    }
}
