//! CLIP as data: open_clip's model-config JSON in, two encoders and a temperature out.
//!
//! Names of weights are open_clip's, so that weights go both ways as safetensors. `model/config.rs` is the JSON; `model/resnet.rs`
//! and `model/vit.rs` are the image towers, `model/text.rs` the text tower, `model/transformer.rs` the blocks of both;
//! `model/weights.rs` is how weights are kept, drawn, read and written.

pub mod config;
mod resnet;
mod text;
mod transformer;
mod vit;
pub mod weights;

use crate::{Error, Result};
use config::Layers;
pub use config::ModelConfig;
use resnet::ModifiedResNet;
use tch::{Device, Kind, Tensor};
use text::TextTransformer;
use vit::VisionTransformer;
use weights::{Init, Weights, channels_last};

/// Temperature is learned as a logarithm, and kept within 0 to ln 100 (Radford et al. 2021, section 2.5).
pub const MAX_LOGIT_SCALE: f64 = 4.605_170_185_988_092;

/// The two encoders and the temperature.
pub struct Clip {
    /// What it was built from.
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
    /// A model with weights drawn from `seed` as open_clip draws them (the distributions, not the numbers).
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

    /// Normalised image embeddings `[batch, embed_dim]` of normalised pictures f32 `[batch, 3, S, S]`. In training, batch
    /// norm uses the batch's statistics and updates the running ones.
    pub fn encode_image(&self, images: &Tensor, train: bool) -> Tensor {
        let images = channels_last(images.shallow_clone());
        normalize(&match &self.visual {
            ImageTower::ResNet(tower) => tower.forward(&images, train),
            ImageTower::Transformer(tower) => tower.forward(&images),
        })
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

/// Rows scaled to length 1 in f32, as `F.normalize` does: lengths under 1e-12 count as 1e-12.
pub fn normalize(x: &Tensor) -> Tensor {
    let x = x.to_kind(Kind::Float);
    &x / x.norm_scalaropt_dim(2.0, [-1].as_slice(), true).clamp_min(1e-12)
}

#[cfg(test)]
mod tests {
    use super::weights::read_safetensors;
    use super::*;
    use crate::defense::clip_loss;
    use crate::train::adamw::AdamW;
    use serde_json::json;
    use std::collections::BTreeMap;
    use std::path::Path;

    /// Made by `clip.py` beside them: a modified ResNet and a vision transformer.
    const GOLDEN: [&str; 2] = [
        concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/clip.safetensors"),
        concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/clip-vit.safetensors"),
    ];

    struct Golden {
        file: &'static str,
        tensors: BTreeMap<String, Tensor>,
    }

    impl Golden {
        fn all() -> [Self; 2] {
            GOLDEN.map(|file| Golden { file, tensors: read_safetensors(Path::new(file)).unwrap().0 })
        }

        /// Everything under a prefix, by the rest of its name.
        fn under(&self, prefix: &str) -> BTreeMap<String, Tensor> {
            let rest =
                |(name, tensor): (&String, &Tensor)| Some((name.strip_prefix(prefix)?.to_string(), tensor.copy()));
            self.tensors.iter().filter_map(rest).collect()
        }

        fn images(&self) -> Tensor {
            self.tensors["images"].to_kind(Kind::Float) / 64.0 - 2.0
        }

        fn tokens(&self) -> &Tensor {
            &self.tensors["tokens"]
        }

        /// `KINDS` of `clip.py`: the model that computes, or the wide one whose start is described.
        fn config(&self, wide: bool) -> ModelConfig {
            let (context_length, vocab_size, width) = if wide { (32, 512, 64) } else { (12, 100, 16) };
            let vit = self.file.ends_with("clip-vit.safetensors");
            let vision = match (vit, wide) {
                (false, false) => json!({ "image_size": 64, "layers": [1, 2, 1, 1], "width": 2, "head_width": 32 }),
                (false, true) => json!({ "image_size": 64, "layers": [1, 2, 1, 1], "width": 16 }),
                (true, false) => {
                    json!({ "image_size": 34, "layers": 2, "width": 24, "head_width": 8, "patch_size": 8, "mlp_ratio": 3 })
                }
                (true, true) => {
                    json!({ "image_size": 34, "layers": 2, "width": 96, "head_width": 32, "patch_size": 8, "mlp_ratio": 3 })
                }
            };
            let text = json!({
                "context_length": context_length, "vocab_size": vocab_size, "width": width, "heads": 2, "layers": 2,
                "mlp_ratio": if vit { 2 } else { 4 },
            });
            serde_json::from_value(json!({ "embed_dim": width, "vision_cfg": vision, "text_cfg": text })).unwrap()
        }

        /// The golden model, its weights read from a file by open_clip's names.
        fn model(&self, quick_gelu: bool) -> Clip {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("weights.safetensors");
            weights::write_safetensors(&file, &self.under("weights/"), &Default::default()).unwrap();
            let model = Clip::new(&ModelConfig { quick_gelu, ..self.config(false) }, 1, Device::Cpu).unwrap();
            model.weights.load(&file).unwrap();
            model
        }
    }

    fn forward(model: &Clip, golden: &Golden) -> (Tensor, Tensor, Tensor) {
        let (image, text) = (model.encode_image(&golden.images(), true), model.encode_text(golden.tokens()));
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
        for golden in Golden::all() {
            for (name, quick_gelu) in [("gelu/", false), ("quick/", true)] {
                let ours = computed(&golden.model(quick_gelu), &golden);
                let expected = golden.under(name);
                assert!(expected.len() >= 9);
                expected.iter().for_each(|(key, tensor)| assert_equal(&format!("{name}{key}"), &ours[key], tensor));
                assert!(quick_gelu || ours.len() == expected.len(), "everything is compared");
            }
        }
    }

    fn computed(model: &Clip, golden: &Golden) -> BTreeMap<String, Tensor> {
        let mut ours = BTreeMap::from([
            ("eval/image".to_string(), model.encode_image(&golden.images(), false)),
            ("eval/text".to_string(), model.encode_text(golden.tokens())),
        ]);
        let (image, text, loss) = forward(model, golden);
        let gradients = gradients(model, &loss).into_iter().map(|(name, tensor)| (format!("gradient/{name}"), tensor));
        ours.extend(gradients);
        ours.extend([("train/image".into(), image), ("train/text".into(), text), ("loss".into(), loss)]);
        ours.extend(model.weights.buffers.iter().map(|(name, tensor)| (format!("running/{name}"), tensor.copy())));
        ours
    }

    #[test]
    fn trains_as_open_clip_trains() {
        for golden in Golden::all() {
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
    }

    #[test]
    fn the_temperature_stays_in_its_range() {
        let model = Golden::all()[0].model(false);
        for (set, expected) in [(9.0, 100.0), (-1.0, 1.0), (2.0, 2f64.exp())] {
            let _ = tch::no_grad(|| model.logit_scale.shallow_clone().fill_(set));
            model.clamp_logit_scale();
            assert!((f64::try_from(model.logit_scale()).unwrap() - expected).abs() < 1e-4);
        }
    }

    /// A model that is saved has the tensors, by name, shape and kind, that open_clip's `load_state_dict` insists on.
    #[test]
    fn saves_what_open_clip_loads() {
        for golden in Golden::all() {
            let (model, folder) = (golden.model(false), tempfile::tempdir().unwrap());
            let file = folder.path().join("weights.safetensors");
            model.weights.save(&file).unwrap();
            let of = |tensors: BTreeMap<String, Tensor>| -> Vec<_> {
                tensors.into_iter().map(|(name, tensor)| (name, tensor.size(), tensor.kind())).collect()
            };
            assert_eq!(of(read_safetensors(&file).unwrap().0), of(golden.under("weights/")));
        }
    }

    /// New weights have open_clip's distributions: mean, deviation and mean size (which tells uniform from normal) differ by no
    /// more than those of two samples of one distribution do. Constants do not differ.
    #[test]
    fn starts_as_open_clip_starts() {
        for golden in Golden::all() {
            let model = Clip::new(&golden.config(true), 1, Device::Cpu).unwrap();
            let expected = golden.under("init/");
            assert_eq!(expected.keys().collect::<Vec<_>>(), model.weights.parameters.keys().collect::<Vec<_>>());
            for (name, parameter) in &model.weights.parameters {
                assert_same_spread(name, parameter, &expected[name]);
            }
        }
    }

    /// Published results start from these draws: sum and sum of sizes of all weights, of the model as it first was.
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
