//! Precision of the towers in training; `torch/src/autocast.rs` switches it.

use gauntlet_torch::autocast_bf16;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tch::Device;

/// Precision of the towers in training. In every mode weights, optimizer, embeddings, pools, losses
/// and all evaluations are 32-bit floats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// 32-bit floats; TF32 is never used.
    #[default]
    Fp32,
    /// Matrix products and convolutions in bfloat16, by the rules of PyTorch's autocast; slow on
    /// processors without such instructions.
    Bf16,
}

impl Precision {
    /// Its name in recipes and results.
    pub fn name(self) -> &'static str {
        match self {
            Precision::Fp32 => "fp32",
            Precision::Bf16 => "bf16",
        }
    }

    /// Runs the forward pass of one tower in it, either all with gradient or all without.
    pub fn forward<T>(self, device: Device, tower: impl FnOnce() -> T) -> T {
        match self {
            Precision::Fp32 => tower(),
            Precision::Bf16 => autocast_bf16(device, tower),
        }
    }
}
