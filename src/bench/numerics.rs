//! The golden files of `tests/golden` on a device, every tensor with its distance; `core/src/golden.rs` says what is compared.

use super::Bed;
use clap::Args;
use gauntlet::Result;
use gauntlet::golden::{self, Distance};
use gauntlet::train::Precision;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Compares with golden files.
#[derive(Args)]
pub struct Numerics {
    /// Folder of the golden files
    #[arg(long, default_value = "tests/golden")]
    golden: PathBuf,
}

impl Numerics {
    /// Whether everything is within its limit, and every distance.
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
            section("RoCLIP's pool", Precision::Fp32, golden::pools(folder, device)),
        ];
        let right = sections.iter().all(|section| section["passed"] == true);
        Ok((right, json!({ "passed": right, "sections": sections })))
    }
}

/// One golden file: a failure to compare is a failure of this one only.
fn section(name: &str, precision: Precision, distances: Result<Vec<Distance>>) -> Value {
    let (precision, title) = (precision.name(), format!("{name}, {}", precision.name()));
    let distances = match distances {
        Ok(distances) => distances,
        Err(error) => {
            eprintln!("{title:40} FAILED: {}", error.chain());
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
        eprintln!(
            "{title:40} {verdict}: {count} tensors, worst {error:.1e} (limit {limit:.1e}), {tensor}; widest limit {widest:.1e}"
        );
    }
    json!({ "section": name, "precision": precision, "passed": passed, "worst": worst, "tensors": distances })
}
