//! A contact sheet: pictures of a set in rows, each as an encoder sees it, with label and class below.

use font8x8::{BASIC_FONTS, LATIN_FONTS, UnicodeFonts};
use gauntlet::downstream::{Items, Set};
use gauntlet::{Error, Result};
use image::{Rgb, RgbImage};
use std::path::Path;

/// Side of a picture, in pixels.
const SIDE: u32 = 112;
/// Letters that fit below it, and their side.
const LETTERS: usize = 14;
const LETTER: u32 = 8;
/// Lines of text: label and class, then the file.
const LINES: u32 = 4;
const GAP: u32 = 8;
const TILE: [u32; 2] = [SIDE + GAP, SIDE + LINES * (LETTER + 2) + GAP];
/// Pictures in a row.
const COLUMNS: u32 = 10;
/// More than this makes a sheet that few programs open.
const MOST: usize = 1000;

/// Draws `count` pictures, taken evenly from all of them, and says how many there are. One that cannot be decoded is a red square.
pub fn draw(set: &Set, items: &Items, count: usize, out: &Path) -> Result<usize> {
    let count = count.min(items.len()).min(MOST);
    if count == 0 {
        return Err(Error::invalid(set.name, "there is no picture to show in this part"));
    }
    let rows = (count as u32).div_ceil(COLUMNS);
    let columns = COLUMNS.min(count as u32);
    let mut sheet = RgbImage::from_pixel(columns * TILE[0] + GAP, rows * TILE[1] + GAP, Rgb([255; 3]));
    for place in 0..count {
        let item = place * items.len() / count;
        let [left, top] = [place as u32 % COLUMNS * TILE[0] + GAP, place as u32 / COLUMNS * TILE[1] + GAP];
        let area = (SIDE * SIDE) as usize;
        // What is wrong with a picture is for `verify` to say.
        let canvas = items.canvas(item, SIDE).unwrap_or_else(|_| [vec![220; area], vec![0; 2 * area]].concat());
        for (pixel, (x, y)) in (0..area).zip((0..SIDE).flat_map(|y| (0..SIDE).map(move |x| (x, y)))) {
            sheet.put_pixel(left + x, top + y, Rgb([0, 1, 2].map(|channel| canvas[channel * area + pixel])));
        }
        let class = items.label(item);
        let text = format!("{class} {}", set.classes[class as usize]);
        let name = items.name(item);
        let mut lines: Vec<String> = wrap(&text).into_iter().take(LINES as usize - 1).collect();
        lines.push(name.rsplit('/').next().unwrap_or(&name).chars().take(LETTERS).collect());
        for (line, number) in lines.iter().zip(0..) {
            write(&mut sheet, line, left, top + SIDE + 2 + number * (LETTER + 2));
        }
    }
    sheet
        .save_with_format(out, image::ImageFormat::Png)
        .map_err(|error| Error::invalid(out.display().to_string(), error.to_string()))?;
    Ok(count)
}

/// Breaks a text into lines, between letters.
fn wrap(text: &str) -> Vec<String> {
    let letters: Vec<char> = text.chars().collect();
    letters.chunks(LETTERS).map(|line| line.iter().collect()).collect()
}

fn write(sheet: &mut RgbImage, line: &str, left: u32, top: u32) {
    for (letter, column) in line.chars().zip(0..) {
        let glyph = BASIC_FONTS
            .get(letter)
            .or_else(|| LATIN_FONTS.get(letter))
            .or_else(|| BASIC_FONTS.get('?'))
            .unwrap_or_default();
        for (bits, y) in glyph.iter().zip(0..) {
            for x in (0..LETTER).filter(|x| bits >> x & 1 == 1) {
                sheet.put_pixel(left + column * LETTER + x, top + y, Rgb([0; 3]));
            }
        }
    }
}
