//! Golden files: results computed by PyTorch, open_clip and torchvision, and how far gauntlet's
//! results on a device are from them.
//!
//! Each file in `tests/golden` has next to it the script that made it. The unit tests check the
//! distances measured here against their limits on the CPU; `gauntlet bench numerics` does so on
//! any device.

mod pools;

pub use pools::pools;

use crate::data::augment::{self, AugmentParams};
use crate::data::files::{read_json, read_safetensors};
use crate::defense::clip_loss;
use crate::model::{Clip, ModelConfig};
use crate::recipe::Precision;
use crate::train::adamw::AdamW;
use crate::{Error, Result};
use gauntlet_torch::clip_grad_norm;
use serde::Serialize;
use serde_json::json;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use tch::{Device, Kind, Tensor};

/// Limit for two correct implementations in 32 bits: rounding, amplified by a deep network.
const FP32: f64 = 1e-4;

/// If PyTorch itself is further than that from its 64-bit results (`rounding.py`), the limit is
/// this many times PyTorch's own error.
const ROUNDING: f64 = 3.0;

/// Limit for embeddings and losses in bfloat16, whose numbers are 2^-8 apart.
const BF16: f64 = 2e-2;

/// Distance of a tensor from its golden counterpart.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Distance {
    /// Name of the tensor.
    pub tensor: String,
    /// Largest absolute difference of two elements, divided by the largest absolute element of the
    /// golden tensor.
    pub error: f64,
    /// The largest error allowed.
    pub limit: f64,
}

impl Distance {
    /// Distance between two tensors. The largest element counts as at least 0.001: the bias of
    /// attention's keys shifts all scores of a row equally, which softmax ignores, so its gradient
    /// is pure rounding.
    pub fn between(tensor: impl Into<String>, ours: &Tensor, golden: &Tensor, limit: f64) -> Result<Distance> {
        let tensor = tensor.into();
        if ours.size() != golden.size() {
            let why = format!("is {:?}, but the golden one is {:?}", ours.size(), golden.size());
            return Err(Error::invalid(format!("`{tensor}`"), why));
        }
        let golden = on_cpu(golden);
        let error = greatest(&(on_cpu(ours) - &golden))? / greatest(&golden)?.max(1e-3);
        Ok(Distance { tensor, error, limit })
    }

    /// Whether the error is within its limit; NaN is not.
    pub fn holds(&self) -> bool {
        self.error <= self.limit
    }
}

fn on_cpu(tensor: &Tensor) -> Tensor {
    tensor.detach().to_device(Device::Cpu).to_kind(Kind::Double)
}

fn greatest(tensor: &Tensor) -> Result<f64> {
    Ok(f64::try_from(tensor.abs().max())?)
}

/// A golden file, its tensors on a device.
pub struct Golden {
    /// The tensors by name.
    pub tensors: BTreeMap<String, Tensor>,
    /// Further data from the script.
    pub metadata: HashMap<String, String>,
    device: Device,
}

impl std::ops::Index<&str> for Golden {
    type Output = Tensor;

    /// The tensor of a name that is known to exist, as in tests.
    fn index(&self, name: &str) -> &Tensor {
        &self.tensors[name]
    }
}

impl Golden {
    /// Reads `name.safetensors` in `folder`.
    pub fn read(folder: &Path, name: &str, device: Device) -> Result<Golden> {
        let (tensors, metadata) = read_safetensors(&folder.join(format!("{name}.safetensors")))?;
        let tensors = tensors.into_iter().map(|(name, tensor)| (name, tensor.to_device(device))).collect();
        Ok(Golden { tensors, metadata, device })
    }

    /// A file of gauntlet's source tree, on the CPU, for tests.
    ///
    /// # Panics
    /// If it cannot be read.
    pub fn of_tests(name: &str) -> Golden {
        Golden::read(folder(), name, Device::Cpu).unwrap_or_else(|error| panic!("{}", error.chain()))
    }

    /// The tensor of a name.
    pub fn get(&self, name: &str) -> Result<&Tensor> {
        self.tensors.get(name).ok_or_else(|| Error::invalid("golden file", format!("holds no `{name}`")))
    }

    /// All tensors under a prefix, by the rest of their names.
    pub fn under(&self, prefix: &str) -> BTreeMap<String, Tensor> {
        let rest = |(name, tensor): (&String, &Tensor)| Some((name.strip_prefix(prefix)?.to_string(), tensor.copy()));
        self.tensors.iter().filter_map(rest).collect()
    }

    /// Images of `clip.py` and `autocast.py`, f32 `[batch, 3, S, S]`; each stored pixel is repeated
    /// to `scale` x `scale` pixels.
    fn images(&self, scale: i64) -> Result<Tensor> {
        let images = self.get("images")?.to_kind(Kind::Float) / 64.0 - 2.0;
        Ok(images.repeat_interleave_self_int(scale, 2, None).repeat_interleave_self_int(scale, 3, None))
    }

    /// A model with the weights of the file.
    pub fn model(&self, config: &ModelConfig) -> Result<Clip> {
        let model = Clip::new(config, 1, self.device)?;
        model.weights.assign(&self.under("weights/"))?;
        Ok(model)
    }

    /// One forward pass in training: image and text embeddings and the loss.
    fn forward(&self, model: &Clip, images: &Tensor, precision: Precision) -> Result<[Tensor; 3]> {
        let tokens = self.get("tokens")?;
        let image = precision.forward(self.device, || model.encode_image(images, true));
        let text = precision.forward(self.device, || model.encode_text(tokens));
        let loss = clip_loss(&image, &text, &model.logit_scale());
        Ok([image, text, loss])
    }
}

/// Files of `clip.py`: a modified ResNet and a vision transformer.
pub const MODELS: [&str; 2] = ["clip", "clip-vit"];

/// The model of such a file, as in `KINDS` of `clip.py`.
pub fn tiny(file: &str, quick_gelu: bool) -> ModelConfig {
    let (vision, mlp_ratio) = match file {
        "clip" => (json!({ "image_size": 64, "layers": [1, 2, 1, 1], "width": 2, "head_width": 32 }), 4),
        _ => {
            let vit =
                json!({ "image_size": 34, "layers": 2, "width": 24, "head_width": 8, "patch_size": 8, "mlp_ratio": 3 });
            (vit, 2)
        }
    };
    let text = json!({
        "context_length": 12, "vocab_size": 100, "width": 16, "heads": 2, "layers": 2, "mlp_ratio": mlp_ratio,
    });
    let json = json!({ "embed_dim": 16, "quick_gelu": quick_gelu, "vision_cfg": vision, "text_cfg": text });
    serde_json::from_value(json).expect("a configuration")
}

/// Limits of the tensors in a file of `clip.py`, by name.
struct Limits(BTreeMap<String, f64>);

impl Limits {
    fn read(folder: &Path, file: &str) -> Result<Limits> {
        if file != "clip" {
            return Ok(Limits(BTreeMap::new()));
        }
        let path = folder.join("rounding.json");
        read_json(&path).map(Limits)
    }

    fn of(&self, name: &str) -> f64 {
        self.0.get(name).map_or(FP32, |rounding| FP32.max(ROUNDING * rounding))
    }
}

fn gradients<'a>(model: &'a Clip, loss: &Tensor) -> Result<Vec<(&'a str, Tensor)>> {
    let parameters = &model.weights.parameters;
    let found = Tensor::f_run_backward(&[loss], &parameters.values().collect::<Vec<_>>(), false, false)?;
    Ok(parameters.keys().map(String::as_str).zip(found).collect())
}

/// Embeddings, loss, gradients and running statistics of open_clip's model, with each activation,
/// in 32 bits.
pub fn clip(folder: &Path, file: &str, device: Device) -> Result<Vec<Distance>> {
    let golden = Golden::read(folder, file, device)?;
    let (images, limits) = (golden.images(1)?, Limits::read(folder, file)?);
    let mut distances = Vec::new();
    for (name, quick_gelu) in [("gelu/", false), ("quick/", true)] {
        let model = golden.model(&tiny(file, quick_gelu))?;
        let mut ours = BTreeMap::from([
            ("eval/image".to_string(), model.encode_image(&images, false)),
            ("eval/text".to_string(), model.encode_text(golden.get("tokens")?)),
        ]);
        let [image, text, loss] = golden.forward(&model, &images, Precision::Fp32)?;
        let gradients = gradients(&model, &loss)?;
        ours.extend(gradients.into_iter().map(|(name, tensor)| (format!("gradient/{name}"), tensor)));
        ours.extend([("train/image".into(), image), ("train/text".into(), text), ("loss".into(), loss)]);
        ours.extend(model.weights.buffers.iter().map(|(name, tensor)| (format!("running/{name}"), tensor.copy())));
        for (key, theirs) in golden.under(name) {
            let ours = ours.get(&key).ok_or_else(|| Error::invalid("golden file", format!("`{key}` is unknown")))?;
            let name = format!("{name}{key}");
            distances.push(Distance::between(&name, ours, &theirs, limits.of(&name))?);
        }
    }
    Ok(distances)
}

/// The weights after three steps of open_clip's training, in 32 bits.
pub fn training(folder: &Path, file: &str, device: Device) -> Result<Vec<Distance>> {
    let golden = Golden::read(folder, file, device)?;
    let (model, images, limits) = (golden.model(&tiny(file, false))?, golden.images(1)?, Limits::read(folder, file)?);
    let _ = train(&golden, &model, &images, Precision::Fp32, 3)?;
    let ours = model.weights.tensors();
    let limit = |name: &str| limits.of(&format!("trained/{name}"));
    let compare = |(name, theirs): (&String, &Tensor)| Distance::between(name, &ours[name], theirs, limit(name));
    golden.under("trained/").iter().map(compare).collect()
}

/// Trains as the scripts do; returns the loss of each step.
fn train(golden: &Golden, model: &Clip, images: &Tensor, precision: Precision, steps: usize) -> Result<Tensor> {
    let mut optimizer = AdamW::new(&model.weights, [0.9, 0.98], 1e-5, 0.1);
    let mut losses = Vec::new();
    for _ in 0..steps {
        let [_, _, loss] = golden.forward(model, images, precision)?;
        optimizer.step(&model.weights, &gradients(model, &loss)?, 1e-3)?;
        model.clamp_logit_scale();
        losses.push(loss.detach());
    }
    Ok(Tensor::stack(&losses, 0))
}

/// Embeddings, the losses of four steps, and each tower's gradient, compared with PyTorch's under
/// autocast to bfloat16.
///
/// A tower's gradient is compared as a whole: the length of the difference divided by the length of
/// the gradient. Batch norms amplify rounding, so its limit is the effect of rounding on PyTorch
/// itself, times the square root of 2 (two roundings, not one).
pub fn autocast(folder: &Path, device: Device, precision: Precision) -> Result<Vec<Distance>> {
    let golden = Golden::read(folder, "autocast", device)?;
    let config = golden.metadata.get("config").map(|json| serde_json::from_str(json));
    let config: ModelConfig =
        config.and_then(|parsed| parsed.ok()).ok_or_else(|| Error::invalid("golden file", "has no configuration"))?;
    let (model, images) = (golden.model(&config)?, golden.images(4)?);
    let [image, text, loss] = golden.forward(&model, &images, precision)?;
    let gradients = gradients(&model, &loss)?;
    let mut distances = Vec::new();
    for tower in ["visual", "text"] {
        let of_tower = |name: &str| name.starts_with("visual.") == (tower == "visual");
        let (mut difference, mut length) = (0.0, 0.0);
        for (name, ours) in gradients.iter().filter(|(name, _)| of_tower(name)) {
            let theirs = on_cpu(golden.get(&format!("bf16/gradient/{name}"))?);
            difference += f64::try_from((on_cpu(ours) - &theirs).square().sum(Kind::Double))?;
            length += f64::try_from(theirs.square().sum(Kind::Double))?;
        }
        let rounding = f64::try_from(golden.get(&format!("rounding/{tower}"))?)?;
        let (tensor, limit) = (format!("gradient of {tower}"), rounding * std::f64::consts::SQRT_2);
        distances.push(Distance { tensor, error: (difference / length).sqrt(), limit });
    }
    // Our own kernels round less often than PyTorch's: the same computation on a CPU, in 32 bits
    // and rounded once, is off by 3.1e-2, fp32 by 4.1e-2.
    let of_image = if device.is_cuda() && gauntlet_torch::uses_kernels() { 3.6e-2 } else { BF16 };
    distances.push(Distance::between("image", &image, golden.get("bf16/image")?, of_image)?);
    distances.push(Distance::between("text", &text, golden.get("bf16/text")?, BF16)?);
    let model = golden.model(&config)?;
    let losses = train(&golden, &model, &images, precision, 4)?;
    distances.push(Distance::between("losses", &losses, golden.get("bf16/losses")?, BF16)?);
    Ok(distances)
}

/// Gradients clipped by their global norm.
pub fn clip_norm(folder: &Path, device: Device) -> Result<Vec<Distance>> {
    let golden = Golden::read(folder, "clip_norm", device)?;
    let gradients = golden.under("gradient/"); // "0", "1" and so on
    let mut distances = Vec::new();
    for case in ["some", "most", "none"] {
        let limit = f64::try_from(golden.get(&format!("{case}/limit"))?)?;
        let (clipped, norm) = clip_grad_norm(&gradients.values().collect::<Vec<_>>(), limit)?;
        for (number, ours) in gradients.keys().map(String::as_str).zip(&clipped).chain([("norm", &norm)]) {
            let name = format!("{case}/{number}");
            distances.push(Distance::between(&name, ours, golden.get(&name)?, FP32)?);
        }
    }
    Ok(distances)
}

/// torchvision's operations, one by one and in chains, all in one batch: rows with different
/// parameters must not affect each other.
pub fn augmentation(folder: &Path, device: Device) -> Result<Vec<Distance>> {
    let golden = Golden::read(folder, "augment", device)?;
    let json = golden.metadata.get("drawings").map_or("", String::as_str);
    let params: Vec<AugmentParams> =
        serde_json::from_str(json).map_err(|why| Error::invalid("golden file, params", why.to_string()))?;
    let mut distances = Vec::new();
    for name in ["noisy", "smooth"] {
        let images = Tensor::stack(&vec![golden.get(name)?; params.len()], 0);
        let ours = augment::apply(&images, &params);
        for number in 0..params.len() {
            let key = format!("{number}/{name}");
            distances.push(Distance::between(&key, &ours.get(number as i64), golden.get(&key)?, FP32)?);
        }
    }
    Ok(distances)
}

/// Folder of the golden files in gauntlet's source tree, for tests of its crates.
pub fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden"))
}

/// Fails with every distance over its limit.
#[cfg(test)]
pub(crate) fn assert_all_hold(distances: &[Distance]) {
    let broken: Vec<&Distance> = distances.iter().filter(|distance| !distance.holds()).collect();
    assert!(!distances.is_empty() && broken.is_empty(), "{broken:#?}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bf16_is_what_pytorch_computes_under_autocast() {
        let distances = autocast(folder(), Device::Cpu, Precision::Bf16).unwrap();
        assert_all_hold(&distances);
    }

    /// Without autocast the test above would fail: 32-bit results are further away than its limits
    /// allow.
    #[test]
    fn fp32_is_not() {
        let measure = |precision| autocast(folder(), Device::Cpu, precision).unwrap();
        let (fp32, bf16) = (measure(Precision::Fp32), measure(Precision::Bf16));
        assert!(fp32.iter().any(|distance| !distance.holds()), "{fp32:#?}");
        for (ours, theirs) in bf16.iter().zip(&fp32).filter(|(ours, _)| ours.tensor != "text") {
            // Except for the text, small and shallow: its rows are in another order than
            // open_clip's, so rounding differs as much.
            assert!(ours.error < theirs.error, "{ours:?} {theirs:?}");
        }
    }

    #[test]
    fn augmentation_equals_torchvision() {
        let distances = augmentation(folder(), Device::Cpu).unwrap();
        let exact = |error: f64| error < 1e-5; // nothing but rounding
        assert!(distances.len() == 2 * 21 && distances.iter().all(|distance| exact(distance.error)), "{distances:#?}");
    }

    #[test]
    fn clips_gradients_as_pytorch_does() {
        let distances = clip_norm(folder(), Device::Cpu).unwrap();
        assert!(distances.iter().all(|distance| distance.error < 1e-6), "{distances:#?}"); // nothing but rounding
    }

    #[test]
    fn what_is_not_a_number_does_not_hold() {
        let nan = Distance::between("x", &Tensor::from(f32::NAN), &Tensor::from(1f32), 1.0).unwrap();
        assert!(!nan.holds());
        assert!(Distance::between("x", &Tensor::from_slice(&[1f32]), &Tensor::from(1f32), 1.0).is_err());
    }
}
