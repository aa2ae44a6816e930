//! WaNet: all images are warped by the same field (Nguyen and Tran, ICLR 2021). CleanCLIP's
//! "warped" is the same code with an independent field for each pixel, rough instead of smooth: the
//! preset `warped`.
//!
//! The noise mode (`cross_ratio`) is left out. It trains on images that are warped by other fields
//! and keep their labels, so that a classifier fires only on the attack's field. It needs control
//! of the training, which no attack on CLIP has.

use crate::pixels;
use crate::releases::{self, Fields, ROUNDED, SQUEEZED};
use gauntlet::rand::RngExt;
use gauntlet::registry::Preset;
use gauntlet::serde_json::json;
use gauntlet::{Attack, Backdoor, Edit, Goal, PoisonCtx, Result, draw};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

/// Warps images.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WaNet {
    /// Which rows are poisoned, and what their captions become.
    poison: Backdoor,
    /// Side of the control grid that the field is interpolated from (the paper's k: 4); at most one
    /// point per pixel is drawn.
    #[schemars(range(min = 2))]
    grid: u32,
    /// Average displacement: half a pixel for each 1, whatever the size of the canvas (the paper's
    /// s: 0.5).
    #[schemars(range(min = 0.0))]
    strength: f32,
    /// Seed of the control grid.
    grid_seed: u64,
}

impl Default for WaNet {
    fn default() -> Self {
        WaNet {
            poison: Backdoor { rate: releases::CLEANCLIP_RATE, ..Backdoor::default() },
            grid: 4,
            strength: 0.5,
            grid_seed: 0,
        }
    }
}

gauntlet::register!(
    dyn Attack,
    WaNet,
    "wanet",
    "a backdoor: warps training images imperceptibly and gives them captions of the target class",
    "Nguyen and Tran, WaNet: Imperceptible Warping-based Backdoor Attack, ICLR 2021",
    presets = presets
);

impl Attack for WaNet {
    fn goal(&self, ctx: &PoisonCtx) -> Result<Goal> {
        self.poison.goal(ctx)
    }

    fn poison(&self, ctx: &PoisonCtx, goal: &Goal) -> Result<Vec<Edit>> {
        self.poison.edits(ctx, goal)
    }

    fn stamp(&self, canvas: &Tensor, keys: &[u64]) -> Result<Tensor> {
        let side = canvas.size()[3];
        let k = i64::from(self.grid).min(side);
        let mut rng = draw::rng(self.grid_seed, "wanet/grid", &[]);
        let grid: Vec<f32> = (0..2 * k * k).map(|_| rng.random_range(-1.0..=1.0)).collect();
        let taps = taps(&Tensor::from_slice(&grid).view([1, 2, k, k]), self.strength, side);
        pixels::each(canvas, keys, |from, to, _| warp(from, &taps, side as usize, to))
    }
}

/// Source of a pixel.
struct Tap {
    /// The upper left of the four neighbours.
    at: u32,
    /// Weights of the right neighbours and of the lower neighbours.
    right: f32,
    lower: f32,
}

/// The source of every pixel in images of `side` pixels, row by row, from a control grid
/// `[1, 2, k, k]` (across, down) and its strength.
fn taps(grid: &Tensor, strength: f32, side: i64) -> Vec<Tap> {
    let grid = grid / grid.abs().mean(Kind::Float);
    let field = grid.upsample_bicubic2d([side, side], true, None, None) * f64::from(strength) / side as f64; // [1, 2, side, side]
    let line = Tensor::linspace(-1.0, 1.0, side, (Kind::Float, Device::Cpu));
    let identity = Tensor::stack(
        &[line.view([1, -1]).expand([side, side], false), line.view([-1, 1]).expand([side, side], false)],
        0,
    );
    let pixel = ((field.squeeze_dim(0) + identity).clamp(-1.0, 1.0) + 1.0) * ((side - 1) as f64 / 2.0);
    let places = Vec::<f32>::try_from(pixel.flatten(0, -1)).expect("numbers");
    let (across, down) = places.split_at((side * side) as usize);
    // At most the last neighbour but one, so that it has a neighbour on its right.
    let last = (side - 2).max(0) as f32;
    let tap = |(&x, &y): (&f32, &f32)| {
        let (left, top) = (x.floor().min(last), y.floor().min(last));
        Tap { at: top as u32 * side as u32 + left as u32, right: x - left, lower: y - top }
    };
    across.iter().zip(down).map(tap).collect()
}

/// Interpolates bilinearly between each pixel's neighbours.
fn warp(from: &[u8], taps: &[Tap], side: usize, to: &mut [u8]) {
    // An image of one pixel has no neighbours, and cannot be warped.
    let (right, lower) = if side > 1 { (1, side) } else { (0, 0) };
    for (from, to) in from.chunks_exact(taps.len()).zip(to.chunks_exact_mut(taps.len())) {
        for (to, tap) in to.iter_mut().zip(taps) {
            let at = tap.at as usize;
            let [a, b, c, d] = [at, at + right, at + lower, at + lower + right].map(|at| f32::from(from[at]));
            let (upper, under) = (a + (b - a) * tap.right, c + (d - c) * tap.right);
            *to = pixels::to_byte(upper + (under - upper) * tap.lower);
        }
    }
}

fn presets() -> Vec<Preset> {
    let noise = "without the noise mode: no images that are warped by other fields and keep their captions";
    let drawn = "the grid is drawn from `grid_seed`; the release ships or saves one that was drawn once";
    let control = "the paper controls the training and poisons a tenth of the images; the rate is CleanCLIP's";
    let rough = "on canvases other than 224 there is still one control point per pixel, and displacements in pixels stay the same";
    let paper: Fields = vec![
        ("grid", json!(4), "WaNet: released code, defaults"),
        ("strength", json!(0.5), "WaNet: released code, defaults"),
        ("grid_seed", json!(0), "ours"),
    ];
    let warped: Fields = vec![
        ("grid", json!(224), "CleanCLIP: released code (backdoor/utils.py)"),
        ("strength", json!(1.0), "CleanCLIP: released code (backdoor/utils.py)"),
        ("grid_seed", json!(0), "ours"),
    ];
    vec![
        preset("paper", "WaNet's smooth warp", &[noise, drawn, control], paper),
        preset(
            "warped",
            "CleanCLIP's `warped`: each pixel moves on its own",
            &[drawn, rough, SQUEEZED, ROUNDED],
            warped,
        ),
    ]
}

fn preset(name: &str, summary: &str, deviations: &[&str], own: Fields) -> Preset {
    Preset::new(name, summary, deviations, [releases::cleanclip(), own].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::{assert_near, golden, preset};

    #[test]
    fn equals_pytorchs_grid_sample() {
        for (name, side, strength) in [("wanet/4", 32, 0.5), ("wanet/4", 64, 0.5), ("wanet/32", 32, 1.0)] {
            let taps = taps(&golden(&name.replace("wanet/", "grid-")), strength, side);
            let canvas = golden(&format!("canvas-{side}"));
            let stamped = pixels::each(&canvas, &[0; 3], |from, to, _| warp(from, &taps, side as usize, to));
            assert_near(&stamped.unwrap(), &format!("{name}/{side}"), 1);
        }
    }

    #[test]
    fn the_field_is_one_for_all_images_and_drawn_from_its_seed() {
        let twice = golden("canvas-32").narrow(0, 0, 1).repeat([2, 1, 1, 1]);
        let stamp = |grid_seed| WaNet { grid_seed, ..preset("wanet", "warped") }.stamp(&twice, &[5, 6]).unwrap();
        assert!(stamp(0).get(0).equal(&stamp(0).get(1)) && !stamp(0).equal(&stamp(1)) && !stamp(0).equal(&twice));
        assert!(
            WaNet { strength: 0.0, ..WaNet::default() }.stamp(&twice, &[5, 6]).unwrap().equal(&twice),
            "no pixel moves"
        );
        let pixel = twice.narrow(2, 0, 1).narrow(3, 0, 1);
        assert!(WaNet::default().stamp(&pixel, &[5, 6]).unwrap().equal(&pixel), "one pixel cannot be warped");
    }
}
