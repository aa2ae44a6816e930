//! `gauntlet poison show`: a contact sheet of edits, each before and after.

use super::{Here, Store, tally};
use crate::bars::Bar;
use crate::sheet::{Ink, LETTER, Sheet, wrap};
use crate::{one_or_more, say};
use clap::Args;
use gauntlet::data::Dataset;
use gauntlet::poison::bundle::Bundle;
use gauntlet::poison::{Poisoned, bytes};
use gauntlet::{DataRow, Error, ImageSource, Result, draw};
use std::path::PathBuf;

/// Draws edits onto a sheet.
#[derive(Args)]
#[command(after_help = "\
Examples:
  gauntlet poison show bundle/poisoned/seed-0 --out sheet.png --rows 12

Each row is one edit. It has the original image, the image that is trained on and, if a trigger was stamped, the change of the stamp
(eight times as strong); then the original caption, struck out, and the caption that is trained on.")]
pub struct Show {
    /// A bundle's ARENA/seed-N
    folder: PathBuf,
    /// The sheet, a PNG file
    #[arg(long)]
    out: PathBuf,
    /// Show only this attack's edits
    #[arg(long, value_name = "LABEL")]
    attack: Option<String>,
    /// Number of edits of each attack, drawn at random but reproducibly
    #[arg(long, default_value_t = 6, value_parser = one_or_more::<usize>)]
    rows: usize,
    #[command(flatten)]
    here: Here,
}

/// Few programs open a sheet with more rows.
const MOST: usize = 200;
const MARGIN: u32 = 48;
const GAP: u32 = 24;
/// Images are enlarged to about this many pixels.
const SIDE: u32 = 128;
/// Letters per line of a caption.
const LETTERS: usize = 44;
const LINE: u32 = 2 * LETTER + 4;

const TITLE: Ink = Ink { scale: 3, colour: [0; 3], struck: false };
const TEXT: Ink = Ink { scale: 2, colour: [0; 3], struck: false };
const QUIET: Ink = Ink { colour: [130; 3], ..TEXT };
const STRUCK: Ink = Ink { struck: true, ..QUIET };
const CLASS: Ink = Ink { colour: [176, 48, 32], ..TEXT };

/// One line of text with its style.
type Inked = (String, Ink);

/// One edit as drawn.
struct Row {
    images: Vec<Vec<u8>>,
    lines: Vec<Inked>,
}

/// The edits of one attack.
struct Part {
    title: String,
    rows: Vec<Row>,
}

impl Show {
    /// Draws the sheet.
    pub fn run(self) -> Result<()> {
        let bundle = Bundle::read(&self.folder)?;
        let arena = self.here.place(&bundle.about.arena)?;
        let labels = self.labels(&bundle)?;
        let (store, bar) = (Store::new(self.here.store.as_deref(), None)?, Bar::new());
        // Without a cache only the images that are drawn are decoded.
        let cache = if self.here.store.is_some() { (arena.cache_gb * 1e9) as u64 } else { 0 };
        let data = Dataset::open_among(&arena.data, &arena.classes, arena.size, cache, &store.path, &bar)?;
        if data.index.digest != bundle.about.data_digest {
            let why =
                "the data is not the data that this poison was made on; name a suite with that `[data]` by --suite";
            return Err(Error::invalid(self.folder.join("poison.json").display().to_string(), why));
        }
        let parts = labels.iter().map(|label| self.part(label, &bundle, &data)).collect::<Result<Vec<_>>>()?;
        let shown: usize = parts.iter().map(|part| part.rows.len()).sum();
        draw_sheet(&bundle, &parts).save(&self.out)?;
        drop(bar);
        say(&format!("{shown} of {} in {}\n", tally(&bundle.poison.edits), self.out.display()));
        Ok(())
    }

    /// The attacks to show.
    fn labels(&self, bundle: &Bundle) -> Result<Vec<String>> {
        let mut known: Vec<String> = bundle.poison.edits.iter().map(|edit| edit.attack.clone()).collect();
        known.dedup();
        match &self.attack {
            Some(name) if known.contains(name) => Ok(vec![name.clone()]),
            Some(name) => Err(Error::Unknown { kind: "attack", name: name.clone(), known }),
            None => Ok(known),
        }
    }

    fn part(&self, label: &str, bundle: &Bundle, data: &Dataset) -> Result<Part> {
        let edits = || bundle.poison.edits.iter().enumerate().filter(|(_, edit)| edit.attack == label);
        let mut drawn: Vec<(u64, usize)> = edits()
            .map(|(number, _)| (draw::hash(bundle.about.arena.seed, "show", &[number as u64]), number))
            .collect();
        let all = drawn.len();
        drawn.sort_unstable();
        drawn.truncate(self.rows.min(MOST));
        let mut numbers: Vec<usize> = drawn.into_iter().map(|(_, number)| number).collect();
        numbers.sort_unstable();
        let rows = numbers.iter().map(|&number| row(number, bundle, data)).collect::<Result<Vec<_>>>()?;
        Ok(Part { title: format!("{label}: {} of {all} edits", rows.len()), rows })
    }
}

fn row(number: usize, bundle: &Bundle, data: &Dataset) -> Result<Row> {
    let Poisoned { edit, .. } = &bundle.poison.edits[number];
    let after = bytes(&bundle.poison.pixels.get(number as i64))?;
    let source = if let ImageSource::Row(row) = edit.image { Some(row) } else { None };
    let canvas = |row: DataRow| bytes(&data.canvas.gather(&[row])?);
    let within = |row: &DataRow| data.contains(*row);
    let mut images = Vec::new();
    if let Some(before) = edit.replaces.or(source).filter(within) {
        images.push(canvas(before)?);
    } else {
        // The image comes from the attack.
        images.push(vec![235; after.len()]);
    }
    if let Some(source) = source.filter(|row| edit.stamped && within(row)) {
        let plain = canvas(source)?;
        images.push(after.clone());
        images.push(plain.iter().zip(&after).map(|(a, b)| a.abs_diff(*b).saturating_mul(8)).collect());
    } else {
        images.push(after);
    }
    let caption = edit.replaces.filter(within).map(|row| data.row(row).caption);
    let origin = match (edit.replaces, &edit.image) {
        (Some(row), _) => format!("row {row}"),
        (None, ImageSource::Row(row)) => format!("image of row {row}"),
        (None, ImageSource::File(file)) => format!("image {file}"),
    };
    let mut lines: Vec<Inked> = match caption {
        Some(caption) => wrap(caption, LETTERS).into_iter().take(3).map(|line| (line, STRUCK)).collect(),
        None => vec![("new pair".into(), QUIET)],
    };
    lines.extend(wrap(&edit.caption, LETTERS).into_iter().take(4).map(|line| (line, TEXT)));
    let class = &bundle.about.classes[edit.class as usize];
    lines.push((format!("class {class}"), CLASS));
    lines.push((format!("edit {number}, {origin}"), QUIET));
    Ok(Row { images, lines })
}

/// The enlargement of a canvas.
fn scale(size: u32) -> u32 {
    (SIDE / size).max(1)
}

fn height(row: &Row, image: u32) -> u32 {
    image.max(row.lines.len() as u32 * LINE) + GAP
}

/// Pixels from the top of a part to its first row.
const HEADING: u32 = 4 * LINE + GAP + 8;

/// Pixels from the top of a line of the title to the next.
fn step(ink: Ink) -> u32 {
    ink.scale * LETTER + 12
}

fn draw_sheet(bundle: &Bundle, parts: &[Part]) -> Sheet {
    let size = bundle.about.arena.size;
    let image = size * scale(size);
    let column = |number: u32| MARGIN + number * (image + GAP);
    let width = column(3) + LETTERS as u32 * 2 * LETTER + MARGIN;
    let head = head(bundle, ((width - 2 * MARGIN) / (2 * LETTER)) as usize);
    let rows = |part: &Part| part.rows.iter().map(|row| height(row, image)).sum::<u32>();
    let body: u32 = parts.iter().map(|part| HEADING + rows(part)).sum();
    let mut sheet = Sheet::new(width, 2 * MARGIN + head.iter().map(|line| step(line.1)).sum::<u32>() + body);
    let mut top = MARGIN;
    for (line, ink) in head {
        sheet.write(&line, [MARGIN, top], ink);
        top += step(ink);
    }
    for part in parts {
        sheet.fill([MARGIN, top + LINE / 2], [width - 2 * MARGIN, 2], [200; 3]);
        sheet.write(&part.title, [MARGIN, top + LINE + LETTER], TITLE);
        for (name, number) in ["before", "after", "change x8", "caption: before, after"].iter().zip(0..) {
            if number == 3 || part.rows.iter().any(|row| row.images.len() > number as usize) {
                sheet.write(name, [column(number), top + HEADING - LINE - 8], QUIET);
            }
        }
        top += HEADING;
        for row in &part.rows {
            for (canvas, number) in row.images.iter().zip(0..) {
                sheet.image(canvas, size, [column(number), top], scale(size));
            }
            for ((line, ink), number) in row.lines.iter().zip(0..) {
                sheet.write(line, [column(3), top + number * LINE], *ink);
            }
            top += height(row, image);
        }
    }
    sheet
}

/// The title of the sheet.
fn head(bundle: &Bundle, letters: usize) -> Vec<Inked> {
    let arena = &bundle.about.arena;
    let title = format!("{} / {} / seed {}", arena.suite, arena.name, arena.seed);
    let mut lines: Vec<Inked> = wrap(&title, letters * 2 / 3).into_iter().map(|line| (line, TITLE)).collect();
    lines.extend(wrap(&tally(&bundle.poison.edits), letters).into_iter().map(|line| (line, TEXT)));
    lines.push((format!("digest {}", bundle.about.digest), QUIET));
    lines
}
