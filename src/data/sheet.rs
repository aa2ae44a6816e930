//! A contact sheet: images of a set in rows, as an encoder gets them, with label and class below.

use crate::sheet::{BLACK, LETTER, Sheet, wrap};
use gauntlet::downstream::{Items, Set};
use gauntlet::{Error, Result};
use std::path::Path;

/// Side of an image, in pixels.
const SIDE: u32 = 112;
/// Maximum number of letters below it.
const LETTERS: usize = 14;
/// Lines of text: label and class, then the file.
const LINES: u32 = 4;
const GAP: u32 = 8;
const TILE: [u32; 2] = [SIDE + GAP, SIDE + LINES * (LETTER + 2) + GAP];
/// Images per row.
const COLUMNS: u32 = 10;
/// Few programs open a larger sheet.
const MOST: usize = 1000;

/// Draws `count` images, taken evenly from all of them, and returns how many there are. An image
/// that cannot be decoded is a red square.
pub fn draw(set: &Set, items: &Items, count: usize, out: &Path) -> Result<usize> {
    let count = count.min(items.len()).min(MOST);
    if count == 0 {
        return Err(Error::invalid(set.name, "has no images in this split"));
    }
    let rows = (count as u32).div_ceil(COLUMNS);
    let columns = COLUMNS.min(count as u32);
    let mut sheet = Sheet::new(columns * TILE[0] + GAP, rows * TILE[1] + GAP);
    for place in 0..count {
        let item = place * items.len() / count;
        let [left, top] = [place as u32 % COLUMNS * TILE[0] + GAP, place as u32 / COLUMNS * TILE[1] + GAP];
        let area = (SIDE * SIDE) as usize;
        // `verify` reports what is wrong with an image.
        let canvas = items.canvas(item, SIDE).unwrap_or_else(|_| [vec![220; area], vec![0; 2 * area]].concat());
        sheet.image(&canvas, SIDE, [left, top], 1);
        let class = items.label(item);
        let text = format!("{class} {}", set.classes[class as usize]);
        let name = items.name(item);
        let mut lines: Vec<String> = wrap(&text, LETTERS).into_iter().take(LINES as usize - 1).collect();
        lines.push(name.rsplit('/').next().unwrap_or(&name).chars().take(LETTERS).collect());
        for (line, number) in lines.iter().zip(0..) {
            sheet.write(line, [left, top + SIDE + 2 + number * (LETTER + 2)], BLACK);
        }
    }
    sheet.save(out)?;
    Ok(count)
}
