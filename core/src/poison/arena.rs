//! An arena in one seed: all inputs of its poison, in the form that a bundle records, and their
//! conversion to the data of a trial. `bundle.rs` reads poison that was made before.

use super::bundle::Bundle;
use super::{Poison, PreparedAttack, PreparedData};
use crate::attack::{PoisonCtx, PrepareContext};
use crate::data::{DataConfig, Dataset};
use crate::registry::{Configured, Origin};
use crate::{Attack, Error, Progress, Result};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::path::Path;

/// A resolved arena of a suite in one seed: equal arenas make equal poison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arena {
    /// Name of the suite.
    pub suite: String,
    /// Name of the arena within it.
    pub name: String,
    /// Seed of every draw.
    pub seed: u64,
    /// Source of the pairs.
    pub data: DataConfig,
    /// The classes, if they are named apart from the data.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub classes: String,
    /// Side of a canvas in pixels.
    pub size: u32,
    /// Share that is held out.
    pub heldout: f64,
    /// Maximum size of the canvas cache in gigabytes. With a cache, an image that cannot be decoded
    /// is left out from the start; without one it is found later.
    pub cache_gb: f64,
    /// Every attack of the suite: the target images of all their goals are left out of the test.
    pub attacks: Vec<Configured>,
    /// Labels of the attacks that poison.
    pub poisoning: Vec<String>,
    /// The libraries that the attacks were loaded from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub libraries: Vec<Origin>,
}

impl Arena {
    /// The attacks that poison, in order.
    pub fn poisons(&self) -> Vec<Configured> {
        let poisons = |attack: &&Configured| self.poisoning.contains(&attack.label);
        self.attacks.iter().filter(poisons).cloned().collect()
    }

    /// Data and poison, made if the store lacks them.
    pub fn prepare(&self, context: &PrepareContext) -> Result<PreparedData> {
        self.prepare_with(self.build()?, None, context)
    }

    /// Data from the store, poison made again.
    pub fn remake(&self, context: &PrepareContext) -> Result<PreparedData> {
        let scratch = tempfile::tempdir().map_err(Error::io(std::env::temp_dir()))?;
        let data = self.open_data(context.store, context.progress)?;
        self.poisoned(data, self.build()?, None, &PrepareContext { store: scratch.path(), ..*context })
    }

    /// Data, and the poison of a bundle's folder `ARENA/seed-N`.
    ///
    /// # Errors
    /// If the folder is damaged, or holds the poison of something else; the error names the
    /// difference.
    pub fn prepare_from(&self, folder: &Path, context: &PrepareContext) -> Result<PreparedData> {
        self.prepare_with(self.build()?, Some(folder), context)
    }

    fn build(&self) -> Result<Vec<Box<dyn Attack>>> {
        self.libraries.iter().try_for_each(Origin::check)?;
        self.attacks.iter().map(Configured::build::<dyn Attack>).collect()
    }

    /// [`prepare`](Arena::prepare) with these plugins instead of the registry's, one for each
    /// attack.
    pub(crate) fn prepare_with(
        &self,
        attacks: Vec<Box<dyn Attack>>,
        bundle: Option<&Path>,
        context: &PrepareContext,
    ) -> Result<PreparedData> {
        // Read first, because opening the data takes longer.
        let bundle = bundle.map(Bundle::read).transpose()?;
        self.poisoned(self.open_data(context.store, context.progress)?, attacks, bundle, context)
    }

    /// Rows and canvases, made if the store lacks them.
    pub(crate) fn open_data(&self, store: &Path, progress: &dyn Progress) -> Result<Dataset> {
        let cache_bytes = (self.cache_gb * 1e9) as u64;
        Dataset::open_among(&self.data, &self.classes, self.size, cache_bytes, store, progress)
    }

    fn poisoned(
        &self,
        data: Dataset,
        attacks: Vec<Box<dyn Attack>>,
        bundle: Option<Bundle>,
        context: &PrepareContext,
    ) -> Result<PreparedData> {
        let split = data.split(self.heldout, self.seed)?;
        if !split.leaked.is_empty() {
            let (leaked, heldout) = (split.leaked.len(), split.heldout.len());
            let why = "show images that are also trained on, and are dropped";
            context.progress.remark(&format!("seed {}: {heldout} rows are held out; {leaked} more {why}", self.seed));
        }
        if data.named_apart {
            let ctx = PoisonCtx { data: &data, split: &split, seed: self.seed, taken: &HashSet::new() };
            context.progress.remark(&format!("seed {}: {}", self.seed, ctx.eligibility()));
        }
        let prepared_attacks = PreparedAttack::all(&self.attacks, attacks, &data, &split, self.seed, context)?;
        let poison = match bundle {
            Some(bundle) => {
                bundle.check(self, &data, &split, &prepared_attacks)?;
                bundle.poison
            }
            None => Poison::open(context, &data, &split, self.seed, &self.poisons(), &prepared_attacks)?,
        };
        Ok(PreparedData { data, split, attacks: prepared_attacks, poison })
    }
}
