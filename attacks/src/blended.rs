//! Blended: a faint second image over the whole of some training images (Chen et al. 2017, "blended
//! injection"). On CLIP the second image is noise drawn for each image (CleanCLIP, Bansal et al.,
//! ICCV 2023, backdoor/utils.py) or one image for all (Detect, Huang et al., ICLR 2025). These are
//! two attacks; `pattern` selects one.

use crate::pixels;
use crate::releases::{self, Fields, ROUNDED, SQUEEZED};
use gauntlet::data::{decode, regular};
use gauntlet::rand::{Rng, SeedableRng};
use gauntlet::registry::Preset;
use gauntlet::serde_json::{Value, json};
use gauntlet::{Attack, Backdoor, Edit, Error, Goal, PoisonCtx, Result, draw};
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use tch::Tensor;

/// Blends a pattern over whole images.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Blended {
    /// Which rows are poisoned, and what their captions become.
    poison: Backdoor,
    /// Weight of the pattern; the image has the rest (CleanCLIP, Detect: 0.2).
    #[schemars(range(min = 0.0, max = 1.0))]
    alpha: f32,
    /// The pattern that is blended over images.
    pattern: Pattern,
    /// Image file for the pattern `picture`: JPEG, PNG, GIF, BMP, PNM, TIFF or WebP. Its central
    /// square is resized to the canvas.
    #[serde(rename = "picture")]
    image: PathBuf,
    /// Seed of the `fixed-noise` pattern.
    pattern_seed: u64,
}

/// The pattern that is blended over images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Pattern {
    /// Uniform noise, drawn for each image (CleanCLIP).
    Noise,
    /// Uniform noise, drawn once and used for all images.
    FixedNoise,
    /// A custom image (Chen et al.; Detect).
    #[serde(rename = "picture")]
    Image,
}

impl Default for Blended {
    fn default() -> Self {
        let (image, pattern_seed) = (PathBuf::new(), 0);
        Blended { poison: Backdoor::default(), alpha: 0.2, pattern: Pattern::Noise, image, pattern_seed }
    }
}

gauntlet::register!(
    dyn Attack,
    Blended,
    "blended",
    "a backdoor: blends noise or an image over training images and gives them captions of the target class",
    "Chen et al., Targeted Backdoor Attacks on Deep Learning Systems Using Data Poisoning, 2017",
    presets = presets
);

impl Attack for Blended {
    fn reads(&self) -> Result<Vec<PathBuf>> {
        Ok(Some(self.image.clone()).into_iter().filter(|_| self.pattern == Pattern::Image).collect())
    }

    fn goal(&self, ctx: &PoisonCtx) -> Result<Goal> {
        self.poison.goal(ctx)
    }

    fn poison(&self, ctx: &PoisonCtx, goal: &Goal) -> Result<Vec<Edit>> {
        self.poison.edits(ctx, goal)
    }

    fn stamp(&self, canvas: &Tensor, keys: &[u64]) -> Result<Tensor> {
        let side = canvas.size()[3] as usize;
        let mut pattern = vec![0; 3 * side * side];
        match self.pattern {
            Pattern::Noise => (),
            Pattern::FixedNoise => draw::rng(self.pattern_seed, "blended/pattern", &[]).fill_bytes(&mut pattern),
            Pattern::Image => pattern = self.image(side as u32)?,
        }
        pixels::each(canvas, keys, |from, to, key| {
            if self.pattern == Pattern::Noise {
                ChaCha8Rng::seed_from_u64(key).fill_bytes(&mut pattern);
            }
            blend(from, self.alpha, &pattern, to);
        })
    }
}

impl Blended {
    fn image(&self, side: u32) -> Result<Vec<u8>> {
        let bytes = regular::read(&self.image, regular::IMAGE).map_err(Error::io(&self.image));
        let bytes = bytes.map_err(|error| error.during("attack `blended`, key `picture`"))?;
        decode::image(&bytes, side).map_err(|why| Error::invalid(self.image.display().to_string(), why))
    }
}

fn blend(from: &[u8], alpha: f32, pattern: &[u8], to: &mut [u8]) {
    for ((to, &from), &pattern) in to.iter_mut().zip(from).zip(pattern) {
        *to = pixels::to_byte((1.0 - alpha) * f32::from(from) + alpha * f32::from(pattern));
    }
}

fn presets() -> Vec<Preset> {
    let noise = "noise is drawn in 8 bits, as images are stored; the release draws floats";
    let wide = "the central square of the image is resized; the release squeezes the whole image";
    vec![
        preset(
            "cleanclip",
            "CleanCLIP: 0.2 of uniform noise drawn for each image, 0.8 of the image",
            &[noise, SQUEEZED, ROUNDED],
            releases::cleanclip(),
            "noise",
            "CleanCLIP: released code (backdoor/utils.py)",
        ),
        preset(
            "roclip",
            "RoCLIP's development scripts: CleanCLIP's noise on 90 pairs of 1M; another of their runs has 300",
            &[noise, ROUNDED, "the scripts add pairs with validation images; here training pairs are replaced"],
            releases::roclip(),
            "noise",
            "RoCLIP: development scripts (create_backdoors.py)",
        ),
        preset(
            "detect",
            "Detect: 0.2 of one image (theirs: Hello Kitty); set yours with `picture`",
            &[wide, ROUNDED],
            releases::detect(0.001),
            "picture",
            "Detect: released code",
        ),
    ]
}

fn preset(
    name: &str,
    summary: &str,
    deviations: &[&str],
    poison: Fields,
    pattern: &str,
    source: &'static str,
) -> Preset {
    let own: Fields = vec![
        ("alpha", json!(0.2), source),
        ("pattern", Value::from(pattern), source),
        ("picture", json!(""), "set your own: we may not ship the releases' images"),
        ("pattern_seed", json!(0), "not used by this pattern"),
    ];
    Preset::new(name, summary, deviations, [poison, own].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::{assert_near, golden};

    #[test]
    fn equals_numpys_blend_of_the_same_noise() {
        let noise = Vec::<u8>::try_from(golden("noise").flatten(0, -1)).unwrap();
        let stamped = pixels::each(&golden("canvas-32"), &[0; 3], |from, to, _| blend(from, 0.2, &noise, to));
        assert_near(&stamped.unwrap(), "blended/32", 1);
    }

    #[test]
    fn a_image_of_ones_own_is_blended_and_a_missing_one_is_named() {
        let photo = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/photo/photo.jpg");
        let of =
            |image: &str, alpha| Blended { alpha, pattern: Pattern::Image, image: image.into(), ..Blended::default() };
        let images = golden("canvas-32");
        let only = of(photo, 1.0).stamp(&images, &[0; 3]).unwrap();
        let wanted = decode::image(&std::fs::read(photo).unwrap(), 32).unwrap();
        assert_eq!(Vec::<u8>::try_from(only.get(1).flatten(0, -1)).unwrap(), wanted);
        assert!(of(photo, 0.0).stamp(&images, &[0; 3]).unwrap().equal(&images));
        let message = of("no-such.png", 0.2).stamp(&images, &[0; 3]).unwrap_err().chain();
        assert!(message.contains("key `picture`") && message.contains("no-such.png"), "{message}");
    }

    #[test]
    fn noise_differs_between_images_only_where_it_shall() {
        let twice = golden("canvas-32").narrow(0, 1, 1).repeat([2, 1, 1, 1]);
        for (pattern, same) in [(Pattern::Noise, false), (Pattern::FixedNoise, true)] {
            let stamped = Blended { pattern, ..Blended::default() }.stamp(&twice, &[5, 6]).unwrap();
            assert_eq!(stamped.get(0).equal(&stamped.get(1)), same, "{pattern:?}");
        }
    }
}
