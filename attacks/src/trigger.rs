//! The image trigger of another attack, for attacks that are made of several: its name and keys, of
//! which only the stamp is used.

use gauntlet::registry::{find, resolve};
use gauntlet::serde_json::{Map, Value};
use gauntlet::{Attack, Error, PoisonCtx, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use tch::{Device, Kind, Tensor};

/// Another attack's trigger, with every key of that attack but `poison`, so that a resolved trial
/// replays whatever defaults become.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Written")]
pub struct Trigger {
    plugin: String,
    config: Map<String, Value>,
}

/// A backdoor of which only the stamp is used.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Written {
    /// Name of the attack.
    plugin: String,
    /// Its keys without `poison`, which the attack has that uses the trigger; `preset` names one of its presets.
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
    /// The trigger of an attack that ships, its defaults but for some keys.
    pub fn new(plugin: &str, keys: &[(&str, Value)]) -> Self {
        let config = keys.iter().map(|(key, value)| (key.to_string(), value.clone())).collect();
        Trigger::resolve(Written { plugin: plugin.into(), config }).expect("it ships with this")
    }

    fn resolve(Written { plugin, config }: Written) -> Result<Trigger> {
        let wrong = |why: &str| Error::invalid(format!("trigger `{plugin}`"), why);
        if config.contains_key("poison") {
            return Err(wrong("has a key `poison`, which belongs to the attack that uses the trigger"));
        }
        let mut config = resolve(find::<dyn Attack>(&plugin)?, &config)?;
        config.shift_remove("poison").ok_or_else(|| wrong("is no backdoor with a trigger for images"))?;
        Ok(Trigger { plugin, config })
    }

    /// The files that it reads.
    pub fn reads(&self) -> Result<Vec<PathBuf>> {
        self.build()?.reads()
    }

    /// Stamps an image to see that it can, before anything is trained.
    ///
    /// # Errors
    /// If it cannot, as an attack that optimises its trigger cannot: it is no part of another.
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
