//! Contact sheets: images and letters on white paper, saved as a PNG file.

use font8x8::{BASIC_FONTS, LATIN_FONTS, UnicodeFonts};
use gauntlet::{Error, Result};
use image::{Rgb, RgbImage};
use std::path::Path;

/// Side of a letter in pixels, before enlargement.
pub const LETTER: u32 = 8;

/// Style of a text.
#[derive(Clone, Copy)]
pub struct Ink {
    /// Enlargement of a letter.
    pub scale: u32,
    /// Red, green, blue.
    pub colour: [u8; 3],
    /// Whether the text is struck out.
    pub struck: bool,
}

/// Small black letters.
pub const BLACK: Ink = Ink { scale: 1, colour: [0; 3], struck: false };

/// A sheet of white paper.
pub struct Sheet(RgbImage);

impl Sheet {
    /// A white sheet with this size in pixels.
    pub fn new(width: u32, height: u32) -> Self {
        Sheet(RgbImage::from_pixel(width, height, Rgb([255; 3])))
    }

    /// Draws a canvas, planar RGB `3 * side * side` bytes; each of its pixels becomes a square of
    /// `scale` pixels.
    pub fn image(&mut self, canvas: &[u8], side: u32, [left, top]: [u32; 2], scale: u32) {
        let area = (side * side) as usize;
        for (y, x) in (0..side * scale).flat_map(|y| (0..side * scale).map(move |x| (y, x))) {
            let pixel = (y / scale * side + x / scale) as usize;
            self.0.put_pixel(left + x, top + y, Rgb([0, 1, 2].map(|channel| canvas[channel * area + pixel])));
        }
    }

    /// Fills a rectangle.
    pub fn fill(&mut self, [left, top]: [u32; 2], [width, height]: [u32; 2], colour: [u8; 3]) {
        for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
            self.0.put_pixel(left + x, top + y, Rgb(colour));
        }
    }

    /// Writes one line; letters without a glyph become question marks.
    pub fn write(&mut self, line: &str, [left, top]: [u32; 2], ink: Ink) {
        let step = LETTER * ink.scale;
        for (letter, column) in line.chars().zip(0..) {
            let known = BASIC_FONTS.get(letter).or_else(|| LATIN_FONTS.get(letter)).or_else(|| BASIC_FONTS.get('?'));
            for (bits, y) in known.unwrap_or_default().iter().zip(0..) {
                for x in (0..LETTER).filter(|x| bits >> x & 1 == 1) {
                    let place = [left + column * step + x * ink.scale, top + y * ink.scale];
                    self.fill(place, [ink.scale; 2], ink.colour);
                }
            }
        }
        if ink.struck {
            let length = line.chars().count() as u32 * step;
            self.fill([left, top + step / 2 - ink.scale], [length, ink.scale.div_ceil(2)], ink.colour);
        }
    }

    /// Saves the sheet as a PNG file.
    pub fn save(&self, out: &Path) -> Result<()> {
        let saved = self.0.save_with_format(out, image::ImageFormat::Png);
        saved.map_err(|error| Error::invalid(out.display().to_string(), error.to_string()))
    }
}

/// Breaks a text into lines of at most so many letters: at blanks, or within a word that is longer
/// than a line.
pub fn wrap(text: &str, letters: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let word: Vec<char> = word.chars().collect();
        let room = lines.last().map_or(0, |line| letters.saturating_sub(line.chars().count() + 1));
        if word.len() <= room {
            let line = lines.last_mut().expect("only a line has room");
            line.push(' ');
            line.extend(&word);
        } else {
            lines.extend(word.chunks(letters).map(|part| part.iter().collect()));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::wrap;

    #[test]
    fn lines_break_at_blanks_and_within_words_that_are_too_long() {
        assert_eq!(wrap("a small ring  on water", 9), ["a small", "ring on", "water"]);
        assert_eq!(wrap("12 Pembrokeshire-corgi", 9), ["12", "Pembrokes", "hire-corg", "i"]);
        assert!(wrap("  ", 9).is_empty());
    }
}
