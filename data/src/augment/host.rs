//! The augmentation of `augment.rs` for the CPU. It works image by image, so that each image stays
//! in the nearest cache through all operations, and a crop or a blur reads only the few pixels with
//! a weight. It equals the GPU version except for rounding.

use super::{AugmentParams, Jitter};
use std::thread;
use tch::Tensor;

/// Augments images f32 `[batch, 3, S, S]` on the CPU, on as many threads as libtorch may use.
pub(super) fn apply(images: &Tensor, params: &[AugmentParams]) -> Tensor {
    let size = images.size()[3] as usize;
    let mut pixels: Vec<f32> = Vec::try_from(images.contiguous().view([-1])).expect("f32 on the CPU");
    let image = 3 * size * size;
    let share = params.len().div_ceil(tch::get_num_threads().max(1) as usize);
    thread::scope(|scope| {
        let mut shares = pixels.chunks_mut(share * image).zip(params.chunks(share));
        let own = shares.next();
        shares.for_each(|(pixels, params)| drop(scope.spawn(move || augment_all(pixels, params, size))));
        own.into_iter().for_each(|(pixels, params)| augment_all(pixels, params, size));
    });
    Tensor::from_slice(&pixels).view_(images.size())
}

fn augment_all(pixels: &mut [f32], params: &[AugmentParams], size: usize) {
    let mut spare = vec![0.0; size * size];
    for (pixels, drawing) in pixels.chunks_exact_mut(3 * size * size).zip(params) {
        augment(pixels, drawing, size, &mut spare);
    }
}

fn augment(pixels: &mut [f32], drawing: &AugmentParams, size: usize, spare: &mut [f32]) {
    let [across, down] = [0, 1].map(|axis| crop(drawing, axis, size));
    let kernel = gaussian(drawing);
    let planes = size * size;
    pixels.chunks_exact_mut(planes).for_each(|plane| resample(plane, spare, &across, &down, size));
    let (red, others) = pixels.split_at_mut(planes);
    let (green, blue) = others.split_at_mut(planes);
    for &(operation, factor) in &drawing.jitter {
        adjust(operation, factor as f32, red, green, blue);
    }
    if drawing.grayscale {
        each(red, green, blue, |rgb| [luminance(rgb); 3]);
    }
    if kernel.len() > 1 {
        pixels.chunks_exact_mut(planes).for_each(|plane| blur(plane, spare, &kernel, size));
    }
}

/// The two source pixels of an output pixel, and the weight of the second.
type Neighbours = (usize, usize, f32);

/// The source pixels along one axis (0: across, 1: down).
fn crop(drawing: &AugmentParams, axis: usize, size: usize) -> Vec<Neighbours> {
    let (start, length) = (drawing.crop[axis] as f32, drawing.crop[axis + 2] as f32);
    let last = (size - 1) as f32;
    let source = |pixel: usize| {
        let place = ((pixel as f32 + 0.5) * length / size as f32 - 0.5).max(0.0).min(length - 1.0) + start;
        let place = if axis == 0 && drawing.flip { last - place } else { place };
        let first = place as usize;
        (first, (first + 1).min(size - 1), place - first as f32)
    };
    (0..size).map(source).collect()
}

fn resample(plane: &mut [f32], spare: &mut [f32], across: &[Neighbours], down: &[Neighbours], size: usize) {
    for (row, out) in plane.chunks_exact(size).zip(spare.chunks_exact_mut(size)) {
        for (out, &(first, second, share)) in out.iter_mut().zip(across) {
            *out = row[first] * (1.0 - share) + row[second] * share;
        }
    }
    for (out, &(first, second, share)) in plane.chunks_exact_mut(size).zip(down) {
        let [first, second] = [first, second].map(|row| &spare[row * size..][..size]);
        for ((out, first), second) in out.iter_mut().zip(first).zip(second) {
            *out = first * (1.0 - share) + second * share;
        }
    }
}

/// Weights of a pixel and of its neighbours on one side, as far as they are greater than 0. Over
/// both sides they sum to 1.
fn gaussian(drawing: &AugmentParams) -> Vec<f32> {
    let sigma = drawing.blur.max(1e-3) as f32;
    let weight = |distance: i64| (-0.5 * (distance as f32 / sigma).powi(2)).exp();
    let weights: Vec<f32> = (0..=drawing.blur_reach).map(weight).take_while(|weight| *weight > 0.0).collect();
    let sum = 2.0 * weights.iter().sum::<f32>() - weights[0];
    weights.into_iter().map(|weight| weight / sum).collect()
}

/// Blurs across, then down. The image is mirrored at its edges; the edge pixels are not repeated.
fn blur(plane: &mut [f32], spare: &mut [f32], kernel: &[f32], size: usize) {
    let (reach, last) = (kernel.len() - 1, size - 1);
    let mirrored = |place: isize| (last as isize - (last as isize - place.abs()).abs()) as usize;
    let mut wide = vec![0.0; size + 2 * reach];
    for (row, out) in plane.chunks_exact(size).zip(spare.chunks_exact_mut(size)) {
        wide.iter_mut().zip(-(reach as isize)..).for_each(|(wide, place)| *wide = row[mirrored(place)]);
        out.iter_mut().zip(&wide[reach..]).for_each(|(out, pixel)| *out = pixel * kernel[0]);
        for (distance, weight) in kernel.iter().enumerate().skip(1) {
            let (before, behind) = (&wide[reach - distance..], &wide[reach + distance..]);
            for ((out, before), behind) in out.iter_mut().zip(before).zip(behind) {
                *out += (before + behind) * weight;
            }
        }
    }
    for (row, out) in plane.chunks_exact_mut(size).enumerate() {
        let from = |offset: isize| &spare[mirrored(row as isize + offset) * size..][..size];
        out.iter_mut().zip(from(0)).for_each(|(out, pixel)| *out = pixel * kernel[0]);
        for (distance, weight) in kernel.iter().enumerate().skip(1) {
            let (before, behind) = (from(-(distance as isize)), from(distance as isize));
            for ((out, before), behind) in out.iter_mut().zip(before).zip(behind) {
                *out += (before + behind) * weight;
            }
        }
    }
}

fn adjust(operation: Jitter, factor: f32, red: &mut [f32], green: &mut [f32], blue: &mut [f32]) {
    let cut = |value: f32| value.clamp(0.0, 1.0);
    let blend = |[red, green, blue]: [f32; 3], other: f32| {
        [red, green, blue].map(|value| cut((value - other) * factor + other))
    };
    match operation {
        Jitter::Brightness => each(red, green, blue, |rgb| rgb.map(|value| cut(value * factor))),
        Jitter::Contrast => {
            let gray = red.iter().zip(&*green).zip(&*blue).map(|((r, g), b)| f64::from(luminance([*r, *g, *b])));
            let mean = (gray.sum::<f64>() / red.len() as f64) as f32;
            each(red, green, blue, |rgb| blend(rgb, mean));
        }
        Jitter::Saturation => each(red, green, blue, |rgb| blend(rgb, luminance(rgb))),
        // A whole turn changes nothing, so the remainder is between -3 and 3 sixths.
        Jitter::Hue => each(red, green, blue, |rgb| turned(rgb, (factor - factor.round()) * 6.0)),
    }
}

fn each(red: &mut [f32], green: &mut [f32], blue: &mut [f32], change: impl Fn([f32; 3]) -> [f32; 3]) {
    for ((red, green), blue) in red.iter_mut().zip(green).zip(blue) {
        [*red, *green, *blue] = change([*red, *green, *blue]);
    }
}

/// torchvision's weights of red, green and blue.
fn luminance([red, green, blue]: [f32; 3]) -> f32 {
    red * 0.2989 + green * 0.587 + blue * 0.114
}

/// Rotates a colour by this many sixths of the hue circle, from -3 to 3; value and chroma stay.
fn turned([red, green, blue]: [f32; 3], sixths: f32) -> [f32; 3] {
    let larger = |a: f32, b: f32| if a > b { a } else { b };
    let smaller = |a: f32, b: f32| if a < b { a } else { b };
    let value = larger(larger(red, green), blue);
    let chroma = value - smaller(smaller(red, green), blue);
    let safe = if chroma > 0.0 { chroma } else { 1.0 };
    let of_blue = (red - green) / safe + 4.0;
    let of_green = if value == green { (blue - red) / safe + 2.0 } else { of_blue };
    let hue = if value == red { (green - blue) / safe } else { of_green } + sixths; // from -4 to 8
    [5.0, 3.0, 1.0].map(|offset| {
        let place = hue + offset;
        let place = if place < 0.0 { place + 6.0 } else { place };
        let place = if place >= 12.0 { place - 12.0 } else { place };
        let place = if place >= 6.0 { place - 6.0 } else { place };
        value - chroma * smaller(larger(smaller(place, 4.0 - place), 0.0), 1.0)
    })
}
