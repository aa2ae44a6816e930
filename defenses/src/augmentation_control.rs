//! A control for defenses that augment: plain CLIP with RoCLIP's augmentations and no other part of
//! RoCLIP. In a suite, `of = "LABEL"` copies them from the RoCLIP that it controls for.

use gauntlet::data::augment::Augmentation;
use gauntlet::defense::{CaptionEdits, DefenseRole};
use gauntlet::{Defense, Phase, PlanContext, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Plain CLIP with RoCLIP's augmentations.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AugmentationControl {
    /// Whether images are augmented.
    augment: bool,
    /// How images are augmented.
    augmentation: Augmentation,
    /// When captions are edited by EDA.
    captions: CaptionEdits,
}

impl Default for AugmentationControl {
    fn default() -> Self {
        let (augmentation, captions) = (Augmentation::default(), CaptionEdits::PerEpoch);
        AugmentationControl { augment: true, augmentation, captions }
    }
}

gauntlet::register!(
    dyn Defense,
    AugmentationControl,
    "augmentation-control",
    "CLIP with RoCLIP's augmentations of images and captions, and no other part of RoCLIP",
    ""
);

impl Defense for AugmentationControl {
    fn role(&self) -> DefenseRole {
        DefenseRole::Control
    }

    fn plan(&mut self, _epoch: u32, _bench: &PlanContext) -> Result<Vec<Phase>> {
        let augmentation = self.augment.then_some(self.augmentation);
        Ok(vec![Phase { augmentation, captions: self.captions, ..Phase::default() }])
    }
}
