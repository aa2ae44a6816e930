//! Decodes one image file into one canvas with the preprocessing of CLIP's evaluation: the short
//! side is resized to S with an antialiased bicubic filter, then the centre is cropped
//! (torchvision's `Resize` and `CenterCrop` on a PIL image).
//!
//! Three choices: transparent pixels become white (clip art is drawn for white paper; PIL's
//! `convert("RGB")` shows whatever colour is below); 16 bits become 8 by scaling; EXIF orientation
//! is not applied, because open_clip and torchvision do not apply it.

pub mod png;
mod unread;

use crate::intake::MAX_BYTES;
use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ImageView, ResizeAlg, ResizeOptions, Resizer};
use image::{DynamicImage, ImageFormat, ImageReader, Limits, Rgb, RgbImage};
use std::borrow::Cow;
use std::io::Cursor;
use unread::what_it_is;

/// Images with a longer side are refused.
const MAX_SIDE: u32 = 20_000;

/// Decodes an image file (JPEG, PNG, GIF, ..) into its canvas: planar RGB, `3 * size * size` bytes.
/// The error says what is wrong.
pub fn image(bytes: &[u8], size: u32) -> Result<Vec<u8>, String> {
    canvas_of(&on_white(decode(bytes)?), size)
}

/// The canvas of a decoded image: planar RGB, `3 * size * size` bytes.
pub fn canvas_of(image: &RgbImage, size: u32) -> Result<Vec<u8>, String> {
    let (width, height) = image.dimensions();
    let short = width.min(height);
    let (left, visible_width) = visible(width, short, size);
    let (top, visible_height) = visible(height, short, size);
    let image = TypedImageRef::from_buffer(width, height, image.as_raw()).map_err(|error| error.to_string())?;
    // Across first, then down, as PIL does: overshoot is clipped between the two, so their order
    // matters.
    let wide = resize(&image, (left, 0.0, visible_width, height.into()), (size, height))?;
    let canvas = resize(&wide, (0.0, top, size.into(), visible_height), (size, size))?;
    Ok(planar(canvas.pixels().iter().map(|pixel| pixel.0)))
}

/// `[size, size, 3]` to `[3, size, size]`.
fn planar(pixels: impl ExactSizeIterator<Item = [u8; 3]>) -> Vec<u8> {
    let mut planes = vec![0; 3 * pixels.len()];
    let (red, others) = planes.split_at_mut(pixels.len());
    let (green, blue) = others.split_at_mut(pixels.len());
    for (((pixel, red), green), blue) in pixels.zip(red).zip(green).zip(blue) {
        [*red, *green, *blue] = pixel;
    }
    planes
}

/// Resizes the box (left, top, width, height) of an image to (width, height). The pixel type is
/// fixed: otherwise the compiler generates code for every pixel type, which takes minutes.
fn resize(
    from: &impl ImageView<Pixel = U8x3>,
    (left, top, width, height): (f64, f64, f64, f64),
    (to_width, to_height): (u32, u32),
) -> Result<TypedImage<'static, U8x3>, String> {
    let mut to = TypedImage::new(to_width, to_height);
    // Catmull-Rom is the bicubic filter with a = -0.5, as in PIL.
    let options =
        ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::CatmullRom)).crop(left, top, width, height);
    Resizer::new().resize_typed(from, &mut to, &options).map_err(|error| error.to_string())?;
    Ok(to)
}

/// The range (start, length) of one side that the centre crop keeps, in pixels of the original.
///
/// Resizing only this range equals resizing everything and then cropping, because the filter still
/// reads beyond the range. An image of 1 x 20,000 pixels therefore never becomes one of S x 20,000
/// S.
fn visible(side: u32, short: u32, size: u32) -> (f64, f64) {
    let resized = u64::from(size) * u64::from(side) / u64::from(short); // torchvision truncates ..
    let scale = f64::from(side) / resized as f64;
    let margin = ((resized - u64::from(size)) as f64 / 2.0).round_ties_even(); // .. and rounds the margin half to even, as Python
    let start = margin * scale;
    (start, (f64::from(size) * scale).min(f64::from(side) - start))
}

fn decode(bytes: &[u8]) -> Result<DynamicImage, String> {
    let whole = with_end(bytes);
    let mut reader = ImageReader::new(Cursor::new(&whole)).with_guessed_format().map_err(|error| error.to_string())?;
    // Both are checked against the header, before anything of that size is allocated.
    let mut limits = Limits::no_limits();
    (limits.max_image_width, limits.max_image_height) = (Some(MAX_SIDE), Some(MAX_SIDE));
    limits.max_alloc = Some(MAX_BYTES);
    reader.limits(limits);
    match reader.format() {
        Some(ImageFormat::Jpeg) if is_cut(bytes) => return Err("the JPEG is cut short: it has no end marker".into()),
        Some(format) if format.reading_enabled() => {}
        guess => return Err(what_it_is(bytes, guess)),
    }
    reader.decode().map_err(|error| error.to_string())
}

/// Adds the end mark to a PNG that lacks no more than that, because PIL reads such a file. The
/// decoder checks that all pixels are there.
fn with_end(bytes: &[u8]) -> Cow<'_, [u8]> {
    const END: &[u8] = b"\0\0\0\0IEND\xAE\x42\x60\x82";
    let mut at = if bytes.starts_with(b"\x89PNG\r\n\x1a\n") { 8 } else { return bytes.into() };
    while let Some(rest) = bytes.get(at..) {
        if rest.starts_with(END) {
            break;
        }
        if END.starts_with(rest) {
            return [&bytes[..at], END].concat().into();
        }
        let Some(length) = rest.first_chunk() else { break };
        at += u32::from_be_bytes(*length) as usize + 12; // length, kind and checksum
    }
    bytes.into()
}

/// Whether a JPEG ends before its end marker. The decoder would fill the missing part with grey;
/// PIL refuses such a file.
///
/// The markers are followed from the first, as a decoder does, over segments by their lengths.
/// Markers inside a thumbnail do not count, nor do those of data that phones and cameras append
/// after the end (a video, a second image). Between segments and within a scan, 0xFF is followed by
/// a marker, by 0x00 if it is data, or by 0xFF if it is padding.
fn is_cut(bytes: &[u8]) -> bool {
    let (mut at, mut scanned) = (2, false);
    while let Some(next) = bytes.get(at..).and_then(|rest| rest.windows(2).position(is_marker)) {
        let marker = bytes[at + next + 1];
        at += next + 2;
        match marker {
            0xD9 => return false,
            // The start of another image within this one.
            0xD8 if scanned => return true,
            // Markers without a segment: restarts and the like.
            0x01 | 0xD0..=0xD8 => {}
            _ => {
                scanned |= marker == 0xDA;
                at += bytes.get(at..at + 2).map_or(2, |length| u16::from_be_bytes([length[0], length[1]]).into());
            }
        }
    }
    true
}

fn is_marker(pair: &[u8]) -> bool {
    pair[0] == 0xFF && !matches!(pair[1], 0x00 | 0xFF)
}

fn on_white(image: DynamicImage) -> RgbImage {
    if !image.color().has_alpha() {
        return image.into_rgb8();
    }
    let image = image.into_rgba8();
    RgbImage::from_fn(image.width(), image.height(), |x, y| {
        let [red, green, blue, alpha] = image.get_pixel(x, y).0.map(u32::from);
        Rgb([red, green, blue].map(|colour| ((colour * alpha + 255 * (255 - alpha) + 127) / 255) as u8))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use image::{ImageBuffer, Luma, Rgba};

    fn encode(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.into().write_to(&mut bytes, format).unwrap();
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
            let ours = image(&encode(pattern(width, height), ImageFormat::Png), 16).unwrap();
            let worst = ours.iter().zip(golden).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
            assert!(worst <= 1, "{width} x {height}: {worst}");
        }
    }

    #[test]
    fn transparent_is_white_and_gray_of_16_bits_is_gray() {
        let mut clear = ImageBuffer::from_pixel(8, 8, Rgba([0u8, 0, 0, 0]));
        clear.rows_mut().take(4).flatten().for_each(|pixel| *pixel = Rgba([200, 100, 0, 255]));
        let canvas = image(&encode(clear, ImageFormat::Png), 8).unwrap();
        assert_eq!([canvas[0], canvas[64], canvas[128], canvas[63], canvas[191]], [200, 100, 0, 255, 255]);
        let gray = ImageBuffer::from_pixel(8, 8, Luma([0x8080u16]));
        assert_eq!(image(&encode(gray, ImageFormat::Png), 4).unwrap(), [128; 48]);
    }

    #[test]
    fn a_line_of_pixels_becomes_a_canvas_without_a_giant_between() {
        for (width, height) in [(1, 20_000), (20_000, 1), (1, 1)] {
            let line = RgbImage::from_pixel(width, height, Rgb([9, 9, 9]));
            assert_eq!(image(&encode(line, ImageFormat::Png), 224).unwrap(), vec![9; 3 * 224 * 224]);
        }
    }

    #[test]
    fn corrupt_and_truncated_images_are_refused() {
        let jpeg = encode(pattern(64, 48), ImageFormat::Jpeg);
        assert!(image(&jpeg, 16).is_ok());
        for length in [0, 1, 20, jpeg.len() / 2, jpeg.len() - 2] {
            assert!(image(&jpeg[..length], 16).is_err(), "{length} bytes of {}", jpeg.len());
        }
        let mut corrupt = jpeg.clone();
        corrupt[2..300].fill(7);
        assert!(image(&corrupt, 16).is_err());
        let png = encode(pattern(64, 48), ImageFormat::Png);
        assert!(image(&png[..png.len() / 2], 16).is_err());
        assert!(image(b"GIF89a..", 16).is_err());
    }

    /// An image of `tests/fixtures/images`, made by `make.py` there.
    fn fixture(name: &str) -> Vec<u8> {
        std::fs::read(format!("{}/../tests/fixtures/images/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
    }

    #[test]
    fn images_as_people_have_them_are_read_as_pillow_reads_them() {
        let names = ["progressive.jpg", "restarts.jpg", "thumbnail.jpg", "cmyk.jpg", "two.mpo"];
        let frames = ["frames.gif", "frames.webp", "frames.png"];
        let golden = fixture("golden.u8");
        for (name, golden) in names.into_iter().chain(frames).zip(golden.chunks(768)) {
            let ours = image(&fixture(name), 16).unwrap();
            let worst = ours.iter().zip(golden).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
            assert!(worst <= if name.ends_with(".jpg") || name.ends_with(".mpo") { 6 } else { 0 }, "{name}: {worst}");
        }
    }

    /// Data that real files have after the end of an image: nothing, zeros, text, a video with
    /// markers in it, another image, half of one.
    fn tails(jpeg: &[u8]) -> [Vec<u8>; 7] {
        let film = [b"\0\0\0\x18ftypmp42\0\0\0\0isom", &[0xFF, 0xDA][..], &[0; 20]].concat();
        let start_of_image = vec![0xFF, 0xD8, 0xFF, 0xE0, 0, 16];
        [vec![], vec![0; 100], b"\r\n".to_vec(), film, jpeg.to_vec(), jpeg[..jpeg.len() / 2].to_vec(), start_of_image]
    }

    #[test]
    fn a_jpeg_ends_at_its_own_end_marker_whatever_follows() {
        for name in ["progressive.jpg", "restarts.jpg", "thumbnail.jpg", "cmyk.jpg", "two.mpo"] {
            let jpeg = fixture(name);
            let pixels = image(&jpeg, 16).unwrap();
            for tail in tails(&fixture("progressive.jpg")) {
                assert!(image(&[&jpeg[..], &tail].concat(), 16).as_ref() == Ok(&pixels), "{name}, then {tail:02x?}");
            }
        }
    }

    #[test]
    fn a_jpeg_that_is_cut_anywhere_is_refused() {
        for name in ["progressive.jpg", "restarts.jpg", "thumbnail.jpg", "cmyk.jpg"] {
            let jpeg = fixture(name);
            for length in 0..jpeg.len() {
                assert!(image(&jpeg[..length], 16).is_err(), "{length} bytes of {}, {name}", jpeg.len());
            }
            // Cut within its last scan, with another image behind it.
            assert!(image(&[&jpeg[..jpeg.len() - 3], &jpeg].concat(), 16).is_err(), "{name}");
        }
    }

    #[test]
    fn a_png_needs_all_its_pixels_and_not_its_end_mark() {
        let png = encode(pattern(64, 48), ImageFormat::Png);
        let pixels = image(&png, 16).unwrap();
        let data_end = png.windows(4).rposition(|kind| kind == b"IEND").unwrap() - 4;
        for length in data_end..png.len() {
            assert!(image(&png[..length], 16).as_ref() == Ok(&pixels), "{length} bytes of {}", png.len());
        }
        for length in (0..data_end - 12).step_by(97).chain([data_end - 40, data_end - 1]) {
            assert!(image(&png[..length], 16).is_err(), "{length} bytes of {}", png.len());
        }
        // Cut between two chunks of data: half of its only one, as a whole chunk.
        let start = png.windows(4).position(|kind| kind == b"IDAT").unwrap() - 4;
        let mut half = png[..start + 8 + (data_end - start) / 2].to_vec();
        let length = (half.len() - start - 8) as u32;
        half[start..start + 4].copy_from_slice(&length.to_be_bytes());
        half.extend(crc32(&half[start + 4..]).to_be_bytes());
        assert!(image(&half, 16).is_err());
    }

    #[test]
    fn a_decompression_bomb_is_refused_by_its_header() {
        for side in [100_000u32, 19_999] {
            let mut png = encode(pattern(4, 4), ImageFormat::Png);
            png[16..20].copy_from_slice(&side.to_be_bytes());
            png[20..24].copy_from_slice(&side.to_be_bytes());
            let checksum = crc32(&png[12..29]);
            png[29..33].copy_from_slice(&checksum.to_be_bytes());
            let why = image(&png, 16).unwrap_err();
            assert!(why.contains("imit") || why.contains("exceed"), "{why}");
        }
    }

    /// PNG's checksum, so that the patched header is not refused for another reason.
    fn crc32(bytes: &[u8]) -> u32 {
        let step = |crc: u32, _| if crc & 1 == 1 { 0xEDB8_8320 ^ (crc >> 1) } else { crc >> 1 };
        !bytes.iter().fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), step))
    }
}
