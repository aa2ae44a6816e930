//! CLIP as data: open_clip's model-config JSON in, two encoders and a temperature out.
//!
//! Names of weights are open_clip's, so that weights go both ways as safetensors. `model/resnet.rs` is the image tower
//! (Radford et al. 2021, section 2.4), `model/transformer.rs` the text tower, `model/weights.rs` how weights are kept, drawn, read and written.

pub mod resnet;
pub mod transformer;
pub mod weights;

use crate::error::from_json;
use crate::{Error, Result};
use resnet::ModifiedResNet;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};
use transformer::TextTransformer;
use weights::{Init, Weights, channels_last};

/// Temperature is learned as a logarithm, and kept within 0 to ln 100 (Radford et al. 2021, section 2.5).
pub const MAX_LOGIT_SCALE: f64 = 4.605_170_185_988_092;

/// A model configuration as open_clip writes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// Dimensions of the shared embedding space.
    pub embed_dim: i64,
    /// `x * sigmoid(1.702 x)` in place of GELU, as OpenAI's weights have it.
    #[serde(default)]
    pub quick_gelu: bool,
    /// The image tower.
    pub vision_cfg: VisionConfig,
    /// The text tower.
    pub text_cfg: TextConfig,
}

/// open_clip's `vision_cfg` of a modified ResNet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VisionConfig {
    /// Side of the picture in pixels, a multiple of what the tower shrinks it by (32 with four stages).
    pub image_size: i64,
    /// Bottleneck blocks in each stage. open_clip has four; `tiny` leaves the last one out, as its pictures are small.
    pub layers: Vec<i64>,
    /// Channels after the stem.
    pub width: i64,
    /// open_clip writes `null` for a ResNet; anything else is another kind of tower.
    #[serde(default)]
    pub patch_size: Option<i64>,
    /// Channels of an attention head.
    #[serde(default = "head_width")]
    pub head_width: i64,
}

fn head_width() -> i64 {
    64
}

impl VisionConfig {
    /// Factor by which the tower shrinks a picture: 4 in the stem, 2 in every stage but the first.
    pub fn stride(&self) -> i64 {
        2 << self.layers.len()
    }

    /// Channels after the last stage.
    pub fn channels(&self) -> i64 {
        self.width * self.stride()
    }
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
}

impl ModelConfig {
    /// A configuration that ships with gauntlet, by name, or a JSON file in open_clip's form.
    pub fn named(name: &str) -> Result<Self> {
        let shipped = [("tiny", include_str!("model/tiny.json")), ("small", include_str!("model/small.json"))];
        let shipped_text = shipped.iter().find(|(known, _)| *known == name).map(|(_, text)| text.to_string());
        let text = match shipped_text {
            Some(text) => text,
            None if name.ends_with(".json") => std::fs::read_to_string(name).map_err(Error::io(name))?,
            None => {
                let known = shipped.iter().map(|(known, _)| known.to_string()).collect();
                return Err(Error::Unknown { kind: "model (nor is it a .json file)", name: name.into(), known });
            }
        };
        let place = format!("model `{name}`");
        let json: serde_json::Value = serde_json::from_str(&text).map_err(|e| Error::invalid(&place, e.to_string()))?;
        if json["vision_cfg"]["layers"].is_number() {
            return Err(Error::invalid(
                place,
                "is a vision transformer; only modified ResNets (`layers` is a list) are built yet",
            ));
        }
        let config: ModelConfig = from_json(json, &place)?;
        config.check().map_err(|why| Error::invalid(format!("model `{name}`"), why))?;
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        let (vision, text) = (&self.vision_cfg, &self.text_cfg);
        if vision.patch_size.is_some() {
            return Err("`patch_size` asks for a vision transformer, and only modified ResNets are built yet".into());
        }
        let positive = [
            self.embed_dim,
            vision.image_size,
            vision.width,
            text.vocab_size,
            text.width,
            text.heads,
            text.layers,
            vision.head_width,
        ];
        if positive.iter().chain(&vision.layers).any(|&number| number < 1) {
            return Err("every size must be at least 1".into());
        }
        let checks = [
            (vision.layers.is_empty() || vision.layers.len() > 6, "`layers` needs one to six stages"),
            (
                vision.image_size % vision.stride() != 0,
                "`image_size` must be a multiple of 2^(stages + 1), 32 with four stages",
            ),
            (vision.width % 2 != 0, "the image tower's `width` must be even"),
            (vision.channels() % vision.head_width != 0, "`head_width` must divide the channels after the last stage"),
            (text.width % text.heads != 0, "the text tower's `heads` must divide its `width`"),
            (text.context_length < 3, "`context_length` must be at least 3"),
        ];
        checks.iter().find(|(wrong, _)| *wrong).map_or(Ok(()), |(_, why)| Err(why.to_string()))
    }
}

/// The two encoders and the temperature.
pub struct Clip {
    /// What it was built from.
    pub config: ModelConfig,
    /// Every parameter and buffer, by open_clip's names.
    pub weights: Weights,
    visual: ModifiedResNet,
    text: TextTransformer,
    logit_scale: Tensor,
}

impl Clip {
    /// A model with weights drawn from `seed` as open_clip draws them (the distributions, not the numbers).
    pub fn new(config: &ModelConfig, seed: u64, device: Device) -> Result<Self> {
        config.check().map_err(|why| Error::invalid("model", why))?;
        let mut weights = Weights::new(seed, device);
        let visual = ModifiedResNet::new(&mut weights, config);
        let text = TextTransformer::new(&mut weights, config);
        let logit_scale = weights.parameter("logit_scale", &[], Init::Constant((1.0f64 / 0.07).ln()));
        Ok(Clip { config: config.clone(), weights, visual, text, logit_scale })
    }

    /// Normalised image embeddings f32 `[batch, embed_dim]` of normalised pictures f32 `[batch, 3, S, S]`. In training, batch
    /// norm uses the batch's statistics and updates the running ones.
    pub fn encode_image(&self, images: &Tensor, train: bool) -> Tensor {
        normalize(&self.visual.forward(&channels_last(images.shallow_clone()), train).to_kind(Kind::Float))
    }

    /// Normalised text embeddings f32 `[batch, embed_dim]` of tokens i64 `[batch, length]`, `length` up to the context length.
    pub fn encode_text(&self, tokens: &Tensor) -> Tensor {
        normalize(&self.text.forward(tokens).to_kind(Kind::Float))
    }

    /// What cosine similarities are multiplied by: exp of the learned temperature.
    pub fn logit_scale(&self) -> Tensor {
        self.logit_scale.exp()
    }

    /// Brings the temperature back into its range; called after every step.
    pub fn clamp_logit_scale(&self) {
        tch::no_grad(|| {
            let _ = self.logit_scale.shallow_clone().clamp_(0.0, MAX_LOGIT_SCALE);
        });
    }
}

/// Rows scaled to length 1, as `F.normalize` does: lengths under 1e-12 count as 1e-12.
pub fn normalize(x: &Tensor) -> Tensor {
    x / x.norm_scalaropt_dim(2.0, [-1].as_slice(), true).clamp_min(1e-12)
}

#[cfg(test)]
mod tests {
    use super::weights::read_safetensors;
    use super::*;
    use crate::golden::{self, Golden, assert_all_hold, folder};
    use std::collections::BTreeMap;

    /// Of `clip.py`.
    fn golden() -> Golden {
        Golden::read(folder(), "clip", Device::Cpu).unwrap()
    }

    /// `WIDE` of `clip.py`.
    fn wide() -> ModelConfig {
        let json = serde_json::json!({
            "embed_dim": 64,
            "vision_cfg": { "image_size": 64, "layers": [1, 2, 1, 1], "width": 16 },
            "text_cfg": { "context_length": 32, "vocab_size": 512, "width": 64, "heads": 2, "layers": 2 },
        });
        serde_json::from_value(json).unwrap()
    }

    /// Embeddings, loss, running statistics and the gradient of every parameter.
    #[test]
    fn computes_what_open_clip_computes() {
        let distances = golden::clip(folder(), Device::Cpu).unwrap();
        assert_all_hold(&distances);
        let model = golden().model(&golden::tiny(false)).unwrap();
        let ours = 5 + model.weights.parameters.len() + model.weights.buffers.len();
        let gelu = distances.iter().filter(|distance| distance.tensor.starts_with("gelu/")).count();
        assert!(gelu == ours && distances.len() > ours + 30, "everything is compared");
    }

    #[test]
    fn trains_as_open_clip_trains() {
        let distances = golden::training(folder(), Device::Cpu).unwrap();
        assert_all_hold(&distances);
        let model = golden().model(&golden::tiny(false)).unwrap();
        assert_eq!(distances.len(), model.weights.tensors().len());
    }

    #[test]
    fn the_temperature_stays_in_its_range() {
        let model = golden().model(&golden::tiny(false)).unwrap();
        for (set, expected) in [(9.0, 100.0), (-1.0, 1.0), (2.0, 2f64.exp())] {
            let _ = tch::no_grad(|| model.logit_scale.shallow_clone().fill_(set));
            model.clamp_logit_scale();
            assert!((f64::try_from(model.logit_scale()).unwrap() - expected).abs() < 1e-4);
        }
    }

    /// A model that is saved has the tensors, by name, shape and kind, that open_clip's `load_state_dict` insists on.
    #[test]
    fn saves_what_open_clip_loads() {
        let golden = golden();
        let (model, folder) = (golden.model(&golden::tiny(false)).unwrap(), tempfile::tempdir().unwrap());
        let file = folder.path().join("weights.safetensors");
        model.weights.save(&file).unwrap();
        let of = |tensors: BTreeMap<String, Tensor>| -> Vec<_> {
            tensors.into_iter().map(|(name, tensor)| (name, tensor.size(), tensor.kind())).collect()
        };
        assert_eq!(of(read_safetensors(&file).unwrap().0), of(golden.under("weights/")));
        let other = Clip::new(&model.config, 2, Device::Cpu).unwrap();
        other.weights.load(&file).unwrap();
        assert_eq!(other.weights.tensors(), model.weights.tensors());
    }

    /// New weights have open_clip's distributions: mean, deviation and mean size (which tells uniform from normal) differ by no
    /// more than those of two samples of one distribution do. Constants do not differ.
    #[test]
    fn starts_as_open_clip_starts() {
        let model = Clip::new(&wide(), 1, Device::Cpu).unwrap();
        let expected = golden().under("init/");
        assert_eq!(expected.keys().collect::<Vec<_>>(), model.weights.parameters.keys().collect::<Vec<_>>());
        let numbers = |tensor: &Tensor| Vec::<f64>::try_from(tensor.detach().to_kind(Kind::Double)).unwrap();
        for (name, parameter) in &model.weights.parameters {
            let x = parameter.to_kind(Kind::Double);
            let ours = numbers(&Tensor::stack(&[x.mean(None), x.std(false), x.abs().mean(None)], 0));
            let theirs = numbers(&expected[name]);
            let tolerance = 5.0 * theirs[1] / (parameter.numel() as f64).sqrt() + 1e-6;
            let close = ours.iter().zip(&theirs).all(|(a, b)| (a - b).abs() <= tolerance);
            assert!(close, "{name}: mean, deviation, mean size {ours:?}, open_clip's {theirs:?}");
        }
    }
}
