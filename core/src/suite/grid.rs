//! The grid of a suite: one trial for every arena, defense and seed.

use super::{Resolved, Suite, configure, resolve_device};
use crate::defense::Undefended;
use crate::poison::{Arena, CLEAN};
use crate::registry::{Configured, origin};
use crate::trial::{self, Trial};
use crate::{Defense, Error, Result};
use std::path::PathBuf;

impl Suite {
    /// Every trial of the suite, ordered by seed, so that the table of the first seed is complete
    /// first.
    pub fn trials(&self) -> Result<Vec<Trial>> {
        let Resolved { model, attacks, defenses, evaluators } = self.resolve()?;
        let device = resolve_device(&self.device);
        let clean = (CLEAN.to_string(), Vec::new());
        let defenses = in_turn(defenses)?;
        let mut trials = Vec::new();
        for &seed in &self.seeds {
            for (name, poisoning) in std::iter::once((&clean.0, &clean.1)).chain(&self.arenas) {
                let arena = Arena {
                    suite: self.name.clone(),
                    name: name.clone(),
                    seed,
                    data: self.data.clone(),
                    classes: self.classes.clone(),
                    size: model.vision_cfg.image_size as u32,
                    heldout: self.heldout,
                    cache_gb: self.cache_gb,
                    attacks: attacks.clone(),
                    poisoning: poisoning.clone(),
                    libraries: origin::used(&attacks),
                };
                for defense in &defenses {
                    let weights = self.weights(&defense.label, name, seed).unwrap_or_default();
                    let elsewhere = !weights.as_os_str().is_empty();
                    // `warnings` reports missing weights; their trials are left out.
                    if elsewhere && !weights.is_file() {
                        continue;
                    }
                    trials.push(Trial {
                        libraries: origin::used(attacks.iter().chain([defense]).chain(&evaluators)),
                        arena: arena.clone(),
                        device: device.clone(),
                        threads: self.threads,
                        tier: self.tier.clone(),
                        model: model.clone(),
                        recipe: self.recipe.clone(),
                        defense: defense.clone(),
                        clean_after: if self.is_oracle(&defense.label) { Some(0) } else { self.clean_after },
                        evaluators: evaluators.clone(),
                        downstream: self.downstream.clone(),
                        bundle: self.bundle.clone(),
                        weights_blake3: if elsewhere { trial::hash_of(&weights)? } else { String::new() },
                        weights,
                    });
                }
            }
        }
        check(&trials)?;
        Ok(trials)
    }

    /// Path of the weights of a row that was trained elsewhere.
    fn weights(&self, defense: &str, arena: &str, seed: u64) -> Option<PathBuf> {
        let pattern = self.defenses.get(defense)?.get("weights")?.as_str()?;
        Some(pattern.replace("{arena}", arena).replace("{seed}", &seed.to_string()).into())
    }

    /// Warnings before the suite runs: missing weights, and controls that control for none of its
    /// defenses.
    pub fn warnings(&self) -> Result<Vec<String>> {
        let mut warnings = configure::stray_controls(&self.defenses)?;
        let elsewhere = self.defenses.keys().filter(|defense| self.is_elsewhere(defense));
        warnings.extend(elsewhere.filter_map(|defense| self.missing_weights(defense)));
        Ok(warnings)
    }

    /// Reports missing weights of a row that was trained elsewhere.
    fn missing_weights(&self, defense: &str) -> Option<String> {
        let arenas: Vec<&str> = std::iter::once(CLEAN).chain(self.arenas.keys().map(String::as_str)).collect();
        let files = self.seeds.iter().flat_map(|seed| arenas.iter().map(|arena| self.weights(defense, arena, *seed)));
        let missing: Vec<PathBuf> = files.flatten().filter(|file| !file.is_file()).collect();
        let (first, count, all) = (missing.first()?, missing.len(), self.seeds.len() * arenas.len());
        Some(format!(
            "defense `{defense}`: {count} of its {all} weight files are missing, the first is {}; their trials are left out",
            first.display()
        ))
    }
}

/// Sorts defenses that need the undefended model after those that store it.
fn in_turn(defenses: Vec<Configured>) -> Result<Vec<Configured>> {
    let mut turns = Vec::new();
    for defense in defenses {
        let waits = defense.build::<dyn Defense>()?.needs().undefended != Undefended::Unused;
        turns.push((waits, defense));
    }
    turns.sort_by_key(|(waits, _)| *waits);
    Ok(turns.into_iter().map(|(_, defense)| defense).collect())
}

/// Checks that there are trials, and that each can start.
fn check(trials: &[Trial]) -> Result<()> {
    let Some(first) = trials.first() else {
        let why = "every row is trained elsewhere, and no weight file exists";
        return Err(Error::invalid("defenses", why));
    };
    first.check()?;
    trials.iter().try_for_each(|trial| trial.bundled().map(drop))
}
