//! A control for RoCLIP's exposure. In an epoch in which RoCLIP matches to its pool, no image is
//! trained with its own caption, so RoCLIP also trains less on the poison. Here those epochs are
//! idle: they have no phase; the schedule advances, and no step is taken. In a suite,
//! `of = "LABEL"` copies epochs and augmentation from the RoCLIP that it controls for.

use crate::roclip::{check_pool_epochs, is_pool_epoch};
use gauntlet::data::augment::Augmentation;
use gauntlet::defense::{CaptionEdits, DefenseRole};
use gauntlet::{Defense, Phase, PlanContext, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// CLIP with RoCLIP's augmentation and exposure.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ExposureControl {
    /// RoCLIP's `every`: every so many epochs RoCLIP matches to its pool. Those epochs are idle
    /// here.
    #[schemars(range(min = 1))]
    every: u32,
    /// RoCLIP's `first`: the first such epoch; 0: the first multiple of `every`.
    first: u32,
    /// Whether images are augmented.
    augment: bool,
    /// How images are augmented.
    augmentation: Augmentation,
    /// When captions are edited by EDA.
    captions: CaptionEdits,
}

impl Default for ExposureControl {
    fn default() -> Self {
        let (augmentation, captions) = (Augmentation::default(), CaptionEdits::PerEpoch);
        ExposureControl { every: 2, first: 0, augment: true, augmentation, captions }
    }
}

gauntlet::register!(
    dyn Defense,
    ExposureControl,
    "exposure-control",
    "CLIP with RoCLIP's augmentations, idle in the epochs in which RoCLIP matches to its pool",
    ""
);

impl Defense for ExposureControl {
    fn role(&self) -> DefenseRole {
        DefenseRole::Control
    }

    fn plan(&mut self, epoch: u32, ctx: &PlanContext) -> Result<Vec<Phase>> {
        check_pool_epochs(self.every, self.first, ctx)?;
        if is_pool_epoch(epoch, self.every, self.first) {
            return Ok(Vec::new());
        }
        let augmentation = self.augment.then_some(self.augmentation);
        Ok(vec![Phase { augmentation, captions: self.captions, ..Phase::default() }])
    }
}
