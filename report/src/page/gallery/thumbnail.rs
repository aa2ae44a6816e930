//! Canvases as PNG files within the page.

use base64::{Engine, engine::general_purpose::STANDARD};
use gauntlet::{Error, Result};
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::imageops;
use image::{ExtendedColorType, ImageEncoder, Rgb, RgbImage};
use maud::{Markup, html};

/// Larger canvases are reduced, to keep the page small.
const SIDE: u32 = 112;

/// A canvas, planar RGB `3 * size * size` bytes, with its label.
pub fn shown(what: &str, canvas: &[u8], size: u32) -> Result<Markup> {
    let uri = uri(canvas, size)?;
    Ok(html! { figure.image { img src=(uri) alt=(what); figcaption { (what) } } })
}

fn uri(canvas: &[u8], size: u32) -> Result<String> {
    let area = (size * size) as usize;
    let pixel = |x: u32, y: u32| Rgb([0, 1, 2].map(|channel| canvas[channel * area + (y * size + x) as usize]));
    let mut image = RgbImage::from_fn(size, size, pixel);
    if size > SIDE {
        image = imageops::resize(&image, SIDE, SIDE, imageops::FilterType::Triangle);
    }
    let mut png = Vec::new();
    let encoder = PngEncoder::new_with_quality(&mut png, CompressionType::Best, FilterType::Adaptive);
    let written = encoder.write_image(image.as_raw(), image.width(), image.height(), ExtendedColorType::Rgb8);
    written.map_err(|error| Error::invalid("an image of the gallery", error.to_string()))?;
    Ok(format!("data:image/png;base64,{}", STANDARD.encode(png)))
}

#[cfg(test)]
mod tests {
    use super::{STANDARD, uri};
    use base64::Engine;

    #[test]
    fn a_canvas_comes_back_from_its_png() {
        let canvas: Vec<u8> = (0..12).collect();
        let uri = uri(&canvas, 2).unwrap();
        let png = STANDARD.decode(uri.strip_prefix("data:image/png;base64,").unwrap()).unwrap();
        let image = image::load_from_memory(&png).unwrap().to_rgb8();
        assert_eq!(image.get_pixel(1, 0).0, [1, 5, 9]);
        assert!(super::uri(&[7; 3 * 300 * 300], 300).unwrap().len() < 1000, "large canvases are made smaller");
    }
}
