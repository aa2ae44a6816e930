//! A model in the form of open_clip's model-config JSON: which keys are read, and which are refused
//! by name.
//!
//! `model.rs` builds the model. Names and meanings are open_clip's (`CLIPVisionCfg` and
//! `CLIPTextCfg` of version 3.3).

use super::names;
use crate::error::from_json;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A model configuration in open_clip's form.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// Dimensions of the shared embedding space.
    pub embed_dim: i64,
    /// `x * sigmoid(1.702 x)` instead of GELU, as in OpenAI's weights.
    #[serde(default)]
    pub quick_gelu: bool,
    /// The image tower.
    pub vision_cfg: VisionConfig,
    /// The text tower.
    pub text_cfg: TextConfig,
}

/// open_clip's `vision_cfg` of a modified ResNet or of a vision transformer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VisionConfig {
    /// Side of the image in pixels; for a ResNet a multiple of the tower's total stride (32 with
    /// four stages).
    pub image_size: i64,
    /// Kind and depth of the tower.
    pub layers: Layers,
    /// Channels: after the stem of a ResNet, throughout a transformer.
    pub width: i64,
    /// Side of a transformer's patch in pixels; open_clip writes `null` for a ResNet.
    #[serde(default)]
    pub patch_size: Option<i64>,
    /// Channels of an attention head.
    #[serde(default = "head_width")]
    pub head_width: i64,
    /// Width of a transformer's perceptrons, as a multiple of its own width.
    #[serde(default = "mlp_ratio", skip_serializing_if = "is_usual")]
    pub mlp_ratio: f64,
}

/// open_clip writes a list for a ResNet and a number for a transformer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub enum Layers {
    /// Bottleneck blocks in each stage of a ResNet. open_clip has four stages; `tiny` omits the
    /// last one, because its images are small.
    Stages(Vec<i64>),
    /// Blocks of a transformer.
    Blocks(i64),
}

/// open_clip's `text_cfg`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextConfig {
    /// Tokens of a caption, start and end included; longer ones are cut.
    pub context_length: i64,
    /// Number of tokens.
    pub vocab_size: i64,
    /// Channels.
    pub width: i64,
    /// Attention heads.
    pub heads: i64,
    /// Blocks.
    pub layers: i64,
    /// Width of the perceptrons, as a multiple of the tower's width.
    #[serde(default = "mlp_ratio", skip_serializing_if = "is_usual")]
    pub mlp_ratio: f64,
}

fn head_width() -> i64 {
    64
}

fn mlp_ratio() -> f64 {
    4.0
}

fn is_usual(ratio: &f64) -> bool {
    *ratio == mlp_ratio()
}

impl TryFrom<Value> for Layers {
    type Error = &'static str;

    fn try_from(value: Value) -> Result<Self, Self::Error> {
        let layers = match &value {
            Value::Array(stages) => stages.iter().map(Value::as_i64).collect::<Option<_>>().map(Layers::Stages),
            number => number.as_i64().map(Layers::Blocks),
        };
        layers.ok_or("must be a list of whole numbers (the stages of a ResNet) or one (the blocks of a transformer)")
    }
}

impl From<Layers> for Value {
    fn from(layers: Layers) -> Self {
        match layers {
            Layers::Stages(stages) => stages.into(),
            Layers::Blocks(blocks) => blocks.into(),
        }
    }
}

impl ModelConfig {
    /// A model known by name (`names.rs`), or a JSON file in open_clip's form: a model config, or
    /// an `open_clip_config.json`.
    pub fn named(name: &str) -> Result<Self> {
        let json = match names::find(name) {
            Some(json) => json,
            None if name.ends_with(".json") => names::file(name)?,
            None => return Err(names::unknown(name)),
        };
        Self::read(json, &format!("model `{name}`"))
    }

    /// Reads a configuration in open_clip's form; `place` names its source in errors.
    pub(super) fn read(mut json: Value, place: &str) -> Result<Self> {
        drop_defaults(&mut json, place)?;
        let config: ModelConfig = from_json(json, place)?;
        config.check().map_err(|why| Error::invalid(place, why))?;
        Ok(config)
    }

    /// Checks that the numbers fit each other; the error names the key and the reason.
    pub(crate) fn check(&self) -> Result<(), String> {
        let (vision, text) = (&self.vision_cfg, &self.text_cfg);
        let sizes = [
            ("embed_dim", self.embed_dim),
            ("vision_cfg.image_size", vision.image_size),
            ("vision_cfg.width", vision.width),
            ("vision_cfg.head_width", vision.head_width),
            ("text_cfg.vocab_size", text.vocab_size),
            ("text_cfg.width", text.width),
            ("text_cfg.heads", text.heads),
            ("text_cfg.layers", text.layers),
        ];
        if let Some((key, size)) = sizes.iter().find(|(_, size)| *size < 1) {
            return Err(format!("key `{key}` is {size}, but must be at least 1"));
        }
        let more = [
            ("text_cfg.context_length", text.context_length),
            ("vision_cfg.patch_size", vision.patch_size.unwrap_or(1)),
        ];
        if let Some((key, size)) = sizes.iter().chain(&more).find(|(_, size)| *size > MOST_SIZE) {
            return Err(format!("key `{key}` is {size}, but must be at most {MOST_SIZE}"));
        }
        let checks = [
            (text.width % text.heads != 0, "`text_cfg.heads` must divide `text_cfg.width`"),
            (text.context_length < 3, "`text_cfg.context_length` must be at least 3"),
            (hidden(text.width, text.mlp_ratio) < 1, "`text_cfg.mlp_ratio` leaves nothing of `text_cfg.width`"),
        ];
        first_wrong(&checks)?;
        if vision.image_size > MOST_SIDE {
            let size = vision.image_size;
            return Err(format!("key `vision_cfg.image_size` is {size}, but must be at most {MOST_SIDE}"));
        }
        match &vision.layers {
            Layers::Stages(stages) => vision.check_resnet(stages),
            Layers::Blocks(blocks) => vision.check_transformer(*blocks),
        }?;
        let parameters = vision.parameters() + text.parameters();
        if parameters > MOST_PARAMETERS {
            return Err(format!(
                "describes a model of about {parameters:.0e} parameters; at most {MOST_PARAMETERS:.0e} are built"
            ));
        }
        Ok(())
    }
}

/// Largest number of a configuration. The largest vocabularies of open_clip have a quarter of it;
/// products of three such numbers do not overflow.
const MOST_SIZE: i64 = 1 << 20;

/// Largest side of an image: a canvas of it has 48 MiB.
pub(crate) const MOST_SIDE: i64 = 4096;

/// Largest model that is built: ten times open_clip's largest. With a typing mistake in a number,
/// libtorch would ask for memory until the system ends the process.
const MOST_PARAMETERS: f64 = 3e10;

impl TextConfig {
    /// About how many parameters the tower has.
    fn parameters(&self) -> f64 {
        let [width, layers] = [self.width, self.layers].map(|number| number as f64);
        (self.vocab_size + self.context_length) as f64 * width + layers * block(width, self.mlp_ratio)
    }
}

/// About how many parameters a transformer's block has.
fn block(width: f64, mlp_ratio: f64) -> f64 {
    width * width * (4.0 + 2.0 * mlp_ratio)
}

impl VisionConfig {
    /// About how many parameters the tower has.
    fn parameters(&self) -> f64 {
        let width = self.width as f64;
        match &self.layers {
            Layers::Blocks(blocks) => {
                let patch = self.patch_size.unwrap_or(1) as f64;
                let tokens = (self.image_size as f64 / patch).powi(2);
                (tokens + 3.0 * patch * patch) * width + *blocks as f64 * block(width, self.mlp_ratio)
            }
            // A bottleneck has 17 times the square of its inner width. It doubles with each stage.
            Layers::Stages(stages) => {
                let widths = (0..).map(|stage| width * f64::from(1 << stage));
                stages.iter().zip(widths).map(|(blocks, width)| *blocks as f64 * 17.0 * width * width).sum()
            }
        }
    }

    fn check_resnet(&self, stages: &[i64]) -> Result<(), String> {
        let known = (1..=6).contains(&stages.len());
        let stride = if known { stride(stages) } else { 1 };
        first_wrong(&[
            (!known, "`vision_cfg.layers` needs one to six stages"),
            (stages.iter().any(|&blocks| blocks > MOST_SIZE), "`vision_cfg.layers` has a stage of too many blocks"),
            (stages.iter().any(|&blocks| blocks < 1), "each stage of `vision_cfg.layers` needs at least one block"),
            (
                self.patch_size.is_some(),
                "`vision_cfg.patch_size` must be null where `vision_cfg.layers` lists a ResNet's stages",
            ),
            (!is_usual(&self.mlp_ratio), "`vision_cfg.mlp_ratio` has no meaning for a ResNet"),
            (self.image_size < stride, "`vision_cfg.image_size` must be at least 2^(stages + 1), 32 with four stages"),
            (self.width % 2 != 0, "a ResNet's `vision_cfg.width` must be even"),
            (
                self.width * stride % self.head_width != 0,
                "`vision_cfg.head_width` must divide the channels after the last stage",
            ),
        ])
    }

    fn check_transformer(&self, blocks: i64) -> Result<(), String> {
        let patch = self.patch_size.unwrap_or(0);
        first_wrong(&[
            (blocks < 1, "`vision_cfg.layers` must be at least 1"),
            (patch < 1, "`vision_cfg.patch_size` must be given, and at least 1, for a vision transformer"),
            (patch > self.image_size, "`vision_cfg.patch_size` is more than `vision_cfg.image_size`"),
            (self.width % self.head_width != 0, "`vision_cfg.head_width` must divide `vision_cfg.width`"),
            (hidden(self.width, self.mlp_ratio) < 1, "`vision_cfg.mlp_ratio` leaves nothing of `vision_cfg.width`"),
        ])
    }
}

/// Total stride of a ResNet: 4 in the stem, 2 in every stage but the first. Its channels grow by
/// the same factor.
pub(super) fn stride(stages: &[i64]) -> i64 {
    2 << stages.len()
}

/// Width of a perceptron's hidden layer, rounded down as in open_clip.
pub(super) fn hidden(width: i64, mlp_ratio: f64) -> i64 {
    (width as f64 * mlp_ratio) as i64
}

fn first_wrong(checks: &[(bool, &str)]) -> Result<(), String> {
    checks.iter().find(|(wrong, _)| *wrong).map_or(Ok(()), |(_, why)| Err(why.to_string()))
}

/// Options of open_clip that gauntlet does not build, with open_clip's defaults, which disable
/// them.
fn not_built() -> Value {
    json!({
        "model": {
            "multimodal_cfg": null, "custom_text": false, "nonscalar_logit_scale": false, "init_logit_scale": null,
            "init_logit_bias": null,
        },
        "vision_cfg": {
            "timm_model_name": null, "attentional_pool": false, "ls_init_value": null, "patch_dropout": 0.0,
            "no_ln_pre": false, "pos_embed_type": "learnable", "final_ln_after_pool": false, "pool_type": "tok",
            "output_tokens": false, "act_kwargs": null, "norm_kwargs": null, "block_type": null, "qk_norm": false,
            "scaled_cosine_attn": false, "scale_heads": false, "scale_attn_inner": false, "scale_attn": false, "scale_fc": false,
        },
        "text_cfg": {
            "hf_model_name": null, "hf_tokenizer_name": null, "tokenizer_mode": null, "tokenizer_kwargs": null,
            "ls_init_value": null, "embed_cls": false, "no_causal_mask": false, "final_ln_after_pool": false,
            "pool_type": "argmax", "proj_bias": false, "proj_type": "linear", "output_tokens": false, "act_kwargs": null,
            "norm_kwargs": null, "block_type": null, "qk_norm": false, "scaled_cosine_attn": false, "scale_heads": false,
            "scale_attn_inner": false, "scale_attn": false, "scale_fc": false,
        },
    })
}

/// Removes options that are not built but have their default value, and refuses other values.
fn drop_defaults(json: &mut Value, place: &str) -> Result<()> {
    let same = |a: &Value, b: &Value| a == b || (a.is_number() && a.as_f64() == b.as_f64());
    for (section, options) in not_built().as_object().expect("written as one") {
        let (path, given) = match section.as_str() {
            "model" => (String::new(), json.as_object_mut()),
            section => (format!("{section}."), json.get_mut(section).and_then(Value::as_object_mut)),
        };
        let Some(given) = given else { continue };
        for (key, default) in options.as_object().expect("written as one") {
            match given.shift_remove(key) {
                Some(value) if !same(&value, default) => {
                    let why = format!("open_clip's option {value} is not built here, only its default, {default}");
                    return Err(Error::invalid(format!("{place}: key `{path}{key}`"), why));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(edit: impl FnOnce(&mut Value)) -> Result<ModelConfig> {
        let mut json: Value = names::find("ViT-B-32").unwrap();
        edit(&mut json);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("model.json");
        std::fs::write(&file, json.to_string()).unwrap();
        ModelConfig::named(file.to_str().unwrap())
    }

    #[test]
    fn options_at_their_defaults_change_nothing() {
        let plain = ModelConfig::named("ViT-B-32").unwrap();
        let all = parse(|json| {
            for (section, options) in not_built().as_object().unwrap() {
                let place = if section == "model" { &mut *json } else { &mut json[section] };
                options.as_object().unwrap().iter().for_each(|(key, default)| place[key] = default.clone());
            }
            json["vision_cfg"]["patch_dropout"] = json!(0);
        });
        assert_eq!(all.unwrap(), plain);
        let other = parse(|json| json["vision_cfg"]["mlp_ratio"] = json!(4.3637)).unwrap();
        assert_eq!(hidden(1408, other.vision_cfg.mlp_ratio), 6144);
        assert_eq!(serde_json::to_value(&other).unwrap()["vision_cfg"]["mlp_ratio"], 4.3637);
    }

    #[test]
    fn numbers_that_no_machine_has_memory_for_are_refused_by_name() {
        let absurd: [(&str, &str, Value, &str); 9] = [
            ("text_cfg", "context_length", json!(1u64 << 32), "text_cfg.context_length"),
            ("text_cfg", "vocab_size", json!(i64::MAX), "text_cfg.vocab_size"),
            ("text_cfg", "width", json!(-512), "text_cfg.width"),
            ("text_cfg", "layers", json!(0), "text_cfg.layers"),
            ("text_cfg", "layers", json!(1_000_000), "parameters"),
            ("vision_cfg", "image_size", json!(100_000), "vision_cfg.image_size"),
            ("vision_cfg", "layers", json!(1_000_000), "parameters"),
            ("vision_cfg", "patch_size", json!(i64::MAX), "vision_cfg.patch_size"),
            ("vision_cfg", "mlp_ratio", json!(1e300), "parameters"),
        ];
        for (section, key, value, named) in absurd {
            let error = parse(|json| json[section][key] = value.clone()).unwrap_err().to_string();
            assert!(error.contains(named), "{key} = {value}: {error}");
        }
    }

    #[test]
    fn what_is_not_built_is_named() {
        let edits: [(&str, &str, Value); 11] = [
            ("vision_cfg", "timm_model_name", json!("vit_base")),
            ("vision_cfg", "attentional_pool", json!(true)),
            ("vision_cfg", "pos_embed_type", json!("sin_cos_2d")),
            ("vision_cfg", "ls_init_value", json!(0.0)),
            ("vision_cfg", "patch_size", json!(null)),
            ("vision_cfg", "layers", json!("twelve")),
            ("vision_cfg", "layers", json!([3, 4, 6, 3])),
            ("vision_cfg", "head_width", json!(100)),
            ("vision_cfg", "image_sise", json!(224)),
            ("text_cfg", "hf_model_name", json!("roberta-base")),
            ("text_cfg", "layers", json!(0)),
        ];
        for (section, key, value) in edits {
            let error = parse(|json| json[section][key] = value.clone()).unwrap_err().to_string();
            // Stages of a ResNet are valid by themselves; a patch size with them is not.
            let named = if value.is_array() { "patch_size" } else { key };
            assert!(error.contains(named) && error.contains("model.json"), "{key}: {error}");
        }
        let error = parse(|json| json["custom_text"] = json!(true)).unwrap_err().to_string();
        assert!(error.contains("key `custom_text`"), "{error}");
    }
}
