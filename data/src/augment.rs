//! RoCLIP's image augmentation: random resized crop, flip, colour jitter, grayscale, Gaussian blur (Yang et al. 2023;
//! the constants are those of the released code), in batches on the training device.
//!
//! What is drawn for a row is drawn on the host from its key ([`Augmentation::draw`]); what is done
//! to the pixels is a function of the drawing ([`apply`]) and equals torchvision's operations.
//! Crop, flip and blur are linear and separable, so each is a matrix on either side of the image.
//! On the CPU the same is done image by image (`augment/host.rs`).

mod host;

use crate::draw::Rng;
use crate::{Error, Result};
use gauntlet_torch::sent_slice;
use rand::RngExt;
use rand::seq::SliceRandom;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

/// How images are augmented.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Augmentation {
    /// Least and greatest share of the image's area that a crop keeps (torchvision's default: 0.08 to 1).
    #[schemars(inner(range(min = 0.01, max = 1.0)))]
    pub crop_area: [f64; 2],
    /// Chance of a horizontal flip.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub flip: f64,
    /// Chance of colour jitter.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub jitter: f64,
    /// Strength of the jitter of brightness, contrast, saturation (factors within 1 - x to 1 + x)
    /// and hue (turns within -x to x).
    #[schemars(inner(range(min = 0.0, max = 1.0)))]
    pub jitter_strength: [f64; 4],
    /// Chance of grayscale.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub grayscale: f64,
    /// Least and greatest standard deviation of the blur, as a share of the image's side (RoCLIP:
    /// 0.1 to 2 pixels of 224).
    #[schemars(inner(range(min = 0.0, max = 0.1)))]
    pub blur: [f64; 2],
    /// Reach of the blur to either side, as a share of the image's side (RoCLIP: 10 pixels of 224).
    #[schemars(range(min = 0.0, max = 0.25))]
    pub blur_reach: f64,
}

impl Default for Augmentation {
    fn default() -> Self {
        Augmentation {
            crop_area: [0.08, 1.0],
            flip: 0.5,
            jitter: 0.8,
            jitter_strength: [0.5, 0.5, 0.5, 0.1],
            grayscale: 0.2,
            blur: [0.1 / 224.0, 2.0 / 224.0],
            blur_reach: 10.0 / 224.0,
        }
    }
}

/// What happens to one image.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct AugmentParams {
    /// Mirror it first.
    pub flip: bool,
    /// Left, top, width, height of the crop, in pixels of the mirrored image.
    pub crop: [i64; 4],
    /// Jitter operations with their factors, in the order they are applied.
    pub jitter: Vec<(Jitter, f64)>,
    /// Make it gray.
    pub grayscale: bool,
    /// Standard deviation of the blur in pixels.
    pub blur: f64,
    /// Reach of the blur in pixels.
    pub blur_reach: i64,
}

/// One operation of the colour jitter; its factor means what it means to torchvision's `adjust_...`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Jitter {
    /// `adjust_brightness`.
    Brightness,
    /// `adjust_contrast`.
    Contrast,
    /// `adjust_saturation`.
    Saturation,
    /// `adjust_hue`.
    Hue,
}

impl Augmentation {
    /// Ranges must not be turned around, and a blur must not reach past the image.
    pub fn check(&self) -> Result<()> {
        let wrong = |key: &str, why: &str| Err(Error::invalid(format!("augmentation, key `{key}`"), why));
        let [least, greatest] = self.crop_area;
        match () {
            () if !(least > 0.0 && least <= greatest && greatest <= 1.0) => {
                wrong("crop_area", "must be [least, greatest] within 0 and 1")
            }
            () if !(self.blur[0] >= 0.0 && self.blur[0] <= self.blur[1]) => {
                wrong("blur", "must be [least, greatest], not negative")
            }
            () if !(0.0..=0.25).contains(&self.blur_reach) => wrong("blur_reach", "must lie within 0 and 0.25"),
            () if [self.flip, self.jitter, self.grayscale].iter().any(|p| !(0.0..=1.0).contains(p)) => {
                wrong("flip, jitter or grayscale", "must lie within 0 and 1")
            }
            () if self.jitter_strength.iter().any(|x| !(0.0..=1.0).contains(x)) => {
                wrong("jitter_strength", "must lie within 0 and 1")
            }
            () => Ok(()),
        }
    }

    /// Draws what happens to one image of `size` x `size`; the order of jitter operations is drawn, too.
    pub fn draw(&self, size: i64, rng: &mut Rng) -> AugmentParams {
        let crop = self.draw_crop(size, rng);
        let flip = rng.random_bool(self.flip);
        let mut jitter = Vec::new();
        if rng.random_bool(self.jitter) {
            let operations = [Jitter::Brightness, Jitter::Contrast, Jitter::Saturation, Jitter::Hue];
            for (operation, strength) in operations.into_iter().zip(self.jitter_strength) {
                let centre = if operation == Jitter::Hue { 0.0 } else { 1.0 };
                jitter.push((operation, centre + strength * rng.random_range(-1.0..=1.0)));
            }
            jitter.shuffle(rng);
        }
        let grayscale = rng.random_bool(self.grayscale);
        let blur = rng.random_range(self.blur[0]..=self.blur[1]) * size as f64;
        let blur_reach = (self.blur_reach * size as f64).round() as i64;
        AugmentParams { flip, crop, jitter, grayscale, blur, blur_reach }
    }

    /// torchvision's `RandomResizedCrop.get_params`: ten tries for a crop that fits, else the whole (square) image.
    fn draw_crop(&self, size: i64, rng: &mut Rng) -> [i64; 4] {
        for _ in 0..10 {
            let area = (size * size) as f64 * rng.random_range(self.crop_area[0]..=self.crop_area[1]);
            let ratio = rng.random_range((3.0f64 / 4.0).ln()..=(4.0f64 / 3.0).ln()).exp();
            let (width, height) = ((area * ratio).sqrt().round() as i64, (area / ratio).sqrt().round() as i64);
            if (1..=size).contains(&width) && (1..=size).contains(&height) {
                return [rng.random_range(0..=size - width), rng.random_range(0..=size - height), width, height];
            }
        }
        [0, 0, size, size]
    }
}

/// Augments images f32 `[batch, 3, S, S]` within 0 to 1, on their device; each row by its drawing.
pub fn apply(images: &Tensor, params: &[AugmentParams]) -> Tensor {
    match images.device() {
        Device::Cpu => host::apply(images, params),
        _ => on_device(images, params),
    }
}

/// All images together, operation by operation.
fn on_device(images: &Tensor, params: &[AugmentParams]) -> Tensor {
    let (size, numbers) = (images.size()[3], numbers(params, images.device()));
    let crops = |axis| crop_matrix(&numbers, axis, size);
    let cropped = separable(images, &crops(1), &crops(0));
    let coloured = grayscale(jitter(cropped, params), params);
    let blurs = blur_matrix(&numbers, size);
    separable(&coloured, &blurs, &blurs)
}

/// `vertical` x image x `horizontal`^T for each image; the matrices are `[batch, S, S]`.
fn separable(images: &Tensor, vertical: &Tensor, horizontal: &Tensor) -> Tensor {
    vertical.unsqueeze(1).matmul(&images.matmul(&horizontal.transpose(1, 2).unsqueeze(1)))
}

/// All numbers of the params on the device, in one copy: f32 `[batch, 7]`.
fn numbers(params: &[AugmentParams], device: Device) -> Tensor {
    sent_slice(&params.iter().flat_map(row).collect::<Vec<_>>(), device).view([-1, 7])
}

fn row(drawing: &AugmentParams) -> [f32; 7] {
    let [left, top, width, height] = drawing.crop.map(|pixels| pixels as f32);
    let mirrored = f32::from(u8::from(drawing.flip));
    [left, top, width, height, mirrored, drawing.blur.max(1e-3) as f32, drawing.blur_reach as f32]
}

/// One of them, as `[batch, 1, 1]`.
fn column(numbers: &Tensor, which: i64) -> Tensor {
    numbers.select(1, which).view([-1, 1, 1])
}

/// Row j holds the bilinear weights of the source pixels that output pixel j is made of, along one
/// axis (0: across, mirrored where the drawing says so; 1: down). The crop is never larger than the
/// image, so this never shrinks and needs no low-pass filter.
fn crop_matrix(numbers: &Tensor, axis: i64, size: i64) -> Tensor {
    let (start, length) = (column(numbers, axis), column(numbers, axis + 2));
    let pixels = Tensor::arange(size, (Kind::Float, numbers.device()));
    let inside = (pixels.view([1, -1, 1]) + 0.5) * &length / size as f64 - 0.5;
    let place = inside.clamp_min(0.0).minimum(&(length - 1.0)) + start; // [batch, S, 1]
    let place = if axis == 0 { &place + column(numbers, 4) * ((size - 1) as f64 - &place * 2.0) } else { place };
    (1f64 - (pixels.view([1, 1, -1]) - place).abs()).clamp_min(0.0)
}

/// Gaussian weights of `2 * reach + 1` pixels around each, the image mirrored at its edges (torchvision's "reflect").
fn blur_matrix(numbers: &Tensor, size: i64) -> Tensor {
    let (sigma, reach) = (column(numbers, 5), column(numbers, 6));
    let pixels = Tensor::arange(size, (Kind::Float, numbers.device()));
    let (to, from) = (pixels.view([1, -1, 1]), pixels.view([1, 1, -1]));
    let weight = |distance: Tensor| ((&distance / &sigma).square() * -0.5).exp() * distance.abs().le_tensor(&reach);
    let last = (size - 1) as f64;
    let direct = weight(&from - &to);
    let before = weight(&from + &to) * from.gt(0); // pixel -i is pixel i
    let behind = weight(2.0 * last - &from - &to) * from.lt(last);
    let sum = direct + before + behind;
    &sum / sum.sum_dim_intlist([2].as_slice(), true, None::<Kind>)
}

/// Applies each row's jitter in its own order: at each of the four places, the rows that have an
/// operation there go through it together.
fn jitter(images: Tensor, params: &[AugmentParams]) -> Tensor {
    for place in 0..4 {
        for operation in [Jitter::Brightness, Jitter::Contrast, Jitter::Saturation, Jitter::Hue] {
            let here = |drawing: &AugmentParams| {
                drawing.jitter.get(place).filter(|(at, _)| *at == operation).map(|(_, factor)| *factor)
            };
            let (rows, factors): (Vec<i64>, Vec<f32>) =
                params.iter().zip(0..).filter_map(|(drawing, row)| Some((row, here(drawing)? as f32))).unzip();
            if rows.is_empty() {
                continue;
            }
            let rows = sent_slice(&rows, images.device());
            let factors = sent_slice(&factors, images.device()).view([-1, 1, 1, 1]);
            let adjusted = adjust(operation, &images.index_select(0, &rows), &factors);
            let _ = images.shallow_clone().index_copy_(0, &rows, &adjusted);
        }
    }
    images
}

/// torchvision's `adjust_brightness`, `adjust_contrast`, `adjust_saturation` or `adjust_hue` of
/// images `[n, 3, S, S]`, with factors `[n, 1, 1, 1]`.
fn adjust(operation: Jitter, images: &Tensor, factors: &Tensor) -> Tensor {
    let blend = |other: Tensor| ((images - &other) * factors + other).clamp(0.0, 1.0);
    match operation {
        Jitter::Brightness => (images * factors).clamp(0.0, 1.0),
        Jitter::Contrast => blend(luminance(images).mean_dim([1, 2, 3].as_slice(), true, None::<Kind>)),
        Jitter::Saturation => blend(luminance(images)),
        Jitter::Hue => turn_hue(images, factors),
    }
}

fn grayscale(images: Tensor, params: &[AugmentParams]) -> Tensor {
    let rows: Vec<i64> = params.iter().zip(0..).filter(|(drawing, _)| drawing.grayscale).map(|(_, row)| row).collect();
    if !rows.is_empty() {
        let rows = sent_slice(&rows, images.device());
        let gray = luminance(&images.index_select(0, &rows)).expand([-1, 3, -1, -1], false);
        let _ = images.shallow_clone().index_copy_(0, &rows, &gray);
    }
    images
}

/// `[n, 3, S, S]` -> `[n, 1, S, S]`, with torchvision's weights of red, green and blue.
fn luminance(images: &Tensor) -> Tensor {
    images.narrow(1, 0, 1) * 0.2989 + images.narrow(1, 1, 1) * 0.587 + images.narrow(1, 2, 1) * 0.114
}

/// Turns the hue by a share of the full circle, keeping value and chroma.
fn turn_hue(images: &Tensor, turns: &Tensor) -> Tensor {
    let [red, green, blue] = [0, 1, 2].map(|channel| images.narrow(1, channel, 1));
    let value = images.amax([1].as_slice(), true);
    let chroma = &value - images.amin([1].as_slice(), true);
    let safe = chroma.where_self(&chroma.gt(0.0), &chroma.ones_like());
    // Hue in sixths of the circle: which channel is the greatest, and how the other two compare.
    let of_blue = (&red - &green) / &safe + 4.0;
    let of_green = ((&blue - &red) / &safe + 2.0).where_self(&value.eq_tensor(&green), &of_blue);
    let hue = ((&green - &blue) / &safe).where_self(&value.eq_tensor(&red), &of_green) + turns * 6.0;
    let channel = |offset: f64| {
        let place = (&hue + offset).remainder(6.0);
        let share = place.minimum(&(4.0 - &place)).clamp(0.0, 1.0);
        &value - &chroma * share
    };
    Tensor::cat(&[channel(5.0), channel(3.0), channel(1.0)], 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::read_safetensors;

    /// Mirror, then crop, then colours, then blur: in any other order an off-centre crop, or a
    /// blur, gives another image.
    #[test]
    fn quirk_images_are_mirrored_then_cropped_then_coloured_then_blurred() {
        let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/augment.safetensors");
        let (golden, _) = read_safetensors(golden.as_ref()).unwrap();
        let image = golden["noisy"].unsqueeze(0);
        let size = image.size()[3];
        let nothing = AugmentParams {
            flip: false,
            crop: [0, 0, size, size],
            jitter: vec![],
            grayscale: false,
            blur: 0.0,
            blur_reach: 0,
        };
        let whole = AugmentParams {
            flip: true,
            crop: [0, size / 4, size / 2, size / 3],
            jitter: vec![(Jitter::Contrast, 1.5), (Jitter::Brightness, 1.4)],
            grayscale: false,
            blur: 1.2,
            blur_reach: 3,
        };
        let cropped = AugmentParams { crop: whole.crop, ..nothing.clone() };
        let coloured = AugmentParams { jitter: whole.jitter.clone(), ..nothing.clone() };
        let blurred = AugmentParams { blur: 1.2, blur_reach: 3, ..nothing.clone() };
        let after = |image: Tensor, params: &[&AugmentParams]| {
            params.iter().fold(image, |image, drawing| apply(&image, &[(*drawing).clone()]))
        };
        let off = |other: Tensor| {
            let ours = apply(&image, std::slice::from_ref(&whole));
            f64::try_from((ours - other).abs().max()).unwrap()
        };
        let (mirror, order) = (|image: &Tensor| image.flip([3]), [&cropped, &coloured, &blurred]);
        assert!(off(after(mirror(&image), &order)) < 1e-5);
        assert!(off(mirror(&after(image.copy(), &order))) > 1e-2, "cropped before it is mirrored");
        assert!(off(after(mirror(&image), &[&coloured, &cropped, &blurred])) > 1e-2, "coloured before it is cropped");
        assert!(off(after(mirror(&image), &[&cropped, &blurred, &coloured])) > 1e-2, "blurred before it is coloured");
    }

    /// The golden files are held against what the CPU does; what a GPU would do is held against that.
    #[test]
    fn both_ways_of_augmenting_agree() {
        for size in [32, 33] {
            let how = Augmentation {
                blur: [0.0, 0.06],
                blur_reach: 0.2,
                jitter_strength: [0.5, 0.5, 0.5, 1.0],
                ..Default::default()
            };
            let draw = |key| how.draw(size, &mut crate::draw::rng(3, "test", &[key]));
            let params: Vec<AugmentParams> = (0..50).map(draw).collect();
            let images = Tensor::arange(50 * 3 * size * size, (Kind::Double, Device::Cpu)).view([50, 3, size, size]);
            let images = ((images * 0.37).sin() * 0.5 + 0.5).to_kind(Kind::Float);
            let off = (apply(&images, &params) - on_device(&images, &params)).abs().max();
            assert!(f64::try_from(off).unwrap() < 1e-5);
        }
    }
}
