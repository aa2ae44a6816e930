//! Canvases as PNG files: lossless, so that decoding returns the encoded pixels bit for bit.

use super::planar;
use crate::intake::MAX_BYTES;
use image::codecs::png::PngEncoder;
use image::{ColorType, ExtendedColorType, ImageDecoder, ImageEncoder, codecs::png::PngDecoder};
use std::io::Cursor;

/// A canvas, planar RGB `3 * size * size` bytes, as a PNG file.
pub fn encode(canvas: &[u8], size: u32) -> Vec<u8> {
    let plane = (size * size) as usize;
    let pixels: Vec<u8> =
        (0..plane).flat_map(|pixel| [canvas[pixel], canvas[plane + pixel], canvas[2 * plane + pixel]]).collect();
    let mut file = Vec::new();
    let written = PngEncoder::new(&mut file).write_image(&pixels, size, size, ExtendedColorType::Rgb8);
    written.expect("a canvas is as large as it says, and memory takes what is written");
    file
}

/// The canvas of a PNG file that [`encode`] made. The error describes the file.
pub fn decode(file: &[u8], size: u32) -> Result<Vec<u8>, String> {
    let mut limits = image::Limits::no_limits();
    limits.max_alloc = Some(MAX_BYTES);
    let decoder = PngDecoder::with_limits(Cursor::new(file), limits).map_err(|error| error.to_string())?;
    let (found, kind) = (decoder.dimensions(), decoder.color_type());
    if (found, kind) != ((size, size), ColorType::Rgb8) {
        return Err(format!("it is {kind:?} of {} x {}, not Rgb8 of {size} x {size}", found.0, found.1));
    }
    let mut pixels = vec![0; 3 * (size * size) as usize];
    decoder.read_image(&mut pixels).map_err(|error| error.to_string())?;
    Ok(planar(pixels.chunks_exact(3).map(|pixel| [pixel[0], pixel[1], pixel[2]])))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_canvas_comes_back_bit_for_bit_also_as_the_images_of_a_data_set_are_read() {
        for size in [1u32, 7, 32, 224] {
            let canvas: Vec<u8> = (0..3 * size * size).map(|place| (place * place * 31 % 251) as u8).collect();
            let file = encode(&canvas, size);
            assert!(decode(&file, size).unwrap() == canvas, "{size}");
            assert!(super::super::image(&file, size).unwrap() == canvas, "{size}: resizing to its own size");
            assert!(decode(&file, size + 1).unwrap_err().contains("Rgb8"));
            assert!(decode(&file[..file.len() / 2], size).is_err());
        }
    }
}
