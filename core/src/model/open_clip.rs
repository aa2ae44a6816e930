//! `open_clip_config.json`, open_clip's configuration next to weights. It is written, so that
//! open_clip loads a trial's folder in one line
//! (`open_clip.create_model_and_transforms('local-dir:FOLDER')`), and read, so that weights are
//! loaded into the model they were trained with.

use super::{Clip, ModelConfig};
use crate::data::regular;
use crate::{Error, Result};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Name of the file.
const CONFIG: &str = "open_clip_config.json";

/// Names of weight files, in the order in which open_clip 3.3 picks them from a folder.
const WEIGHTS: [&str; 8] = [
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pth",
    "model.safetensors",
    "pytorch_model.bin",
    "pytorch_model.pth",
    "model.pth",
];

/// CLIP's published constants, with which every image is normalised here (`train/pixels.rs`).
const MEAN: [f64; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
const STD: [f64; 3] = [0.268_629_54, 0.261_302_58, 0.275_777_11];

impl Clip {
    /// Saves the weights with open_clip's names, and next to them the configuration that open_clip
    /// needs to build the model.
    pub fn save(&self, path: &Path) -> Result<()> {
        self.weights.save(path)?;
        let text = serde_json::to_string_pretty(&config(&self.config)).expect("plain data") + "\n";
        crate::data::files::write_atomic(&path.with_file_name(CONFIG), text.as_bytes())
    }
}

fn config(model: &ModelConfig) -> Value {
    let preprocess = json!({ "mean": MEAN, "std": STD, "interpolation": "bicubic", "resize_mode": "shortest" });
    json!({ "model_cfg": model, "preprocess_cfg": preprocess })
}

/// The configuration next to weights.
pub(super) struct Beside {
    path: PathBuf,
    model: ModelConfig,
    preprocess: Value,
}

impl Beside {
    /// Reads it, if there is one.
    ///
    /// # Errors
    /// If it describes a model that is not built here.
    pub fn find(weights: &Path) -> Result<Option<Beside>> {
        let path = weights.with_file_name(CONFIG);
        if !path.is_file() {
            return Ok(None);
        }
        let place = format!("{}, beside the weights", path.display());
        let text = regular::read_to_string(&path, regular::WRITTEN).map_err(Error::io(&path))?;
        let mut json: Value = serde_json::from_str(&text).map_err(|why| Error::invalid(&place, why.to_string()))?;
        let Some(model) = json.get_mut("model_cfg").map(Value::take) else {
            return Err(Error::invalid(place, "has no `model_cfg`"));
        };
        let model = ModelConfig::read(model, &place)?;
        Ok(Some(Beside {
            path,
            model,
            preprocess: json.get_mut("preprocess_cfg").map(Value::take).unwrap_or_default(),
        }))
    }

    /// Refuses another model, and other image preprocessing than gauntlet's.
    pub fn check(&self, config: &ModelConfig) -> Result<()> {
        let place = || format!("{}, beside the weights", self.path.display());
        if let Some((key, theirs, ours)) = first_difference(&self.model, config) {
            let why = format!(
                "says that {key} is {theirs}, but the named model has {ours}; name {}",
                super::names::of(&self.model).map_or(self.path.display().to_string(), |name| format!("`{name}`"))
            );
            return Err(Error::invalid(place(), why));
        }
        let ours = self::config(config)["preprocess_cfg"].take();
        for (key, ours) in ours.as_object().expect("written as one") {
            let theirs = &self.preprocess[key];
            if !theirs.is_null() && !same(theirs, ours) {
                let why = format!(
                    "`preprocess_cfg.{key}` is {theirs}; here images are prepared with {ours} only, and scores would be wrong"
                );
                return Err(Error::invalid(place(), why));
            }
        }
        Ok(())
    }
}

/// The first key in which two configurations differ, and both values.
fn first_difference(a: &ModelConfig, b: &ModelConfig) -> Option<(String, Value, Value)> {
    let (a, b) = (flat(a), flat(b));
    let both = |key: &String| [&a, &b].map(|of| of.get(key).cloned().unwrap_or_default());
    let pairs = a.keys().chain(b.keys()).map(|key| (key, both(key)));
    pairs.into_iter().find(|(_, [a, b])| a != b).map(|(key, [a, b])| (key.clone(), a, b))
}

/// A configuration's values by key; `section.key` for those of a tower.
fn flat(config: &ModelConfig) -> BTreeMap<String, Value> {
    let json = serde_json::to_value(config).expect("plain data");
    let mut flat = BTreeMap::new();
    for (section, prefix) in [("", ""), ("/vision_cfg", "vision_cfg."), ("/text_cfg", "text_cfg.")] {
        let keys = json.pointer(section).and_then(Value::as_object).into_iter().flatten();
        let plain = keys.filter(|(_, value)| !value.is_object());
        flat.extend(plain.map(|(key, value)| (format!("`{prefix}{key}`"), value.clone())));
    }
    flat
}

/// Whether values are equal; numbers may differ by rounding.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        _ => a == b || a.as_f64().zip(b.as_f64()).is_some_and(|(a, b)| (a - b).abs() < 1e-6),
    }
}

/// An error message for a folder that was given as weights.
pub(super) fn describe_folder(path: &Path) -> Result<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(path).map_err(Error::io(path))? {
        names.push(entry.map_err(Error::io(path))?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    let is_weights = |name: &&String| [".safetensors", ".bin", ".pth", ".pt"].iter().any(|end| name.ends_with(end));
    let known = WEIGHTS.iter().find(|name| names.iter().any(|found| found == **name)).map(|name| name.to_string());
    let weights = known.or_else(|| names.iter().find(is_weights).cloned());
    let config = if names.iter().any(|name| name == CONFIG) {
        format!(" and {}/{CONFIG} for the model", path.display())
    } else {
        String::new()
    };
    Ok(match weights {
        Some(weights) => format!("is a folder; name {}/{weights} for the weights{config}", path.display()),
        None => "is a folder without weights (.safetensors, .pt, .pth, .bin)".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::checkpoint::Checkpoint;
    use tch::Device;

    fn saved(name: &str) -> (tempfile::TempDir, PathBuf, Clip) {
        let folder = tempfile::tempdir().unwrap();
        let model = Clip::new(&ModelConfig::named(name).unwrap(), 1, Device::Cpu).unwrap();
        let path = folder.path().join("model.safetensors");
        model.save(&path).unwrap();
        (folder, path, model)
    }

    fn edit(path: &Path, edit: impl FnOnce(&mut Value)) {
        let file = path.with_file_name(CONFIG);
        let mut json: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        edit(&mut json);
        std::fs::write(file, json.to_string()).unwrap();
    }

    #[test]
    fn what_is_written_names_the_model_that_it_came_from() {
        let (_folder, path, model) = saved("tiny");
        let named = ModelConfig::named(path.with_file_name(CONFIG).to_str().unwrap()).unwrap();
        assert_eq!(named, model.config);
        assert_eq!(model.load(&Checkpoint::read(&path).unwrap()).unwrap(), Vec::<String>::new());
    }

    /// Weights of one activation load into a model with the other without an error, and give other
    /// results.
    #[test]
    fn weights_beside_another_configuration_are_refused() {
        let refused = |change: fn(&mut Value)| {
            let (_folder, path, model) = saved("tiny");
            edit(&path, change);
            model.load(&Checkpoint::read(&path).unwrap()).unwrap_err().to_string()
        };
        let said = refused(|json| json["model_cfg"]["quick_gelu"] = json!(true));
        assert!(said.contains("`quick_gelu` is true") && said.contains("has false") && said.contains(CONFIG), "{said}");
        let said = refused(|json| json["model_cfg"]["text_cfg"]["heads"] = json!(4));
        assert!(said.contains("`text_cfg.heads` is 4"), "{said}");
        let said = refused(|json| json["preprocess_cfg"]["mean"] = json!([0.5, 0.5, 0.5]));
        assert!(said.contains("`preprocess_cfg.mean` is [0.5,0.5,0.5]"), "{said}");
        let said = refused(|json| json["preprocess_cfg"]["resize_mode"] = json!("squash"));
        assert!(said.contains("`preprocess_cfg.resize_mode` is \"squash\""), "{said}");
        let (_folder, path, _) = saved("tiny");
        edit(&path, |json| json["model_cfg"]["custom_text"] = json!(true));
        assert!(Checkpoint::read(&path).err().unwrap().to_string().contains("`custom_text`"));
    }
}
