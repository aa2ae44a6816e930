//! Draws the images of the world: one shape, plain or striped, with a shadow, on a softly lit
//! background.
//!
//! A shape is a signed distance function, which gives clean edges at every canvas size, the shadow
//! and the lit rim. Only basic arithmetic and square roots are used, which IEEE 754 rounds exactly:
//! the bytes are the same on every machine.

use crate::draw::Rng;
use rand::{Rng as _, RngExt};

const SHAPES: u32 = 10;

/// In the order of `captions::COLOURS`. None is close to magenta, the trigger's colour.
const PALETTE: [[f32; 3]; 8] = [
    [0.88, 0.20, 0.22],
    [0.20, 0.69, 0.34],
    [0.20, 0.38, 0.88],
    [0.97, 0.84, 0.24],
    [0.56, 0.26, 0.72],
    [0.97, 0.54, 0.16],
    [0.96, 0.95, 0.92],
    [0.51, 0.53, 0.56],
];

/// Period of the stripes (one dark and one bright), in units of the shape (whose half-width is just
/// under 1).
const PERIOD: f32 = 0.698;
/// Offset of the shadow, in units of the shape, and width of its edge.
const SHADOW: [f32; 2] = [0.07, 0.12];
const PENUMBRA: f32 = 0.22;
/// No shape and no shadow beyond it: the farthest corner, the offset of its shadow and half an
/// edge.
const REACH: f32 = 1.30 + 0.14 + 0.11;
/// Width of the lit rim, in units of the shape.
const RIM: f32 = 0.16;

/// The contents of one image. Coordinates run from -1 (left, top) to 1 over the canvas, whatever
/// its size in pixels.
pub struct Scene {
    /// `texture * 10 + shape`.
    pub class: u32,
    /// Index into the palette.
    pub colour: usize,
    /// Index into the palette, different from `colour`.
    pub background: usize,
    /// Whether the thing has the larger of two sizes.
    pub large: bool,
    centre: [f32; 2],
    scale: f32,
    cos: f32,
    sin: f32,
    paint: [f32; 3],
    ground: [f32; 3],
    light: [f32; 2],
}

impl Scene {
    /// Draws everything except the class. The things of one class have `colours` adjacent colours
    /// of the palette.
    pub fn draw(rng: &mut Rng, class: u32, colours: u32) -> Self {
        let colour = ((class * 3 + class / 8 + rng.random_range(0..colours)) % 8) as usize;
        let background = (colour + rng.random_range(1..8)) % 8;
        let large = rng.random_bool(0.5);
        let scale = if large { rng.random_range(0.77..0.95) } else { rng.random_range(0.57..0.70) };
        let room: f32 = 1.0 - 0.9 * scale;
        // A rotation by at most 0.3, from the tangent of half the angle: sine and cosine of the C
        // library differ between machines.
        let half: f32 = rng.random_range(-0.151..0.151);
        let square = half * half;
        Scene {
            class,
            colour,
            background,
            large,
            centre: [room * rng.random_range(-1.0..1.0f32), room * rng.random_range(-1.0..1.0f32)],
            scale,
            cos: (1.0 - square) / (1.0 + square),
            sin: 2.0 * half / (1.0 + square),
            paint: tinted(rng, PALETTE[colour]),
            ground: tinted(rng, PALETTE[background].map(|part| 0.75 * part)),
            light: [rng.random_range(-1.0..1.0), rng.random_range(-1.0..1.0)],
        }
    }

    /// Column and line of the thing's centre, each 0, 1 or 2.
    pub fn place(&self) -> [usize; 2] {
        self.centre.map(|at| usize::from(at >= -0.2) + usize::from(at >= 0.2))
    }

    /// Planar RGB, `[3, size, size]`.
    pub fn render(&self, size: u32, noise: f32, rng: &mut Rng) -> Vec<u8> {
        let area = (size * size) as usize;
        let mut canvas = vec![0; 3 * area];
        let step = 2.0 / size as f32;
        for at in 0..area {
            let (line, column) = (at as u32 / size, at as u32 % size);
            let colour = self.colour_at((column as f32 + 0.5) * step - 1.0, (line as f32 + 0.5) * step - 1.0, step);
            for (plane, part) in colour.into_iter().enumerate() {
                canvas[plane * area + at] = ((part + noise * gauss(rng)) * 255.0 + 0.5) as u8; // `as` saturates
            }
        }
        canvas
    }

    /// The colour of a pixel of width `step`, before noise.
    fn colour_at(&self, x: f32, y: f32, step: f32) -> [f32; 3] {
        let lit = 1.0 + 0.25 * (self.light[0] * x + self.light[1] * y);
        let (right, down) = ((x - self.centre[0]) / self.scale, (y - self.centre[1]) / self.scale);
        if right * right + down * down > REACH * REACH {
            return self.ground.map(|part| part * lit);
        }
        let (u, v) = self.turned(right, down);
        let (shadow_u, shadow_v) = self.turned(right - SHADOW[0], down - SHADOW[1]);
        let pixel = step / self.scale;
        let (depth, shadow_depth) = (self.depth(u, v), self.depth(shadow_u, shadow_v));

        let shade = lit * (1.0 - 0.32 * smooth(0.5 + shadow_depth / PENUMBRA));
        let inside = (0.5 + depth / pixel).clamp(0.0, 1.0);
        if inside == 0.0 {
            return self.ground.map(|part| part * shade);
        }
        // Towards the light, the edge is nearer at the shadow's place than here, which gives a rim
        // on that side.
        let rim = (1.0 - depth / RIM).clamp(0.0, 1.0) * (depth - shadow_depth) / SHADOW[1];
        let dark = if self.class >= SHAPES { (0.5 + stripe(v) / pixel).clamp(0.0, 1.0) } else { 0.0 };
        let gloss = (1.0 - 0.74 * dark) * (1.0 - 0.06 * v) * (1.0 + 0.14 * rim);
        std::array::from_fn(|plane| {
            let ground = self.ground[plane] * shade;
            ground + inside * (self.paint[plane] * gloss - ground)
        })
    }

    fn turned(&self, x: f32, y: f32) -> (f32, f32) {
        (self.cos * x + self.sin * y, self.cos * y - self.sin * x)
    }

    /// The distance of a point to the edge of the shape: positive inside, negative outside.
    fn depth(&self, u: f32, v: f32) -> f32 {
        let r = length(u, v);
        let (a, b) = (u.abs(), v.abs());
        match self.class % SHAPES {
            0 => 0.85 - r,
            1 => slab(u, v, 0.74, 0.74),
            2 => (0.64 - v).min((v + 0.90 - 1.75 * a) / 2.0156), // 2.0156 = length(1, 1.75)
            3 => slab(u, v, 0.28, 0.89).max(slab(u, v, 0.89, 0.28)),
            4 => 0.21 - (r - 0.71).abs(),
            5 => flower(a, v, r),
            6 => slab(u, v, 0.36, 0.92),
            7 => (0.88 - r).min(length(u - 0.45, v) - 0.62),
            8 => (0.90 - a).min((0.12 + 0.66 * a - b) / 1.1982), // 1.1982 = length(1, 0.66)
            _ => slab(u, v + 0.58, 0.85, 0.27).max(slab(u, v, 0.25, 0.87)),
        }
    }
}

fn length(u: f32, v: f32) -> f32 {
    (u * u + v * v).sqrt()
}

/// A box with slightly rounded corners, by half-width and half-height.
fn slab(u: f32, v: f32, width: f32, height: f32) -> f32 {
    const CORNER: f32 = 0.07;
    let (a, b) = (u.abs() - width + CORNER, v.abs() - height + CORNER);
    CORNER - a.max(b).min(0.0) - length(a.max(0.0), b.max(0.0))
}

/// Five petals, one upwards, around an eye.
fn flower(a: f32, v: f32, r: f32) -> f32 {
    // The right half of a regular pentagon of radius 0.55.
    const PETALS: [[f32; 2]; 3] = [[0.0, -0.55], [0.523_08, -0.169_96], [0.323_28, 0.444_96]];
    let squares = PETALS.map(|[x, y]| (a - x) * (a - x) + (v - y) * (v - y));
    let petals = 0.34 - squares[0].min(squares[1]).min(squares[2]).sqrt();
    petals.max(0.40 - r).min(r - 0.17)
}

/// The distance of a height to the edge of a dark stripe: positive inside it, negative in a bright
/// one.
fn stripe(v: f32) -> f32 {
    let turns = v / PERIOD + 16.0; // positive, so that the cast rounds down
    let phase = turns - turns as i32 as f32;
    (0.25 - (phase - 0.25).abs().min(1.25 - phase)) * PERIOD
}

/// 0 below 0, 1 above 1, and smooth in between.
fn smooth(x: f32) -> f32 {
    let x = x.clamp(0.0, 1.0);
    x * x * (3.0 - 2.0 * x)
}

fn tinted(rng: &mut Rng, colour: [f32; 3]) -> [f32; 3] {
    colour.map(|part| (part + 0.06 * gauss(rng)).clamp(0.0, 1.0))
}

/// Approximately standard normal: the sum of four bytes, mean 510, variance 4 * (256^2 - 1) / 12.
/// Exact, unlike a logarithm.
fn gauss(rng: &mut Rng) -> f32 {
    let sum: u32 = rng.next_u32().to_le_bytes().into_iter().map(u32::from).sum();
    (sum as f32 - 510.0) / 147.799
}
