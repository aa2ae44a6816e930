//! Compares the golden files of `tests/golden` on a device, with a distance for every tensor;
//! `core/src/golden.rs` describes the comparisons. Operations with our own kernels are compared
//! with libtorch's in f64.

use super::Bed;
use crate::output::tell;
use clap::Args;
use gauntlet::golden::{self, Distance};
use gauntlet::recipe::Precision;
use gauntlet::{Defense, Result, registry};
use gauntlet_torch::{NormOptions, batch_norm, halve};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use tch::{Device, Kind, Tensor};

/// Compares with golden files.
#[derive(Args)]
pub struct Numerics {
    /// Folder of the golden files
    #[arg(long, default_value = "tests/golden")]
    golden: PathBuf,
}

impl Numerics {
    /// Whether every distance is within its limit, and all distances.
    pub fn measure(&self, bed: &Bed) -> Result<(bool, Value)> {
        let (folder, device) = (self.golden.as_path(), bed.device);
        let bf16 = |folder: &Path, device| golden::autocast(folder, device, Precision::Bf16);
        let sections = [
            section("modified ResNet", Precision::Fp32, golden::clip(folder, "clip", device)),
            section("ResNet, three steps of AdamW", Precision::Fp32, golden::training(folder, "clip", device)),
            section("vision transformer", Precision::Fp32, golden::clip(folder, "clip-vit", device)),
            section("transformer, three steps of AdamW", Precision::Fp32, golden::training(folder, "clip-vit", device)),
            section("model and four steps of AdamW", Precision::Bf16, bf16(folder, device)),
            section("gradient clipping", Precision::Fp32, golden::clip_norm(folder, device)),
            section("augmentation", Precision::Fp32, golden::augmentation(folder, device)),
            section("RoCLIP's pool", Precision::Fp32, golden::pools(folder, "roclip", device, roclip)),
            section("norm and pooling", Precision::Fp32, fused(Kind::Float, device)),
            section("norm and pooling", Precision::Bf16, fused(Kind::BFloat16, device)),
        ];
        let right = sections.iter().all(|section| section["passed"] == true);
        Ok((right, json!({ "passed": right, "sections": sections })))
    }
}

/// RoCLIP with every epoch matching, which matches a batch `before` or `after` it enters the pool.
fn roclip(order: &str) -> Result<Box<dyn Defense>> {
    let plugin = registry::find::<dyn Defense>("roclip")?;
    let config = json!({ "every": 1, "look_up": format!("{order}-push") });
    let config = registry::resolve(plugin, config.as_object().expect("an object"))?;
    plugin.build(&Value::Object(config).to_string())
}

/// Compares one golden file: if the comparison fails, the others still run.
fn section(name: &str, precision: Precision, distances: Result<Vec<Distance>>) -> Value {
    let (precision, title) = (precision.name(), format!("{name}, {}", precision.name()));
    let distances = match distances {
        Ok(distances) => distances,
        Err(error) => {
            tell(&format!("{title:40} FAILED: {}", error.chain()));
            return json!({ "section": name, "precision": precision, "passed": false, "error": error.chain() });
        }
    };
    let share = |distance: &Distance| distance.error / distance.limit.max(f64::MIN_POSITIVE);
    let worst = distances.iter().max_by(|a, b| share(a).total_cmp(&share(b)));
    let passed = !distances.is_empty() && distances.iter().all(Distance::holds);
    if let Some(Distance { tensor, error, limit }) = worst {
        let verdict = if passed { "ok" } else { "FAILED" };
        let count = distances.len();
        let widest = distances.iter().map(|distance| distance.limit).fold(0.0, f64::max);
        tell(&format!(
            "{title:40} {verdict}: {count} tensors, worst {error:.1e} (limit {limit:.1e}), {tensor}; widest limit {widest:.1e}"
        ));
    }
    json!({ "section": name, "precision": precision, "passed": passed, "worst": worst, "tensors": distances })
}

/// Batch norm with all optional parts, and average pooling, of random numbers, forward and
/// backward: in one precision and in f64. Distances are of norms: among millions of numbers some
/// are so near to 0 that the ReLU passes them in one precision and not in the other.
fn fused(kind: Kind, device: Device) -> Result<Vec<Distance>> {
    // One gradient of three million that only one side passes is 6e-4; libtorch's three operations
    // round to bf16 in between, 5.5e-2 on a CPU.
    let of_images = if kind == Kind::Float { 2e-3 } else { 0.1 };
    tch::manual_seed(0);
    let mut distances = Vec::new();
    for shape in [[16, 64, 56, 56], [3, 24, 10, 6], [8, 2048, 6, 6], [2, 8, 2, 2]] {
        for (shortcut, relu) in [(false, false), (false, true), (true, false), (true, true)] {
            let random = |shape: &[i64]| Tensor::randn(shape, (Kind::Float, device)) + 1.0;
            let image = || random(&shape).to_kind(kind).permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2]);
            let images = [(); 3].map(|()| image());
            let channels = [(); 4].map(|()| random(&shape[1..2]));
            let normed = |kind, of_channels| norm(&images, &channels, [kind, of_channels], shortcut, relu);
            let (ours, exact) = (normed(kind, Kind::Float)?, normed(Kind::Double, Kind::Double)?);
            let names = ["y", "half", "mean", "variance", "dx", "dweight", "dbias", "dshortcut"];
            for ((name, ours), exact) in names.iter().zip(&ours).zip(&exact) {
                let limit = if ["mean", "variance"].contains(name) { 1e-5 } else { of_images };
                let name = format!("{name} of {shape:?}, shortcut {shortcut}, relu {relu}");
                let error = f64::try_from((ours.to_kind(Kind::Double) - exact).norm() / exact.norm())?;
                distances.push(Distance { tensor: name, error, limit });
            }
        }
    }
    Ok(distances)
}

/// Batch norm and pooling of these numbers in these precisions, forward and backward.
fn norm(
    images: &[Tensor; 3],
    channels: &[Tensor; 4],
    [kind, of_channels]: [Kind; 2],
    shortcut: bool,
    relu: bool,
) -> Result<Vec<Tensor>> {
    let [x, added, dy] = images.each_ref().map(|tensor| tensor.to_kind(kind).detach().copy());
    let [weight, bias, mean, var] = channels.each_ref().map(|tensor| tensor.to_kind(of_channels).copy());
    let [x, added, weight, bias] = [x, added, weight, bias].map(|tensor| tensor.set_requires_grad(true));
    let options = NormOptions { relu, momentum: 0.1, eps: 1e-5 };
    let y = batch_norm(&x, [&weight, &bias, &mean, &var], shortcut.then_some(&added), true, options)?;
    let half = halve(&y)?;
    let inputs: Vec<&Tensor> = [&x, &weight, &bias].into_iter().chain(shortcut.then_some(&added)).collect();
    let loss = (&y * dy).sum(Kind::Float).to_kind(Kind::Double) + half.square().sum(Kind::Float).to_kind(Kind::Double);
    let gradients = Tensor::run_backward(&[loss], &inputs, false, false);
    Ok([y.detach(), half.detach(), mean, var].into_iter().chain(gradients).collect())
}
