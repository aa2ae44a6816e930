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
use tch::{Device, Tensor};
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

    /// Normalised image embeddings `[batch, embed_dim]` of normalised pictures f32 `[batch, 3, S, S]`. In training, batch
    /// norm uses the batch's statistics and updates the running ones.
    pub fn encode_image(&self, images: &Tensor, train: bool) -> Tensor {
        normalize(&self.visual.forward(&channels_last(images.shallow_clone()), train))
    }

    /// Normalised text embeddings `[batch, embed_dim]` of tokens i64 `[batch, length]`, `length` up to the context length.
    pub fn encode_text(&self, tokens: &Tensor) -> Tensor {
        normalize(&self.text.forward(tokens))
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
    use crate::defense::clip_loss;
    use crate::train::adamw::AdamW;
    use std::collections::BTreeMap;
    use std::path::Path;
    use tch::Kind;

    /// Made by `clip.py` beside it.
    const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/clip.safetensors");

    struct Golden(BTreeMap<String, Tensor>);

    impl Golden {
        fn read() -> Self {
            Golden(read_safetensors(Path::new(GOLDEN)).unwrap().0)
        }

        /// Everything under a prefix, by the rest of its name.
        fn under(&self, prefix: &str) -> BTreeMap<String, Tensor> {
            let rest =
                |(name, tensor): (&String, &Tensor)| Some((name.strip_prefix(prefix)?.to_string(), tensor.copy()));
            self.0.iter().filter_map(rest).collect()
        }

        fn images(&self) -> Tensor {
            self.0["images"].to_kind(Kind::Float) / 64.0 - 2.0
        }

        /// The golden model, its weights read from a file by open_clip's names.
        fn model(&self, quick_gelu: bool) -> Clip {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("weights.safetensors");
            weights::write_safetensors(&file, &self.under("weights/"), &Default::default()).unwrap();
            let model = Clip::new(&ModelConfig { quick_gelu, ..config(2, 16) }, 1, Device::Cpu).unwrap();
            model.weights.load(&file).unwrap();
            model
        }
    }

    /// `TINY` of `clip.py` with 2 and 16, `WIDE` with 16 and 64.
    fn config(channels: i64, width: i64) -> ModelConfig {
        let (context, vocabulary) = if channels == 2 { (12, 100) } else { (32, 512) };
        let json = serde_json::json!({
            "embed_dim": width,
            "vision_cfg": { "image_size": 64, "layers": [1, 2, 1, 1], "width": channels, "head_width": if channels == 2 { 32 } else { 64 } },
            "text_cfg": { "context_length": context, "vocab_size": vocabulary, "width": width, "heads": 2, "layers": 2 },
        });
        serde_json::from_value(json).unwrap()
    }

    fn forward(model: &Clip, golden: &Golden) -> (Tensor, Tensor, Tensor) {
        let (image, text) = (model.encode_image(&golden.images(), true), model.encode_text(&golden.0["tokens"]));
        let loss = clip_loss(&image, &text, &model.logit_scale());
        (image, text, loss)
    }

    fn gradients<'a>(model: &'a Clip, loss: &Tensor) -> Vec<(&'a str, Tensor)> {
        let parameters = &model.weights.parameters;
        let found = Tensor::run_backward(&[loss], &parameters.values().collect::<Vec<_>>(), false, false);
        parameters.keys().map(String::as_str).zip(found).collect()
    }

    /// Fails where a tensor is further from its golden one than 1e-4 of that one's greatest element.
    fn assert_equal(what: &str, ours: &Tensor, golden: &Tensor) {
        assert_eq!(ours.size(), golden.size(), "{what}");
        let greatest = |tensor: Tensor| f64::try_from(tensor.detach().to_kind(Kind::Double).abs().max()).unwrap();
        // The bias of attention's keys moves a row's scores alike, which softmax ignores: its gradient is nothing but rounding.
        let scale = greatest(golden.shallow_clone()).max(1e-3);
        let error = greatest(ours - golden) / scale;
        assert!(error < 1e-4, "{what}: off by {error:.1e} of {scale:.1e}");
    }

    #[test]
    fn computes_what_open_clip_computes() {
        let golden = Golden::read();
        for (name, quick_gelu) in [("gelu/", false), ("quick/", true)] {
            let model = golden.model(quick_gelu);
            let mut ours = BTreeMap::from([
                ("eval/image".to_string(), model.encode_image(&golden.images(), false)),
                ("eval/text".to_string(), model.encode_text(&golden.0["tokens"])),
            ]);
            let (image, text, loss) = forward(&model, &golden);
            let gradients =
                gradients(&model, &loss).into_iter().map(|(name, tensor)| (format!("gradient/{name}"), tensor));
            ours.extend(gradients);
            ours.extend([("train/image".into(), image), ("train/text".into(), text), ("loss".into(), loss)]);
            ours.extend(model.weights.buffers.iter().map(|(name, tensor)| (format!("running/{name}"), tensor.copy())));
            let expected = golden.under(name);
            assert!(expected.len() > if quick_gelu { 30 } else { 90 });
            expected.iter().for_each(|(key, tensor)| assert_equal(&format!("{name}{key}"), &ours[key], tensor));
            assert!(quick_gelu || ours.len() == expected.len(), "everything is compared");
        }
    }

    #[test]
    fn trains_as_open_clip_trains() {
        let golden = Golden::read();
        let model = golden.model(false);
        let mut optimizer = AdamW::new(&model.weights, [0.9, 0.98], 1e-5, 0.1);
        for _ in 0..3 {
            let (_, _, loss) = forward(&model, &golden);
            optimizer.step(&model.weights, &gradients(&model, &loss), 1e-3).unwrap();
            model.clamp_logit_scale();
        }
        let (ours, expected) = (model.weights.tensors(), golden.under("trained/"));
        assert_eq!(ours.len(), expected.len());
        expected.iter().for_each(|(name, tensor)| assert_equal(name, &ours[name], tensor));
    }

    #[test]
    fn the_temperature_stays_in_its_range() {
        let model = Golden::read().model(false);
        for (set, expected) in [(9.0, 100.0), (-1.0, 1.0), (2.0, 2f64.exp())] {
            let _ = tch::no_grad(|| model.logit_scale.shallow_clone().fill_(set));
            model.clamp_logit_scale();
            assert!((f64::try_from(model.logit_scale()).unwrap() - expected).abs() < 1e-4);
        }
    }

    /// A model that is saved has the tensors, by name, shape and kind, that open_clip's `load_state_dict` insists on.
    #[test]
    fn saves_what_open_clip_loads() {
        let golden = Golden::read();
        let (model, folder) = (golden.model(false), tempfile::tempdir().unwrap());
        let file = folder.path().join("weights.safetensors");
        model.weights.save(&file).unwrap();
        let of = |tensors: BTreeMap<String, Tensor>| -> Vec<_> {
            tensors.into_iter().map(|(name, tensor)| (name, tensor.size(), tensor.kind())).collect()
        };
        assert_eq!(of(read_safetensors(&file).unwrap().0), of(golden.under("weights/")));
    }

    /// New weights have open_clip's distributions: mean, deviation and mean size (which tells uniform from normal) differ by no
    /// more than those of two samples of one distribution do. Constants do not differ.
    #[test]
    fn starts_as_open_clip_starts() {
        let model = Clip::new(&config(16, 64), 1, Device::Cpu).unwrap();
        let expected = Golden::read().under("init/");
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
