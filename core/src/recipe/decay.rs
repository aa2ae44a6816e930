//! Which parameters have weight decay.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tch::Tensor;

/// Which parameters have weight decay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Decay {
    /// Matrices and convolution kernels, except those named as a norm, bias or temperature; never a
    /// vector (open_clip).
    #[default]
    OpenClip,
    /// Every parameter without `bn`, `ln`, `bias` or `logit_scale` in its name, vectors included:
    /// the norms of a ResNet's shortcuts (`downsample.1.weight`) decay (released code of CyCLIP,
    /// CleanCLIP, RoCLIP).
    ByName,
}

impl Decay {
    /// Whether a parameter of this name and shape has weight decay.
    pub fn applies(self, name: &str, parameter: &Tensor) -> bool {
        let by_name = !["bn", "ln", "bias", "logit_scale"].iter().any(|part| name.contains(part));
        by_name && (self == Decay::ByName || parameter.dim() >= 2)
    }
}
