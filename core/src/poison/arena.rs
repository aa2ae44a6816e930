//! An arena in one seed: all that its poison is made from, in the form in which a bundle records it, and how that becomes the data
//! of a trial. `bundle.rs` is poison that was made before.

use super::bundle::Bundle;
use super::{Poison, Threat};
use crate::Result;
use crate::attack::Workshop;
use crate::data::{DataConfig, Dataset, Split};
use crate::plugin::library::Origin;
use crate::trial::{Configured, Ground};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// An arena of a suite, resolved, in one seed: the same one makes the same poison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arena {
    /// Name of the suite.
    pub suite: String,
    /// Name of the arena within it.
    pub name: String,
    /// Source of every draw.
    pub seed: u64,
    /// Where the pairs come from.
    pub data: DataConfig,
    /// Side of a canvas in pixels.
    pub size: u32,
    /// Share of every class that is held out.
    pub heldout: f64,
    /// Gigabytes that the canvas cache may take: a picture that cannot be read is left out where there is one, and found later where not.
    pub cache_gb: f64,
    /// Every attack of the suite: the pictures of all their goals are kept out of the test.
    pub attacks: Vec<Configured>,
    /// Labels of the attacks that poison.
    pub poisoning: Vec<String>,
    /// The libraries that the attacks were loaded from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub libraries: Vec<Origin>,
}

/// What an arena is about, before it is poisoned.
struct Open {
    data: Dataset,
    split: Split,
    threats: Vec<Threat>,
}

impl Arena {
    /// The attacks that poison, in the order in which they do.
    pub fn poisons(&self) -> Vec<Configured> {
        let poisons = |attack: &&Configured| self.poisoning.contains(&attack.label);
        self.attacks.iter().filter(poisons).cloned().collect()
    }

    /// Data and poison, both made if they are not in the store of the workshop yet.
    pub fn prepare(&self, workshop: &Workshop) -> Result<Ground> {
        let Open { data, split, threats } = self.open(workshop)?;
        let poison = Poison::open(workshop.store, &data, &split, self.seed, &self.poisons(), &threats)?;
        Ok(Ground { data, split, threats, poison })
    }

    /// The same with the poison of a bundle's folder `ARENA/seed-N`.
    ///
    /// # Errors
    /// If the folder is damaged, or holds the poison of something else; says of what.
    pub fn prepare_from(&self, folder: &Path, workshop: &Workshop) -> Result<Ground> {
        // It is read first: data takes longer.
        let bundle = Bundle::read(folder)?;
        let Open { data, split, threats } = self.open(workshop)?;
        bundle.check(self, &data, &split, &threats)?;
        Ok(Ground { data, split, threats, poison: bundle.poison })
    }

    fn open(&self, workshop: &Workshop) -> Result<Open> {
        self.libraries.iter().try_for_each(Origin::check)?;
        let data =
            Dataset::open(&self.data, self.size, (self.cache_gb * 1e9) as u64, workshop.store, workshop.progress)?;
        let split = data.split(self.heldout, self.seed)?;
        let threats = Threat::all(&self.attacks, &data, &split, self.seed, workshop)?;
        Ok(Open { data, split, threats })
    }
}
