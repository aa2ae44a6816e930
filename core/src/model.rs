//! CLIP, built from open_clip's model-config JSON: two encoders and a temperature.
//!
//! Names of weights are open_clip's, so that weights can be exchanged as safetensors.
//! `model/config.rs` reads the JSON; `model/resnet.rs` and `model/vit.rs` are the image towers,
//! `model/text.rs` the text tower, `model/transformer.rs` the blocks of both, `model/attention.rs`
//! attention, also with a single query per row; `model/weights.rs` initialises, stores, reads and
//! writes weights, `model/names.rs` lists the models known by name; `model/checkpoint.rs` reads
//! other programs' weight files, `model/open_clip.rs` the configuration next to them.

mod attention;
pub mod checkpoint;
pub mod config;
pub mod names;
mod open_clip;
mod resnet;
mod text;
mod transformer;
mod vit;
pub mod weights;

use crate::{Error, Result};
pub use checkpoint::Checkpoint;
use config::Layers;
pub(crate) use config::MOST_SIDE;
pub use config::ModelConfig;
use resnet::ModifiedResNet;
use tch::{Device, Kind, Tensor};
use text::TextTransformer;
pub use text::valid_token_indices;
use vit::VisionTransformer;
use weights::{Init, Weights, channels_last};

/// The temperature is learned as a logarithm, and clamped to 0 to ln 100 (Radford et al. 2021,
/// section 2.5).
pub const MAX_LOGIT_SCALE: f64 = 4.605_170_185_988_092;

/// The two encoders and the temperature.
pub struct Clip {
    /// The configuration it was built from.
    pub config: ModelConfig,
    /// Every parameter and buffer, by open_clip's names.
    pub weights: Weights,
    visual: ImageTower,
    text: TextTransformer,
    logit_scale: Tensor,
}

enum ImageTower {
    ResNet(ModifiedResNet),
    Transformer(VisionTransformer),
}

impl Clip {
    /// A model with weights drawn from `seed`, from open_clip's distributions (not with its random
    /// numbers).
    pub fn new(config: &ModelConfig, seed: u64, device: Device) -> Result<Self> {
        config.check().map_err(|why| Error::invalid("model", why))?;
        let mut weights = Weights::new(seed, device);
        let visual = match &config.vision_cfg.layers {
            Layers::Stages(stages) => ImageTower::ResNet(ModifiedResNet::new(&mut weights, config, stages)),
            Layers::Blocks(blocks) => {
                let patch = config.vision_cfg.patch_size.expect("checked");
                ImageTower::Transformer(VisionTransformer::new(&mut weights, config, *blocks, patch))
            }
        };
        let text = TextTransformer::new(&mut weights, config);
        let logit_scale = weights.parameter("logit_scale", &[], Init::Constant((1.0f64 / 0.07).ln()));
        Ok(Clip { config: config.clone(), weights, visual, text, logit_scale })
    }

    /// Normalised image embeddings f32 `[batch, embed_dim]` of normalised images f32 `[batch, 3, S,
    /// S]`. In training, batch norm uses the batch's statistics and updates the running ones.
    pub fn encode_image(&self, images: &Tensor, train: bool) -> Tensor {
        normalize(&self.image_features(images, train))
    }

    /// The input of the normalisation in [`encode_image`](Clip::encode_image), f32 `[batch,
    /// embed_dim]`.
    pub fn image_features(&self, images: &Tensor, train: bool) -> Tensor {
        let images = channels_last(images.shallow_clone());
        let features = match &self.visual {
            ImageTower::ResNet(tower) => tower.forward(&images, train),
            ImageTower::Transformer(tower) => tower.forward(&images),
        };
        features.to_kind(Kind::Float)
    }

    /// The input of a vision transformer's projection, f32 `[batch, width]`. A ResNet has no
    /// separate projection, only the one inside its attention pool: its embedding.
    pub fn features_before_projection(&self, images: &Tensor) -> Tensor {
        match &self.visual {
            ImageTower::ResNet(_) => self.image_features(images, false),
            ImageTower::Transformer(tower) => {
                tower.before_projection(&channels_last(images.shallow_clone())).to_kind(Kind::Float)
            }
        }
    }

    /// Normalised text embeddings f32 `[batch, embed_dim]` of tokens i64 `[batch, length]`,
    /// `length` up to the context length.
    pub fn encode_text(&self, tokens: &Tensor) -> Tensor {
        self.encode_valid(tokens, &valid_token_indices(tokens))
    }

    /// [`encode_text`](Clip::encode_text) for tokens whose [`valid_token_indices`] are known, so
    /// that it does not wait for a GPU.
    pub fn encode_valid(&self, tokens: &Tensor, valid: &Tensor) -> Tensor {
        normalize(&self.text.forward(tokens, valid).to_kind(Kind::Float))
    }

    /// Factor on cosine similarities: exp of the learned temperature.
    pub fn logit_scale(&self) -> Tensor {
        self.logit_scale.exp()
    }

    /// Clamps the temperature to its range; called after every step.
    pub fn clamp_logit_scale(&self) {
        tch::no_grad(|| {
            let _ = self.logit_scale.shallow_clone().clamp_(0.0, MAX_LOGIT_SCALE);
        });
    }
}

/// Rows scaled to length 1 in f32, as `F.normalize` does: lengths under 1e-12 count as 1e-12.
pub fn normalize(x: &Tensor) -> Tensor {
    let x = x.to_kind(Kind::Float);
    &x / x.norm_scalaropt_dim(2.0, [-1].as_slice(), true).clamp_min(1e-12)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::files::{read_safetensors, write_safetensors};
    use crate::golden::{self, Golden, MODELS, assert_all_hold, folder};
    use serde_json::json;
    use std::collections::BTreeMap;

    /// The golden model of a kind, as `clip.py` made it.
    fn model(kind: &str) -> (Golden, Clip) {
        let golden = Golden::read(folder(), kind, Device::Cpu).unwrap();
        let model = golden.model(&golden::tiny(kind, false)).unwrap();
        (golden, model)
    }

    /// The wide models of `KINDS` in `clip.py`, whose initial weights are described.
    fn wide(kind: &str) -> ModelConfig {
        let vision = match kind {
            "clip" => json!({ "image_size": 64, "layers": [1, 2, 1, 1], "width": 16 }),
            _ => {
                json!({ "image_size": 34, "layers": 2, "width": 96, "head_width": 32, "patch_size": 8, "mlp_ratio": 3 })
            }
        };
        let mlp_ratio = if kind == "clip" { 4 } else { 2 };
        let text = json!({
            "context_length": 32, "vocab_size": 512, "width": 64, "heads": 2, "layers": 2, "mlp_ratio": mlp_ratio,
        });
        serde_json::from_value(json!({ "embed_dim": 64, "vision_cfg": vision, "text_cfg": text })).unwrap()
    }

    /// Embeddings, loss, running statistics and the gradient of every parameter.
    #[test]
    fn computes_what_open_clip_computes() {
        // On one thread batch norms use their own loops.
        for (kind, threads) in MODELS.into_iter().zip([1, 1]).chain([(MODELS[0], 2)]) {
            tch::set_num_threads(threads);
            let distances = golden::clip(folder(), kind, Device::Cpu).unwrap();
            assert_all_hold(&distances);
            let (_, model) = model(kind);
            let ours = 5 + model.weights.parameters.len() + model.weights.buffers.len();
            let gelu = distances.iter().filter(|distance| distance.tensor.starts_with("gelu/")).count();
            assert!(gelu == ours && distances.len() >= ours + 9, "everything is compared");
        }
    }

    #[test]
    fn trains_as_open_clip_trains() {
        tch::set_num_threads(1);
        for kind in MODELS {
            let distances = golden::training(folder(), kind, Device::Cpu).unwrap();
            assert_all_hold(&distances);
            assert_eq!(distances.len(), model(kind).1.weights.tensors().len());
        }
    }

    #[test]
    fn the_temperature_stays_in_its_range() {
        let (_, model) = model("clip");
        for (set, expected) in [(9.0, 100.0), (-1.0, 1.0), (2.0, 2f64.exp())] {
            let _ = tch::no_grad(|| model.logit_scale.shallow_clone().fill_(set));
            model.clamp_logit_scale();
            assert!((f64::try_from(model.logit_scale()).unwrap() - expected).abs() < 1e-4);
        }
    }

    /// A saved model has exactly the tensors, by name, shape and kind, that open_clip's
    /// `load_state_dict` requires.
    #[test]
    fn saves_what_open_clip_loads() {
        for kind in MODELS {
            let ((golden, model), folder) = (model(kind), tempfile::tempdir().unwrap());
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
    }

    /// PyTorch counts the batches that a batch norm is trained on. The count was once written as 0,
    /// regardless of the file that was loaded.
    #[test]
    fn batch_norms_count_their_batches_and_the_count_is_kept() {
        let (_, model) = model("clip");
        let images = Tensor::zeros([2, 3, 64, 64], (Kind::Float, Device::Cpu));
        for train in [true, false, true, true, false] {
            let _ = tch::no_grad(|| model.encode_image(&images, train));
        }
        let counts = |model: &Clip| -> Vec<i64> {
            let state = model.weights.state();
            let counts = state.iter().filter(|(name, _)| name.ends_with(".num_batches_tracked"));
            counts.map(|(_, count)| i64::try_from(count).unwrap()).collect()
        };
        assert_eq!(counts(&model), [3; 22]);
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        model.weights.save(&file("three")).unwrap();
        let mut tensors = read_safetensors(&file("three")).unwrap().0;
        tensors.insert("visual.bn1.num_batches_tracked".into(), Tensor::from(123_456i64));
        write_safetensors(&file("many"), &tensors, &Default::default()).unwrap();
        let other = Clip::new(&model.config, 2, Device::Cpu).unwrap();
        other.weights.load(&file("many")).unwrap();
        other.weights.save(&file("again")).unwrap();
        assert_eq!(
            std::fs::read(file("again")).unwrap(),
            std::fs::read(file("many")).unwrap(),
            "reading and writing changes nothing"
        );
        assert!(counts(&other).contains(&123_456) && counts(&other).iter().filter(|count| **count == 3).count() == 21);
        let of_old = tensors.into_iter().filter(|(name, _)| !name.ends_with("tracked")).collect();
        other.weights.fit(of_old, "a file of an old PyTorch").unwrap();
        assert_eq!(counts(&other), [0; 22]);
    }

    /// New weights have open_clip's distributions: mean, deviation and mean absolute value (which
    /// distinguishes uniform from normal) differ no more than those of two samples of one
    /// distribution. Constants are equal.
    #[test]
    fn starts_as_open_clip_starts() {
        for kind in MODELS {
            let model = Clip::new(&wide(kind), 1, Device::Cpu).unwrap();
            let expected = Golden::read(folder(), kind, Device::Cpu).unwrap().under("init/");
            assert_eq!(expected.keys().collect::<Vec<_>>(), model.weights.parameters.keys().collect::<Vec<_>>());
            for (name, parameter) in &model.weights.parameters {
                assert_same_spread(name, parameter, &expected[name]);
            }
        }
    }

    /// Published results start from these draws: the sum and the sum of absolute values of all
    /// weights must not change.
    #[test]
    fn tiny_and_small_start_where_they_always_did() {
        let draws = [
            ("tiny", 2_245.242_825_713_173_7, 25_796.538_539_279_09),
            ("small", 4_704.623_115_875_609, 171_763.476_748_808_14),
        ];
        for (name, sum, size) in draws {
            let model = Clip::new(&ModelConfig::named(name).unwrap(), 1, Device::Cpu).unwrap();
            let total = |of: fn(Tensor) -> Tensor| -> f64 {
                let one = |x: Tensor| f64::try_from(of(x.to_kind(Kind::Double)).sum(Kind::Double)).unwrap();
                model.weights.tensors().into_values().map(one).sum()
            };
            assert!((total(|x| x) - sum).abs() < 1e-6 && (total(|x| x.abs()) - size).abs() < 1e-6, "{name}");
        }
    }

    fn assert_same_spread(name: &str, parameter: &Tensor, spread: &Tensor) {
        let numbers = |tensor: &Tensor| Vec::<f64>::try_from(tensor.detach().to_kind(Kind::Double)).unwrap();
        let x = parameter.to_kind(Kind::Double);
        let ours = numbers(&Tensor::stack(&[x.mean(None), x.std(false), x.abs().mean(None)], 0));
        let theirs = numbers(spread);
        let tolerance = 5.0 * theirs[1] / (parameter.numel() as f64).sqrt() + 1e-6;
        let close = ours.iter().zip(&theirs).all(|(a, b)| (a - b).abs() <= tolerance);
        assert!(close, "{name}: mean, deviation, mean size {ours:?}, open_clip's {theirs:?}");
    }
}
