//! Several triggers for one target: each poisoned or tested image gets one of them (Detect, Huang
//! et al., ICLR 2025: badnets, nashville and wanet together).
//!
//! Detect has another experiment with several targets. For that, put several attacks into one
//! arena, each with its own `target` by name; two attacks that leave `target` to the seed draw the
//! same class. Each attack has its own score.

use crate::releases::{self, Fields};
use crate::trigger::Trigger;
use gauntlet::rand::RngExt;
use gauntlet::registry::Preset;
use gauntlet::serde_json::json;
use gauntlet::{Attack, Backdoor, Edit, Goal, PoisonCtx, Result, draw};
use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use std::path::PathBuf;
use tch::Tensor;

/// Stamps one of several triggers onto each image.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MultiTrigger {
    /// Which rows are poisoned, and what their captions become.
    poison: Backdoor,
    /// The triggers; each image draws one of them with equal probability.
    #[serde(deserialize_with = "some")]
    triggers: Vec<Trigger>,
}

impl Default for MultiTrigger {
    fn default() -> Self {
        let triggers = ["badnet", "nashville", "wanet"].map(|name| Trigger::new(name, &[]));
        let poison = Backdoor { rate: releases::DETECT_RATE, ..Backdoor::default() };
        MultiTrigger { poison, triggers: triggers.into() }
    }
}

gauntlet::register!(
    dyn Attack,
    MultiTrigger,
    "multi-trigger",
    "a backdoor: stamps one of several triggers onto each image, all for one target class",
    "Huang et al., Detecting Backdoor Samples in Contrastive Language Image Pretraining, ICLR 2025",
    presets = presets
);

impl Attack for MultiTrigger {
    fn reads(&self) -> Result<Vec<PathBuf>> {
        Ok(self.triggers.iter().map(Trigger::reads).collect::<Result<Vec<_>>>()?.concat())
    }

    fn goal(&self, ctx: &PoisonCtx) -> Result<Goal> {
        self.triggers.iter().try_for_each(|trigger| trigger.try_out(ctx))?;
        self.poison.goal(ctx)
    }

    fn poison(&self, ctx: &PoisonCtx, goal: &Goal) -> Result<Vec<Edit>> {
        self.poison.edits(ctx, goal)
    }

    fn stamp(&self, canvas: &Tensor, keys: &[u64]) -> Result<Tensor> {
        let count = self.triggers.len();
        let mut groups = vec![(Vec::new(), Vec::new()); count]; // places and keys of each trigger
        for (place, &key) in (0i64..).zip(keys) {
            // Do not use the trigger's own draws: the first of them would depend on which trigger
            // it is.
            let drawn = draw::rng(key, "multi-trigger", &[]).random_range(0..count);
            groups[drawn].0.push(place);
            groups[drawn].1.push(key);
        }
        let stamped = canvas.copy();
        for (trigger, (places, keys)) in self.triggers.iter().zip(groups).filter(|(_, group)| !group.0.is_empty()) {
            let places = Tensor::from_slice(&places).to_device(canvas.device());
            let own = trigger.stamp(&canvas.index_select(0, &places), &keys)?;
            let _ = stamped.shallow_clone().index_copy_(0, &places, &own);
        }
        Ok(stamped)
    }
}

fn some<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Vec<Trigger>, D::Error> {
    let triggers = Vec::<Trigger>::deserialize(deserializer)?;
    if triggers.is_empty() { Err(D::Error::custom("is empty; name at least one trigger")) } else { Ok(triggers) }
}

fn presets() -> Vec<Preset> {
    let trigger = |name: &str, preset: &str| Trigger::new(name, &[("preset", json!(preset))]);
    let triggers = [trigger("badnet", "detect"), trigger("nashville", "detect"), trigger("wanet", "warped")];
    let own: Fields =
        vec![("triggers", json!(triggers), "Detect: released code; each trigger's values in its own preset")];
    let deviations = [
        "each image draws its trigger, in training and in test; how the release assigns triggers is unverified",
        "the warp is CleanCLIP's with a grid drawn here; the release ships its grid as a file",
        "BadNet's test patch is at a random place, as in training",
    ];
    let fields = [releases::detect(releases::DETECT_RATE), own].concat();
    vec![Preset::new("detect", "Detect's three triggers for one target", &deviations, fields)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::{golden, preset};
    use gauntlet::serde_json::{self, Value};

    fn read(triggers: Value) -> Result<MultiTrigger, String> {
        serde_json::from_value(json!({ "triggers": triggers })).map_err(|error| error.to_string())
    }

    #[test]
    fn each_image_gets_one_trigger_as_that_attack_stamps_it() {
        let triggers =
            json!([{ "plugin": "badnet", "config": { "size": 8 } }, { "plugin": "sig" }, { "plugin": "nashville" }]);
        let attack = read(triggers).unwrap();
        let images = golden("canvas-32").repeat([10, 1, 1, 1]);
        let keys: Vec<u64> = (0..30).collect();
        let stamped = attack.stamp(&images, &keys).unwrap();
        let alone: Vec<Tensor> = attack.triggers.iter().map(|trigger| trigger.stamp(&images, &keys).unwrap()).collect();
        let mut met = [0; 3];
        for place in 0..30 {
            let of: Vec<usize> = (0..3).filter(|&number| alone[number].get(place).equal(&stamped.get(place))).collect();
            assert_eq!(of.len(), 1, "image {place}");
            met[of[0]] += 1;
        }
        assert!(met.iter().all(|&met| met > 3), "{met:?}");
    }

    #[test]
    fn a_trigger_is_stored_with_every_key_and_a_wrong_one_is_refused() {
        let attack = read(json!([{ "plugin": "sig", "config": { "preset": "cleanclip", "frequency": 7 } }])).unwrap();
        let stored = serde_json::to_value(&attack).unwrap();
        let whole = json!({ "amplitude": 60.0, "frequency": 7.0, "mix": "blended", "alpha": 0.2 });
        assert_eq!(stored["triggers"][0]["config"], whole);
        assert_eq!(serde_json::to_value(read(stored["triggers"].clone()).unwrap()).unwrap(), stored, "and replays");
        assert_eq!(preset::<MultiTrigger>("multi-trigger", "detect").triggers.len(), 3);
        for (triggers, part) in [
            (json!([]), "name at least one trigger"),
            (json!([{ "plugin": "badnt" }]), "did you mean `badnet`?"),
            (json!([{ "plugin": "targeted" }]), "is no backdoor"),
            (json!([{ "plugin": "sig", "config": { "amplitud": 3 } }]), "did you mean `amplitude`?"),
            (json!([{ "plugin": "sig", "config": { "poison": {} } }]), "belongs to the attack"),
        ] {
            let message = read(triggers).unwrap_err();
            assert!(message.contains(part), "{part:?} is not in: {message}");
        }
    }
}
