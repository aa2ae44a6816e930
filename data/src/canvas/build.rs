//! Builds a cache folder. Rows are decoded on several threads and appended in the order of the
//! source, so the number of threads does not change the result. The files are `pixels.u8` (rows of
//! planar RGB, zeros if there is no image), `hashes.bin` (eight bytes per row), `dropped.jsonl`,
//! `canvas.json`, and `sums.json` of all but the first.

use super::checked::{HASHES, hash};
use super::{Canvas, CanvasSummary, PIXELS, read};
use crate::files::{Part, Writer, write_json};
use crate::ordered::ordered;
use crate::rows::DropList;
use crate::{DataRow, Error, Progress, Result};
use std::path::Path;

/// Rows that one thread decodes before they are written: 10 MB at 224 x 224.
const CHUNK: u32 = 64;

/// Decodes every image. Leaves a complete cache folder, or an error and the list of bad rows.
pub(super) fn build(canvas: &Canvas, threads: usize, folder: &Path, progress: &dyn Progress) -> Result<()> {
    let total = canvas.index.len();
    let part = Part::new(folder)?;
    let mut pixels = Writer::create(part.path(PIXELS))?;
    let mut hashes = Writer::create(part.path(HASHES))?;
    let (mut list, mut dropped, mut done) = (DropList::new(&part)?, Vec::new(), 0);
    let nothing = vec![0; 3 * (canvas.size * canvas.size) as usize];
    let (source, index, size) = (&*canvas.source, &*canvas.index, canvas.size);
    let blank = hash(&nothing);
    let decode = |start: u32| {
        let decode = |row| {
            let canvas = read(source, index.row(DataRow(row)), size)?;
            let hash = canvas.as_ref().map_or(blank, |canvas| hash(canvas));
            Ok((canvas, hash))
        };
        (start..total.min(start + CHUNK)).map(decode).collect::<Result<Vec<_>>>()
    };
    ordered((0..total).step_by(CHUNK as usize), vec![decode; threads.max(1)], |chunk| {
        for (decoded, hash) in chunk? {
            hashes.write(&hash)?;
            match decoded {
                Ok(row) => pixels.write(&row)?,
                Err(bad) => {
                    pixels.write(&nothing)?;
                    list.push(&bad)?;
                    dropped.push(DataRow(done));
                }
            }
            done += 1;
        }
        progress.check_stopped()?;
        progress.report("canvas", done.into(), total.into(), &format!("{} dropped", dropped.len()));
        Ok::<_, Error>(())
    })?;
    pixels.finish()?;
    hashes.finish()?;
    let (kept, lost) = (u64::from(total) - dropped.len() as u64, list.tally.lost.clone());
    list.finish(&part, kept, &canvas.index.tally, canvas.source.max_bad())?;
    let summary = CanvasSummary { index: canvas.index.key.clone(), size: canvas.size, rows: total, dropped, lost };
    write_json(&part.path("canvas.json"), &summary)?;
    part.finish_same(&[PIXELS])
}
