//! Models known by name: two small ones of gauntlet, and those of open_clip whose towers are built
//! here, with open_clip's names and numbers (`open_clip.json`, which `setup/open_clip_models.py`
//! writes). `config.rs` reads their configurations.

use super::config::ModelConfig;
use crate::data::regular;
use crate::{Error, Result};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::path::Path;
use std::sync::LazyLock;

const OWN: [(&str, &str); 2] = [("tiny", include_str!("tiny.json")), ("small", include_str!("small.json"))];

/// Suffix of the names of models with QuickGELU.
const QUICK: &str = "-quickgelu";

/// `open_clip.json`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OpenClip {
    /// The version it was taken from.
    source: String,
    /// Model configurations by name.
    built: Map<String, Value>,
    /// The feature of each other model that is not built here, by name.
    not_built: Map<String, Value>,
}

static OPEN_CLIP: LazyLock<OpenClip> =
    LazyLock::new(|| serde_json::from_str(include_str!("open_clip.json")).expect("made by a script, read by a test"));

/// Every name, gauntlet's own first.
pub fn all() -> impl Iterator<Item = &'static str> {
    OWN.into_iter().map(|(name, _)| name).chain(OPEN_CLIP.built.keys().map(String::as_str))
}

/// The JSON configuration of a name.
pub(super) fn find(name: &str) -> Option<Value> {
    let own = OWN.iter().find(|(known, _)| *known == name);
    own.map(|(_, text)| serde_json::from_str(text).expect("read by a test"))
        .or_else(|| OPEN_CLIP.built.get(name).cloned())
}

/// The name of a configuration, if it has one.
pub fn of(config: &ModelConfig) -> Option<&'static str> {
    all().find(|name| ModelConfig::named(name).is_ok_and(|known| known == *config))
}

/// The model that differs only in its activation, if it has a name.
pub fn with_other_activation(config: &ModelConfig) -> Option<&'static str> {
    of(&ModelConfig { quick_gelu: !config.quick_gelu, ..config.clone() })
}

/// The error for an unknown name: lists the known names and suggests the closest. It never suggests
/// a model with the other activation, which would load the same weights and compute something else.
pub(super) fn unknown(name: &str) -> Error {
    let known: Vec<&str> = all().collect();
    let list = format!("there are: {}; or name a .json file in open_clip's form", known.join(", "));
    let what = format!("model `{name}`");
    if let Some(reason) = OPEN_CLIP.not_built.get(name).and_then(Value::as_str) {
        let why = format!("{} has it, but it is not built here: {reason}; {list}", OPEN_CLIP.source);
        return Error::invalid(what, why);
    }
    match guess(name, &known) {
        Some(guess) => {
            let twin = format!("{guess}{QUICK}");
            let twin = if known.contains(&twin.as_str()) {
                format!(", or `{twin}`, which OpenAI's released weights need")
            } else {
                String::new()
            };
            Error::invalid(what, format!("there is no model of that name; did you mean `{guess}`{twin}? ({list})"))
        }
        None => Error::invalid(what, format!("there is no model of that name ({list})")),
    }
}

/// The closest name with the requested activation. OpenAI's own names are understood
/// (`ViT-L/14@336px`).
fn guess(name: &str, known: &[&'static str]) -> Option<&'static str> {
    let plain = name.to_lowercase().replace(['/', '_', ' '], "-").replace("@336px", "-336");
    let quick = plain.contains("quick") || plain.contains("openai");
    let similar = |candidate: &&'static str| (strsim::jaro_winkler(&plain, &candidate.to_lowercase()), *candidate);
    let same = known.iter().filter(|candidate| candidate.ends_with(QUICK) == quick);
    let nearest = same.map(similar).filter(|(similarity, _)| *similarity > 0.75).max_by(|a, b| a.0.total_cmp(&b.0));
    nearest.map(|(_, candidate)| candidate)
}

/// Reads a configuration from a .json file: a model config, or the `open_clip_config.json` beside
/// open_clip's weights.
pub(super) fn file(path: &str) -> Result<Value> {
    let text = regular::read_to_string(Path::new(path), regular::WRITTEN).map_err(Error::io(path))?;
    let json: Value =
        serde_json::from_str(&text).map_err(|why| Error::invalid(format!("model `{path}`"), why.to_string()))?;
    Ok(match json {
        Value::Object(mut config) if config.contains_key("model_cfg") => {
            config.remove("model_cfg").expect("it is there")
        }
        other => other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_name_is_built_from_open_clips_numbers_and_goes_through_a_trial_file_unchanged() {
        assert!(all().count() > 40);
        for name in all() {
            let config = ModelConfig::named(name).unwrap();
            let written = serde_json::to_value(&config).unwrap();
            assert_eq!(serde_json::from_value::<ModelConfig>(written.clone()).unwrap(), config);
            let mut expected = find(name).unwrap();
            for (place, key, default) in [("", "quick_gelu", json!(false)), ("/vision_cfg", "head_width", json!(64))] {
                let section = expected.pointer_mut(place).unwrap().as_object_mut().unwrap();
                section.entry(key).or_insert(default);
            }
            let section = expected["vision_cfg"].as_object_mut().unwrap();
            section.entry("patch_size").or_insert(Value::Null);
            assert_eq!(written, expected, "{name}");
            assert_eq!((of(&config), config.quick_gelu), (Some(name), name.ends_with(QUICK)), "{name}");
        }
    }

    /// `RN50` was once suggested for `RN50-quickgelu`.
    #[test]
    fn a_wrong_name_never_leads_to_the_wrong_activation() {
        let meant = |name: &str| {
            let said = ModelConfig::named(name).unwrap_err().to_string();
            assert!(said.contains("RN50x64-quickgelu, ") && said.contains("tiny, small, RN50, "), "{said}");
            said.split("did you mean `").nth(1).map(|rest| rest.split('`').next().unwrap().to_string())
        };
        for (name, expected) in [
            ("RN50-quickgell", Some("RN50-quickgelu")),
            ("rn50", Some("RN50")),
            ("ViT-B/32", Some("ViT-B-32")),
            ("ViT-L/14@336px", Some("ViT-L-14-336")),
            ("vit_b_32-quickgelu", Some("ViT-B-32-quickgelu")),
            ("resnet", None),
        ] {
            assert_eq!(meant(name).as_deref(), expected, "{name}");
        }
        for name in ["ViT-L-16-quickgelu", "ViT-S-32-quickgelu", "tiny-quickgelu", "ViT-B-32-openai", "RN50-QuickGELU"]
        {
            assert!(meant(name).is_none_or(|guess| guess.ends_with(QUICK)), "{name}: {:?}", meant(name));
        }
    }

    #[test]
    fn what_open_clip_has_and_is_not_built_here_is_said() {
        let said = ModelConfig::named("ViT-B-16-SigLIP").unwrap_err().to_string();
        assert!(said.contains("open_clip 3.3.0 has it") && said.contains("timm"), "{said}");
        for name in OPEN_CLIP.not_built.keys() {
            assert!(!OPEN_CLIP.built.contains_key(name) && OPEN_CLIP.not_built[name].is_string(), "{name}");
        }
    }

    #[test]
    fn activations_come_in_pairs() {
        let twin = |name: &str| with_other_activation(&ModelConfig::named(name).unwrap());
        assert_eq!((twin("RN50"), twin("RN50-quickgelu"), twin("tiny")), (Some("RN50-quickgelu"), Some("RN50"), None));
    }
}
