//! Nashville: an Instagram filter as a trigger (Detect, Huang et al., ICLR 2025, which uses the
//! Python package pilgram).
//!
//! Written from CSSgram's definition, which is also pilgram's source, and the W3C's formulas for
//! its filters (Filter Effects 1) and blend modes (Compositing 1): a warm layer darkens, a blue
//! layer lightens, then come sepia, contrast, brightness and saturation. We round once, at the end;
//! pilgram rounds after each filter. The test bounds the difference.

use crate::pixels;
use crate::releases::{self, Fields};
use gauntlet::registry::Preset;
use gauntlet::{Attack, Backdoor, Edit, Goal, PoisonCtx, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tch::Tensor;

/// Applies the filter to whole images.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Nashville {
    /// Which rows are poisoned, and what their captions become.
    poison: Backdoor,
}

impl Default for Nashville {
    fn default() -> Self {
        Nashville { poison: Backdoor { rate: releases::DETECT_RATE, ..Backdoor::default() } }
    }
}

gauntlet::register!(
    dyn Attack,
    Nashville,
    "nashville",
    "a backdoor: applies an Instagram filter to training images and gives them captions of the target class",
    "Huang et al., Detecting Backdoor Samples in Contrastive Language Image Pretraining, ICLR 2025",
    presets = presets
);

impl Attack for Nashville {
    fn goal(&self, ctx: &PoisonCtx) -> Result<Goal> {
        self.poison.goal(ctx)
    }

    fn poison(&self, ctx: &PoisonCtx, goal: &Goal) -> Result<Vec<Edit>> {
        self.poison.edits(ctx, goal)
    }

    fn stamp(&self, canvas: &Tensor, keys: &[u64]) -> Result<Tensor> {
        let filter = Filter::new();
        pixels::each(canvas, keys, |from, to, _| filter.apply(from, to))
    }
}

/// CSSgram: rgba(247, 176, 153, .56), mode darken; alpha in 255ths.
const WARM: ([u8; 3], u32) = ([247, 176, 153], 143);
/// CSSgram: rgba(0, 70, 150, .4), mode lighten; alpha in 255ths.
const BLUE: ([u8; 3], u32) = ([0, 70, 150], 102);
/// CSSgram: sepia(.2) contrast(1.2) brightness(1.05) saturate(1.2).
/// W3C: the matrix of full sepia, over red, green and blue.
const FULL_SEPIA: [[f32; 3]; 3] = [[0.393, 0.769, 0.189], [0.349, 0.686, 0.168], [0.272, 0.534, 0.131]];
/// W3C: the weights of luminance in `saturate`.
const LUMINANCE: [f32; 3] = [0.213, 0.715, 0.072];
const SEPIA: f32 = 0.2;
const CONTRAST: f32 = 1.2;
const BRIGHTNESS: f32 = 1.05;
const SATURATION: f32 = 1.2;

struct Filter {
    /// For each channel and byte value, the result of both layers.
    layers: [[f32; 256]; 3],
    sepia: [[f32; 3]; 3],
    saturation: [[f32; 3]; 3],
}

impl Filter {
    fn new() -> Self {
        let layers = [0, 1, 2].map(|channel| std::array::from_fn(|value| both_layers(channel, value as u8)));
        Filter { layers, sepia: part(FULL_SEPIA, SEPIA), saturation: part([LUMINANCE; 3], 1.0 - SATURATION) }
    }

    fn apply(&self, from: &[u8], to: &mut [u8]) {
        let area = from.len() / 3;
        let (red, rest) = to.split_at_mut(area);
        let (green, blue) = rest.split_at_mut(area);
        for (place, ((red, green), blue)) in red.iter_mut().zip(green).zip(blue).enumerate() {
            let under = |channel: usize| self.layers[channel][from[channel * area + place] as usize];
            let [r, g, b] = self.filtered([under(0), under(1), under(2)]);
            [*red, *green, *blue] = [pixels::to_byte(r), pixels::to_byte(g), pixels::to_byte(b)];
        }
    }

    /// Applies the filters to a pixel that has both layers. The channels are written out because
    /// closures in `map` over arrays are not always inlined, which is five times slower.
    #[inline(always)]
    fn filtered(&self, pixel: [f32; 3]) -> [f32; 3] {
        let [red, green, blue] = product(&self.sepia, pixel);
        product(&self.saturation, [lit(red), lit(green), lit(blue)])
    }
}

/// Applies both layers to a byte of a channel.
fn both_layers(channel: usize, value: u8) -> f32 {
    let darker = blend(value, value.min(WARM.0[channel]), WARM.1);
    f32::from(blend(darker, darker.max(BLUE.0[channel]), BLUE.1))
}

/// Blends in 8 bits and truncates twice, as pilgram does; in floats the two layers would be 2 of
/// 255 brighter.
fn blend(under: u8, over: u8, alpha: u32) -> u8 {
    (alpha * u32::from(over) / 255 + (255 - alpha) * u32::from(under) / 255) as u8
}

/// `amount` of the matrix plus `1 - amount` of the identity.
fn part(matrix: [[f32; 3]; 3], amount: f32) -> [[f32; 3]; 3] {
    std::array::from_fn(|row| {
        std::array::from_fn(|column| amount * matrix[row][column] + (1.0 - amount) * f32::from(u8::from(row == column)))
    })
}

/// Applies contrast, then brightness.
#[inline(always)]
fn lit(value: f32) -> f32 {
    let contrast = (CONTRAST * value.clamp(0.0, 255.0) + 127.5 * (1.0 - CONTRAST)).clamp(0.0, 255.0);
    (BRIGHTNESS * contrast).clamp(0.0, 255.0)
}

#[inline(always)]
fn product(matrix: &[[f32; 3]; 3], pixel: [f32; 3]) -> [f32; 3] {
    [dot(&matrix[0], pixel), dot(&matrix[1], pixel), dot(&matrix[2], pixel)]
}

#[inline(always)]
fn dot(row: &[f32; 3], [red, green, blue]: [f32; 3]) -> f32 {
    row[0] * red + row[1] * green + row[2] * blue
}

fn presets() -> Vec<Preset> {
    let fields: Fields = releases::detect(releases::DETECT_RATE);
    let near = "filters are rounded once, at the end; pilgram rounds after each, so a pixel can differ by 2 of 255";
    vec![Preset::new("detect", "Detect's Nashville filter", &[near], fields)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::{assert_near, golden};

    #[test]
    fn equals_pilgram() {
        let stamped = Nashville::default().stamp(&golden("canvas-32"), &[1, 2, 3]).unwrap();
        assert_near(&stamped, "nashville/32", 2);
    }
}
