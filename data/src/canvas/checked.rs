//! Checks each canvas of a cache the first time this process reads it: a cache may be far larger
//! than memory, so it is not read as a whole when it is opened.

use super::{CanvasSummary, PIXELS};
use crate::files::{changed, read_json};
use crate::ordered::{cores, ordered};
use crate::{DataRow, Error, Progress, Result};
use gauntlet_torch::Map;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// The file of the hashes, in the order of the rows.
pub(super) const HASHES: &str = "hashes.bin";

/// Bytes of a hash.
const HASH: usize = 8;

/// Rows that one thread checks at a time where all are checked.
const CHUNK: usize = 64;

/// The hash of a canvas as it is stored.
pub(super) fn hash(canvas: &[u8]) -> [u8; HASH] {
    blake3::hash(canvas).as_bytes()[..HASH].try_into().expect("a hash has 32 bytes")
}

/// The bytes of a cache, their hashes, and the rows that were checked.
pub(super) struct Checked {
    folder: PathBuf,
    /// The same pages as the tensor of the cache.
    pixels: Map,
    hashes: Map,
    /// Bytes of a canvas.
    bytes: usize,
    /// One bit per row.
    seen: Vec<AtomicU64>,
}

impl Checked {
    /// Of a cache folder whose sums were checked.
    pub(super) fn open(folder: &Path, rows: u32, size: u32) -> Result<Self> {
        let map = |name: &str| Map::open(&folder.join(name)).map_err(Error::io(folder.join(name)));
        let (pixels, hashes, rows) = (map(PIXELS)?, map(HASHES)?, rows as usize);
        let bytes = 3 * (size as usize).pow(2);
        for (name, found, wanted) in [(PIXELS, pixels.len(), rows * bytes), (HASHES, hashes.len(), rows * HASH)] {
            if found != wanted {
                return Err(changed(folder, name, &format!("it has {found} bytes instead of {wanted}")));
            }
        }
        let seen = (0..rows.div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        Ok(Checked { folder: folder.into(), pixels, hashes, bytes, seen })
    }

    /// Checks those of the rows that were not checked before. `name` names a row in the error.
    pub(super) fn check(&self, rows: &[DataRow], name: impl Fn(DataRow) -> String) -> Result<()> {
        for &row in rows {
            let (word, bit) = (&self.seen[row.place() / 64], 1 << (row.place() % 64));
            // Two threads may check one row: no harm.
            if word.load(Ordering::Relaxed) & bit != 0 {
                continue;
            }
            if !self.is_whole(row.place()) {
                return Err(self.changed(&name(row)));
            }
            word.fetch_or(bit, Ordering::Relaxed);
        }
        Ok(())
    }

    fn is_whole(&self, row: usize) -> bool {
        hash(&self.pixels[row * self.bytes..][..self.bytes]) == self.hashes[row * HASH..][..HASH]
    }

    fn changed(&self, name: &str) -> Error {
        changed(&self.folder, PIXELS, &format!("the canvas of {name} does not match its hash"))
    }

    /// One hash of all pixels.
    pub(super) fn identity(&self) -> String {
        crate::files::hash_bytes(&self.hashes).to_hex().to_string()
    }
}

/// Compares every canvas of a cache folder with its hash. Gives each damaged one to `damaged`.
///
/// # Errors
/// If the folder cannot be read, or the user stops it.
pub fn check_all(folder: &Path, progress: &dyn Progress, mut damaged: impl FnMut(Error)) -> Result<()> {
    let summary: CanvasSummary = read_json(&folder.join("canvas.json"))?;
    let rows = summary.rows as usize;
    let checked = Checked::open(folder, summary.rows, summary.size)?;
    let look = |start: usize| {
        let bad = (start..rows.min(start + CHUNK)).filter(|row| !checked.is_whole(*row));
        bad.collect::<Vec<_>>()
    };
    let mut done = 0;
    ordered((0..rows).step_by(CHUNK), vec![look; cores()], |bad| {
        bad.iter().for_each(|row| damaged(checked.changed(&format!("row {row}"))));
        done = rows.min(done + CHUNK);
        progress.report("canvases", done as u64, rows as u64, "");
        if progress.stopped() { Err(Error::Interrupted) } else { Ok(()) }
    })
}
