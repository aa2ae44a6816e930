//! Canvases: every row as one u8 image `[3, S, S]`, the input of the evaluation and of the
//! triggers.
//!
//! If they fit the budget, they are kept in a memory-mapped file that is made once per (data, S)
//! and shared by all trials of a suite (`canvas/build.rs`), and compared with their hashes when
//! they are first read (`canvas/checked.rs`). Otherwise each is decoded on request by
//! the same function (`decode.rs`): the same pixels, bit for bit.

mod build;
mod checked;

pub use checked::check_all;

use crate::files::{Held, check_sums, read_json};
use crate::index::Index;
use crate::ordered::{cores, ordered};
use crate::rows::{Loss, Lost, Tally};
use crate::source::{Row, Source};
use crate::store::{Key, make_once};
use crate::{BadRow, DataRow, Error, Progress, Result};
use checked::Checked;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Instant;
use tch::{Device, Kind, Tensor};

/// Part of every key. Raised whenever the same source would give other files, so that old caches
/// are not used. The other part, the key of the index, holds a hash of the sources that make both.
const FORMAT: u32 = 4;

/// The file of the pixels.
const PIXELS: &str = "pixels.u8";

/// The pixels of a data set.
pub struct Canvas {
    size: u32,
    source: Arc<dyn Source>,
    index: Arc<Index>,
    /// The cache, u8 `[N, 3, S, S]`: pages are read on access and shared between processes.
    cached: Option<Tensor>,
    /// Its check; there if the cache is.
    checked: Option<Arc<Checked>>,
    held: Option<Arc<Held>>,
    /// Rows without a canvas, found while the cache was built; ascending.
    dropped: Arc<Vec<DataRow>>,
    /// The rows lost with them, by kind.
    lost: Arc<Vec<Lost>>,
    /// Rows whose canvas could not be made since then, and why.
    met: Arc<Mutex<BTreeMap<DataRow, String>>>,
}

/// The contents of `canvas.json`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CanvasSummary {
    index: String,
    size: u32,
    rows: u32,
    dropped: Vec<DataRow>,
    lost: Vec<Lost>,
}

impl Canvas {
    /// Opens the canvases of `size` pixels of the rows of an index. If the cache exists under
    /// `store`, it is used and nothing is decoded. Otherwise it is built if it takes at most
    /// `cache_bytes`.
    ///
    /// # Errors
    /// If the cache cannot be written, or more images are bad than `max_bad` allows.
    pub fn open(
        source: Arc<dyn Source>,
        index: Arc<Index>,
        size: u32,
        cache_bytes: u64,
        store: &Path,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let key = Key::new("canvas", FORMAT, crate::SOURCES).with("index", &index.key).with("size", size);
        let key = key.of(format!("{}, {size} x {size}", index.of));
        let folder = key.folder(store);
        let (dropped, lost, met) = Default::default();
        let mut canvas = Canvas { size, source, index, cached: None, checked: None, held: None, dropped, lost, met };
        if canvas.bytes() > cache_bytes {
            tracing::info!("canvases of {size} pixels are not cached: {} bytes are too many", canvas.bytes());
            return Ok(canvas);
        }
        let began = Instant::now();
        match make_once(&folder, progress, || build::build(&canvas, cores(), &folder, progress))? {
            false => tracing::info!("canvases of {size} pixels found: {}", folder.display()),
            true => tracing::info!("canvases of {size} pixels made in {:.1?}: {}", began.elapsed(), folder.display()),
        }
        canvas.map(&folder)?;
        key.note_use(&folder)?;
        Ok(canvas)
    }

    /// Size of all canvases in bytes.
    fn bytes(&self) -> u64 {
        u64::from(self.index.len()) * 3 * u64::from(self.size).pow(2)
    }

    fn map(&mut self, folder: &Path) -> Result<()> {
        self.held = Some(Arc::new(Held::new(folder)?));
        check_sums(folder)?;
        let summary: CanvasSummary =
            read_json(&folder.join("canvas.json")).map_err(|error| damaged(folder, &error.chain()))?;
        if (&summary.index, summary.size, summary.rows) != (&self.index.key, self.size, self.index.len()) {
            return Err(damaged(folder, "it belongs to other data"));
        }
        let pixels = folder.join(PIXELS);
        self.checked = Some(Arc::new(Checked::open(folder, summary.rows, summary.size)?));
        let name = pixels.to_str().ok_or_else(|| Error::invalid(pixels.display(), "is not UTF-8"))?;
        let mapped = Tensor::f_from_file(name, false, self.bytes() as i64, (Kind::Uint8, Device::Cpu))?;
        let side = i64::from(self.size);
        self.cached = Some(mapped.f_view([-1, 3, side, side])?);
        (self.dropped, self.lost) = (Arc::new(summary.dropped), Arc::new(summary.lost));
        Ok(())
    }

    /// A key that identifies these canvases and the rows that have none.
    pub(crate) fn key(&self) -> String {
        let parts = format!("{} {} {:?}", self.index.key, self.size, self.dropped);
        blake3::hash(parts.as_bytes()).to_hex().to_string()
    }

    /// Identifies the pixels for a training that is resumed, by any build: by their hashes if they
    /// are cached, otherwise by sizes and times of the source's files.
    pub(crate) fn identity(&self) -> String {
        let files = || format!("files {}", self.index.files);
        self.checked.as_ref().map_or_else(files, |checked| format!("canvases {}", checked.identity()))
    }

    /// S: the side of a canvas in pixels.
    pub fn size(&self) -> u32 {
        self.size
    }

    /// Whether they are in a cache.
    pub fn is_cached(&self) -> bool {
        self.cached.is_some()
    }

    /// Rows whose images were found to be bad while the cache was built; ascending.
    pub fn dropped(&self) -> &[DataRow] {
        &self.dropped
    }

    /// Rows found, kept and lost until this was opened.
    pub(crate) fn tally(&self) -> Tally {
        let mut tally = self.index.tally.clone();
        self.lost.iter().for_each(|lost| tally.lose_kept(lost));
        tally
    }

    /// Rows whose images were found to be bad since this was opened, and why.
    pub fn met(&self) -> BTreeMap<DataRow, String> {
        self.met.lock().expect("no thread panics with the list").clone()
    }

    /// Canvases of these rows, in this order: u8 `[rows, 3, S, S]`.
    ///
    /// # Errors
    /// Names a row whose image cannot be decoded; [`readable`](Canvas::readable) checks for this.
    /// Names one whose canvas in the cache, or whose file, was changed.
    pub fn gather(&self, rows: &[DataRow]) -> Result<Tensor> {
        if let Some(checked) = &self.checked {
            checked.check(rows, |row| self.name(row))?;
        }
        if let Some(cached) = &self.cached {
            let rows: Vec<i64> = rows.iter().map(|&row| row.into()).collect();
            // Not `index_select`: it starts and joins libtorch's threads once per row, ten times
            // slower on busy cores. Eight pixels at once, because `index` copies number by number.
            let kind = if self.size.is_multiple_of(8) { Kind::Int64 } else { Kind::Uint8 };
            return Ok(cached.view_dtype(kind).index(&[Some(&Tensor::from_slice(&rows))]).view_dtype(Kind::Uint8));
        }
        let mut pixels = Vec::with_capacity(rows.len() * 3 * (self.size * self.size) as usize);
        let threads = if rows.len() < 64 { 1 } else { cores() };
        let (source, index, size) = (&*self.source, &*self.index, self.size);
        let decode = |row: &DataRow| read(source, index.row(*row), size);
        ordered(rows, vec![decode; threads], |canvas| {
            pixels.extend(canvas?.map_err(|bad| Error::invalid(bad.name, bad.why))?);
            Ok::<_, Error>(())
        })?;
        Ok(self.tensor(&pixels))
    }

    /// A hash of each canvas of these rows, in this order; `None` for a row whose image cannot be
    /// decoded.
    pub(crate) fn hashes(&self, rows: &[DataRow]) -> Result<Vec<Option<blake3::Hash>>> {
        if self.is_cached() {
            let side = (3 * self.size * self.size) as usize;
            let pixels = Vec::<u8>::try_from(self.gather(rows)?.flatten(0, -1))?;
            let readable = |row: &DataRow| self.dropped.binary_search(row).is_err();
            let hashes = rows.iter().zip(pixels.chunks_exact(side));
            return Ok(hashes.map(|(row, canvas)| readable(row).then(|| blake3::hash(canvas))).collect());
        }
        let (source, index, size) = (&*self.source, &*self.index, self.size);
        let look = |row: &DataRow| {
            let canvas = read(source, index.row(*row), size)?;
            Ok::<_, Error>(canvas.ok().map(|canvas| blake3::hash(&canvas)))
        };
        let mut hashes = Vec::with_capacity(rows.len());
        ordered(rows, vec![look; cores()], |hash| {
            hashes.push(hash?);
            Ok::<_, Error>(())
        })?;
        Ok(hashes)
    }

    /// Canvases of the rows that `row` gives for each of `count` places, u8 `[count, 3, S, S]`,
    /// with the rows that were used. If an image cannot be decoded, `row` is called again with the
    /// next attempt number.
    ///
    /// # Errors
    /// If more images are bad than `max_bad` allows, or as [`gather`](Canvas::gather) if something
    /// was changed.
    pub fn gather_or(&self, count: usize, row: impl Fn(usize, u64) -> DataRow) -> Result<(Vec<DataRow>, Tensor)> {
        if self.is_cached() {
            let rows: Vec<DataRow> = (0..count).map(|place| row(place, 0)).collect();
            let pixels = self.gather(&rows)?;
            return Ok((rows, pixels));
        }
        let (mut rows, mut pixels) = (Vec::with_capacity(count), Vec::new());
        for place in 0..count {
            for attempt in 0.. {
                let candidate = row(place, attempt);
                if let Ok(canvas) = self.decode(candidate)? {
                    rows.push(candidate);
                    pixels.extend(canvas);
                    break;
                }
                self.check_met()?;
            }
        }
        Ok((rows, self.tensor(&pixels)))
    }

    fn tensor(&self, pixels: &[u8]) -> Tensor {
        let side = i64::from(self.size);
        Tensor::from_slice(pixels).view([-1, 3, side, side])
    }

    /// Whether the image of a row can be decoded.
    pub fn readable(&self, row: DataRow) -> bool {
        match self.is_cached() {
            true => self.dropped.binary_search(&row).is_err(),
            // A file that was changed is an error as soon as its pixels are asked for.
            false => self.decode(row).map_or(true, |canvas| canvas.is_ok()),
        }
    }

    /// Decodes one image, and records it if it is bad.
    fn decode(&self, row: DataRow) -> Result<Result<Vec<u8>, BadRow>> {
        let canvas = read(&*self.source, self.index.row(row), self.size)?;
        Ok(canvas.inspect_err(|bad| {
            self.met.lock().expect("no thread panics with the list").insert(row, bad.why.clone());
        }))
    }

    fn check_met(&self) -> Result<()> {
        let met = self.met();
        let (bad, total) = (self.index.tally.bad_rows() + met.len() as u64, self.index.tally.found);
        if bad as f64 <= self.source.max_bad() * total as f64 {
            return Ok(());
        }
        let name = |(row, why): (&DataRow, &String)| format!("{}: {why}", self.name(*row));
        let first = met.iter().take(3).map(name).collect::<Vec<_>>().join("; ");
        let allowed = self.source.max_bad();
        let why =
            format!("{bad} of {total} rows cannot be used and `max_bad` allows a share of {allowed}; some: {first}");
        Err(Error::invalid("data", why))
    }

    /// The name of a row in messages.
    pub fn name(&self, row: DataRow) -> String {
        self.source.name(&self.index.row(row))
    }

    /// The same pixels for another thread: a tensor may move between threads, but must not be
    /// shared by them.
    pub fn shallow_clone(&self) -> Self {
        Canvas {
            size: self.size,
            source: self.source.clone(),
            index: self.index.clone(),
            cached: self.cached.as_ref().map(Tensor::shallow_clone),
            checked: self.checked.clone(),
            held: self.held.clone(),
            dropped: self.dropped.clone(),
            lost: self.lost.clone(),
            met: self.met.clone(),
        }
    }
}

/// Decodes one image. If the decoder panics on a malicious file, that row is lost and not the data
/// set.
///
/// # Errors
/// If its file was changed, which is no fault of the row.
fn read(source: &dyn Source, row: Row, size: u32) -> Result<Result<Vec<u8>, BadRow>> {
    let read = catch_unwind(AssertUnwindSafe(|| source.image(&row, size)));
    source.check_unchanged(&row)?;
    let read = read.unwrap_or_else(|_| Err("the decoder panicked".into()));
    Ok(read.map_err(|why| BadRow::new(source.name(&row), Loss::UnreadableImage.because(why))))
}

/// Folders appear whole, by a rename, so an incomplete one was changed from outside.
fn damaged(path: &Path, why: &str) -> Error {
    let why = format!("the canvas cache is damaged ({why}); delete its folder to rebuild it");
    Error::invalid(path.display(), why)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
