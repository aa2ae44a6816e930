//! A control for defenses that augment: plain CLIP with RoCLIP's augmentations and nothing else.

use gauntlet::data::augment::Augmentation;
use gauntlet::defense::CaptionEdits;
use gauntlet::{Bench, Defense, Phase, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// CLIP with augmentation.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AugmentationControl {
    /// How pictures are augmented.
    augmentation: Augmentation,
    /// When captions are edited by EDA.
    captions: CaptionEdits,
}

impl Default for AugmentationControl {
    fn default() -> Self {
        AugmentationControl { augmentation: Augmentation::default(), captions: CaptionEdits::PerEpoch }
    }
}

gauntlet::register!(
    dyn Defense,
    AugmentationControl,
    "augmentation-control",
    "CLIP with RoCLIP's augmentations of pictures and captions, and nothing else of it",
    ""
);

impl Defense for AugmentationControl {
    fn plan(&mut self, _epoch: u32, _bench: &Bench) -> Result<Phase> {
        Ok(Phase { augmentation: Some(self.augmentation), captions: self.captions, ..Phase::default() })
    }
}
