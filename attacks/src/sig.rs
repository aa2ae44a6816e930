//! SIG: a sine across the columns of some training images (Barni, Kallas and Tondi, ICIP 2019: v(i,
//! j) = delta sin(2 pi j f / m)). Columns count from 0, as in all releases; in the paper they count
//! from 1. Three releases use this name for three triggers, added or blended, strong or faint.
//! `mix` and the presets select one.

use crate::pixels;
use crate::releases::{self, Fields, ROUNDED, SQUEEZED};
use gauntlet::registry::Preset;
use gauntlet::serde_json::json;
use gauntlet::{Attack, Backdoor, Edit, Goal, PoisonCtx, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::f64::consts::TAU;
use tch::Tensor;

/// Overlays a sine on whole images.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Sig {
    /// Which rows are poisoned, and what their captions become.
    poison: Backdoor,
    /// Amplitude in 255ths (CleanCLIP: 60, of which its blend leaves 12; BackdoorBench: 40).
    #[schemars(range(min = 0.0, max = 255.0))]
    amplitude: f32,
    /// Number of periods over the width of an image, whatever its size (6 in the paper and all
    /// releases).
    #[schemars(range(min = 0.0))]
    frequency: f32,
    /// How the wave is combined with the image.
    mix: Mix,
    /// For `blended`: weight of the wave (CleanCLIP: 0.2).
    #[schemars(range(min = 0.0, max = 1.0))]
    alpha: f32,
}

/// How the wave is combined with the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Mix {
    /// The wave is added, and the result is clamped to the pixel range (Barni et al.).
    Added,
    /// `alpha` times the wave plus `1 - alpha` times the image: a fainter wave, a darker image
    /// (CleanCLIP).
    Blended,
}

impl Default for Sig {
    fn default() -> Self {
        let poison = Backdoor { rate: releases::CLEANCLIP_RATE, ..Backdoor::default() };
        Sig { poison, amplitude: 40.0, frequency: 6.0, mix: Mix::Added, alpha: 0.2 }
    }
}

gauntlet::register!(
    dyn Attack,
    Sig,
    "sig",
    "a backdoor: overlays a sine on training images and gives them captions of the target class",
    "Barni, Kallas and Tondi, A New Backdoor Attack in CNNs by Training Set Corruption, ICIP 2019",
    presets = presets
);

impl Attack for Sig {
    fn goal(&self, ctx: &PoisonCtx) -> Result<Goal> {
        self.poison.goal(ctx)
    }

    fn poison(&self, ctx: &PoisonCtx, goal: &Goal) -> Result<Vec<Edit>> {
        self.poison.edits(ctx, goal)
    }

    fn stamp(&self, canvas: &Tensor, keys: &[u64]) -> Result<Tensor> {
        let side = canvas.size()[3] as usize;
        let (keep, weight) = match self.mix {
            Mix::Added => (1.0, 1.0),
            Mix::Blended => (1.0 - self.alpha, self.alpha),
        };
        let phase = |column: usize| TAU * f64::from(self.frequency) * column as f64 / side as f64;
        let wave: Vec<f32> = (0..side).map(|column| weight * self.amplitude * phase(column).sin() as f32).collect();
        pixels::each(canvas, keys, |from, to, _| pixels::mix_columns(from, keep, &wave, side, to))
    }
}

fn presets() -> Vec<Preset> {
    let bench = (0.0005, "ours: CleanCLIP's; BackdoorBench poisons classifiers, a tenth of the images");
    let bench: Fields =
        vec![("poison.rate", json!(bench.0), bench.1), ("poison.target", json!("random"), "ours: drawn")];
    vec![
        preset(
            "cleanclip",
            "CleanCLIP: a sine of 60/255, which a blend of 0.2 reduces to 12, on an image darker by a fifth",
            &[SQUEEZED, ROUNDED],
            releases::cleanclip(),
            60.0,
            "blended",
            "CleanCLIP: released code (backdoor/utils.py)",
        ),
        preset(
            "badclip",
            "BadCLIP's code: the same sine of 60/255, added at full height",
            &[SQUEEZED, ROUNDED],
            releases::badclip(),
            60.0,
            "added",
            "BadCLIP: released code",
        ),
        preset(
            "backdoorbench",
            "BackdoorBench: a sine of 40/255, added",
            &[
                "on image-caption pairs with CleanCLIP's captions; BackdoorBench keeps labels and poisons only the target class",
                ROUNDED,
            ],
            releases::with(releases::cleanclip(), bench),
            40.0,
            "added",
            "BackdoorBench: configuration of sig",
        ),
    ]
}

fn preset(
    name: &str,
    summary: &str,
    deviations: &[&str],
    poison: Fields,
    amplitude: f64,
    mix: &str,
    source: &'static str,
) -> Preset {
    let own: Fields = vec![
        ("amplitude", json!(amplitude), source),
        ("frequency", json!(6.0), source),
        ("mix", json!(mix), source),
        ("alpha", json!(0.2), if mix == "blended" { source } else { "not used by this mix" }),
    ];
    Preset::new(name, summary, deviations, [poison, own].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::{assert_near, golden, preset};

    #[test]
    fn every_preset_equals_numpy() {
        for name in ["cleanclip", "badclip", "backdoorbench"] {
            let stamped = preset::<Sig>("sig", name).stamp(&golden("canvas-32"), &[1, 2, 3]).unwrap();
            assert_near(&stamped, &format!("sig/{name}/32"), 1);
        }
    }
}
