//! One picture file -> one canvas, as CLIP's evaluation prepares pictures: the short side resized to S with an antialiased
//! bicubic filter, then the centre cropped (torchvision's `Resize` and `CenterCrop` on a PIL image).
//!
//! Choices where pictures leave room: what is transparent becomes white (clip art is drawn for white paper; PIL's
//! `convert("RGB")` shows whatever colour lies below); 16 bits become 8 by scaling; EXIF orientation is not applied,
//! because open_clip and torchvision do not apply it.

use super::intake::MAX_BYTES;
use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ImageView, ResizeAlg, ResizeOptions, Resizer};
use image::{DynamicImage, ImageFormat, ImageReader, Limits, Rgb, RgbImage};
use std::io::Cursor;

/// Sides above this are refused.
const MAX_SIDE: u32 = 20_000;

/// Decodes a picture file (JPEG, PNG, GIF, ..) and gives its canvas: planar RGB, `3 * size * size` bytes. The error says what is wrong.
pub fn picture(bytes: &[u8], size: u32) -> Result<Vec<u8>, String> {
    canvas_of(&on_white(decode(bytes)?), size)
}

/// The canvas of a picture that has been decoded: planar RGB, `3 * size * size` bytes.
pub fn canvas_of(picture: &RgbImage, size: u32) -> Result<Vec<u8>, String> {
    let (width, height) = picture.dimensions();
    let short = width.min(height);
    let (left, visible_width) = visible(width, short, size);
    let (top, visible_height) = visible(height, short, size);
    let picture = TypedImageRef::from_buffer(width, height, picture.as_raw()).map_err(|error| error.to_string())?;
    // First across, then down, as PIL does: what overshoots is cut off between the two, so their order shows.
    let wide = resize(&picture, (left, 0.0, visible_width, height.into()), (size, height))?;
    let canvas = resize(&wide, (0.0, top, size.into(), visible_height), (size, size))?;
    Ok(planar(canvas.pixels().iter().map(|pixel| pixel.0)))
}

/// `[size, size, 3]` to `[3, size, size]`.
pub(super) fn planar(pixels: impl ExactSizeIterator<Item = [u8; 3]>) -> Vec<u8> {
    let mut planes = vec![0; 3 * pixels.len()];
    let (red, others) = planes.split_at_mut(pixels.len());
    let (green, blue) = others.split_at_mut(pixels.len());
    for (((pixel, red), green), blue) in pixels.zip(red).zip(green).zip(blue) {
        [*red, *green, *blue] = pixel;
    }
    planes
}

/// Resizes the box (left, top, width, height) of a picture to (width, height). The type of the pixels is fixed: otherwise the
/// compiler makes, for minutes, the code for every type there is.
fn resize(
    from: &impl ImageView<Pixel = U8x3>,
    (left, top, width, height): (f64, f64, f64, f64),
    (to_width, to_height): (u32, u32),
) -> Result<TypedImage<'static, U8x3>, String> {
    let mut to = TypedImage::new(to_width, to_height);
    // Catmull-Rom is the bicubic filter with a = -0.5: PIL's.
    let options =
        ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::CatmullRom)).crop(left, top, width, height);
    Resizer::new().resize_typed(from, &mut to, &options).map_err(|error| error.to_string())?;
    Ok(to)
}

/// The stretch (start, length) of one side that the centre crop leaves, in pixels of the original.
///
/// Resizing only what will be seen gives what resizing everything and then cropping gives, because the filter still reads
/// beyond the stretch; but a picture of 1 x 20,000 pixels never becomes one of S x 20,000 S.
fn visible(side: u32, short: u32, size: u32) -> (f64, f64) {
    let resized = u64::from(size) * u64::from(side) / u64::from(short); // torchvision cuts the fraction off ..
    let scale = f64::from(side) / resized as f64;
    let margin = ((resized - u64::from(size)) as f64 / 2.0).round_ties_even(); // .. and rounds the margin as Python does
    let start = margin * scale;
    (start, (f64::from(size) * scale).min(f64::from(side) - start))
}

fn decode(bytes: &[u8]) -> Result<DynamicImage, String> {
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|error| error.to_string())?;
    // Both are checked against the header, before anything of that size is allocated.
    let mut limits = Limits::no_limits();
    (limits.max_image_width, limits.max_image_height) = (Some(MAX_SIDE), Some(MAX_SIDE));
    limits.max_alloc = Some(MAX_BYTES);
    reader.limits(limits);
    if reader.format() == Some(ImageFormat::Jpeg) && is_cut(bytes) {
        return Err("the JPEG is cut short: it has no end marker".into());
    }
    reader.decode().map_err(|error| error.to_string())
}

/// Whether a JPEG ends inside its last scan. The decoder would fill what is missing with grey; PIL refuses such a file.
/// Inside a scan 0xFF is always followed by 0x00 or a restart marker, so neither marker can be mistaken there.
fn is_cut(bytes: &[u8]) -> bool {
    let is = |marker: u8| move |pair: &[u8]| pair == [0xFF, marker];
    let (start_of_scan, end_of_image) = (is(0xDA), is(0xD9));
    // The end marker is looked for from behind, where it usually is: nothing else is searched then.
    let end = bytes.windows(2).rposition(end_of_image).unwrap_or(0);
    bytes[end..].windows(2).any(start_of_scan)
}

fn on_white(picture: DynamicImage) -> RgbImage {
    if !picture.color().has_alpha() {
        return picture.into_rgb8();
    }
    let picture = picture.into_rgba8();
    RgbImage::from_fn(picture.width(), picture.height(), |x, y| {
        let [red, green, blue, alpha] = picture.get_pixel(x, y).0.map(u32::from);
        Rgb([red, green, blue].map(|colour| ((colour * alpha + 255 * (255 - alpha) + 127) / 255) as u8))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use image::{ImageBuffer, Luma, Rgba};

    fn encode(picture: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        picture.into().write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn pattern(width: u32, height: u32) -> RgbImage {
        let value = |x: u32, y: u32, c: u32| ((x * x * 7 + y * 13 * (c + 1) + x * y * 3) % 256) as u8;
        RgbImage::from_fn(width, height, |x, y| Rgb([value(x, y, 0), value(x, y, 1), value(x, y, 2)]))
    }

    #[test]
    fn the_canvas_is_that_of_torchvision_and_pil() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/canvas/golden.u8");
        let golden = std::fs::read(path).unwrap();
        for ((width, height), golden) in [(37, 53), (100, 31), (9, 5), (16, 17)].into_iter().zip(golden.chunks(768)) {
            let ours = picture(&encode(pattern(width, height), ImageFormat::Png), 16).unwrap();
            let worst = ours.iter().zip(golden).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
            assert!(worst <= 1, "{width} x {height}: {worst}");
        }
    }

    #[test]
    fn transparent_is_white_and_gray_of_16_bits_is_gray() {
        let mut clear = ImageBuffer::from_pixel(8, 8, Rgba([0u8, 0, 0, 0]));
        clear.rows_mut().take(4).flatten().for_each(|pixel| *pixel = Rgba([200, 100, 0, 255]));
        let canvas = picture(&encode(clear, ImageFormat::Png), 8).unwrap();
        assert_eq!([canvas[0], canvas[64], canvas[128], canvas[63], canvas[191]], [200, 100, 0, 255, 255]);
        let gray = ImageBuffer::from_pixel(8, 8, Luma([0x8080u16]));
        assert_eq!(picture(&encode(gray, ImageFormat::Png), 4).unwrap(), [128; 48]);
    }

    #[test]
    fn a_line_of_pixels_becomes_a_canvas_without_a_giant_between() {
        for (width, height) in [(1, 20_000), (20_000, 1), (1, 1)] {
            let line = RgbImage::from_pixel(width, height, Rgb([9, 9, 9]));
            assert_eq!(picture(&encode(line, ImageFormat::Png), 224).unwrap(), vec![9; 3 * 224 * 224]);
        }
    }

    #[test]
    fn corrupt_and_truncated_pictures_are_refused() {
        let jpeg = encode(pattern(64, 48), ImageFormat::Jpeg);
        assert!(picture(&jpeg, 16).is_ok());
        for length in [0, 1, 20, jpeg.len() / 2, jpeg.len() - 2] {
            assert!(picture(&jpeg[..length], 16).is_err(), "{length} bytes of {}", jpeg.len());
        }
        let mut corrupt = jpeg.clone();
        corrupt[2..300].fill(7);
        assert!(picture(&corrupt, 16).is_err());
        let png = encode(pattern(64, 48), ImageFormat::Png);
        assert!(picture(&png[..png.len() / 2], 16).is_err());
        assert!(picture(b"GIF89a..", 16).is_err());
    }

    #[test]
    fn a_decompression_bomb_is_refused_by_its_header() {
        for side in [100_000u32, 19_999] {
            let mut png = encode(pattern(4, 4), ImageFormat::Png);
            png[16..20].copy_from_slice(&side.to_be_bytes());
            png[20..24].copy_from_slice(&side.to_be_bytes());
            let checksum = crc32(&png[12..29]);
            png[29..33].copy_from_slice(&checksum.to_be_bytes());
            let why = picture(&png, 16).unwrap_err();
            assert!(why.contains("imit") || why.contains("exceed"), "{why}");
        }
    }

    /// PNG's checksum, so that the patched header is not refused for another reason.
    fn crc32(bytes: &[u8]) -> u32 {
        let step = |crc: u32, _| if crc & 1 == 1 { 0xEDB8_8320 ^ (crc >> 1) } else { crc >> 1 };
        !bytes.iter().fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), step))
    }
}
