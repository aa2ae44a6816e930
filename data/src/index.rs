//! The row index: captions, classes and places of all rows in memory-mapped files, made once per
//! source and shared by all trials of a suite. A row takes memory only while it is read.
//!
//! A folder of the store holds `rows.bin` (40 bytes per row), `text.bin` (keys and captions),
//! `named.bin` (which captions name or mention which class), `dropped.jsonl` (rows that cannot be
//! used, and why), `stamps.bin` (sizes and times of images, see `index/stamps.rs`) and
//! `index.json`. It appears whole, by a rename, with `sums.json`: whoever opens it reads all of it
//! once and compares it with its hashes.

mod stamps;
mod write;

use crate::files::{Held, check_sums, hash_bytes, read_json};
use crate::rows::Tally;
use crate::source::{Row, Source};
use crate::store::{Key, lease_of, make_once};
use crate::{ClassFile, Classes, DataConfig, DataRow, Error, Progress, Result};
use gauntlet_torch::Map;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Part of every key. Raised whenever the same source would give other files, so that old indexes
/// are not used.
const FORMAT: u32 = 5;

/// Bytes of a row in `rows.bin`, in the layout of [`Record`].
const RECORD: usize = 40;

/// Set in the number of a class that a caption mentions but may not be mined for.
const MENTIONED: u32 = 1 << 31;

/// The label number of a row without one.
const NO_LABEL: u16 = u16::MAX;

/// The rows of a source, in its order.
pub struct Index {
    rows: Map,
    text: Map,
    named: Map,
    /// Class of each label number.
    class_of_label: Vec<u32>,
    /// Class names and prompt templates.
    pub classes: Classes,
    /// Identifies this source by its configuration and its files, including the images of a table.
    pub key: String,
    /// Hashes of names, sizes and times of the source's files, images of a table included. Unlike
    /// the key, they are equal for all builds.
    pub(crate) files: String,
    /// Hash of every row's key, caption, label and image size, and of the generator of the images
    /// if they are generated; independent of the times of the files.
    pub digest: String,
    /// Rows found, kept and lost.
    pub tally: Tally,
    /// A short description of the pairs.
    pub of: String,
    folder: PathBuf,
    _held: Held,
}

/// The layout of a row in `rows.bin`: these fields in this order, little-endian.
struct Record {
    /// Offset of its key in `text.bin`; the caption follows.
    text: u64,
    start: u64,
    size: u32,
    file: u32,
    caption_length: u32,
    key_length: u16,
    label: u16,
    seen: u64,
}

impl Record {
    fn to_bytes(&self) -> [u8; RECORD] {
        let mut bytes = [0; RECORD];
        bytes[..8].copy_from_slice(&self.text.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.start.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.size.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.file.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.caption_length.to_le_bytes());
        bytes[28..30].copy_from_slice(&self.key_length.to_le_bytes());
        bytes[30..32].copy_from_slice(&self.label.to_le_bytes());
        bytes[32..].copy_from_slice(&self.seen.to_le_bytes());
        bytes
    }

    fn of_bytes(bytes: &[u8]) -> Self {
        Record {
            text: u64::from_le_bytes(part(bytes, 0)),
            start: u64::from_le_bytes(part(bytes, 8)),
            size: u32::from_le_bytes(part(bytes, 16)),
            file: u32::from_le_bytes(part(bytes, 20)),
            caption_length: u32::from_le_bytes(part(bytes, 24)),
            key_length: u16::from_le_bytes(part(bytes, 28)),
            label: u16::from_le_bytes(part(bytes, 30)),
            seen: u64::from_le_bytes(part(bytes, 32)),
        }
    }
}

fn part<const N: usize>(bytes: &[u8], start: usize) -> [u8; N] {
    bytes[start..start + N].try_into().expect("N bytes")
}

/// The contents of `index.json`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct IndexSummary {
    key: String,
    config: DataConfig,
    rows: usize,
    text_bytes: u64,
    named: usize,
    tally: Tally,
    digest: String,
    class_of_label: Vec<u32>,
    classes: ClassFile,
}

impl Index {
    /// Opens the index of a source: from `store` if it is there, otherwise it is made. It is made
    /// again if images have changed and nothing was made of them yet.
    ///
    /// # Errors
    /// If the source cannot be read, has more bad rows than `max_bad` allows or no usable one, has
    /// a label that its class file lacks, or has images that changed since a data set was made of
    /// them.
    pub fn open(source: &dyn Source, config: &DataConfig, store: &Path, progress: &dyn Progress) -> Result<Self> {
        let json = serde_json::to_string(config).map_err(|error| Error::invalid("data", error))?;
        let key = Key::new("index", FORMAT, crate::SOURCES).with("data", json).with("files", source.fingerprint());
        let key = key.of(config.in_words());
        let folder = key.folder(store);
        if folder.exists() {
            // First, or a damaged stamp would be taken for a changed image.
            check_sums(&folder)?;
            if stamps::find(source, &folder, progress)?.is_some() {
                // Another process may be removing it, or may have made it again.
                let _lease = lease_of(&folder, progress)?;
                if folder.exists()
                    && let Some(changed) = stamps::find(source, &folder, progress)?
                {
                    stamps::remove(&changed, &folder, progress)?;
                }
            }
        }
        let began = Instant::now();
        match make_once(&folder, progress, || write::write(source, config, &key.hex(), &folder, progress))? {
            false => tracing::info!("row index found: {}", folder.display()),
            true => tracing::info!("row index made in {:.1?}: {}", began.elapsed(), folder.display()),
        }
        let index = Index::read(&folder, &key.hex(), &source.fingerprint())?;
        key.note_use(&folder)?;
        Ok(index)
    }

    /// Records that data will be made of these rows. It must not be mixed with data of other
    /// images.
    pub(crate) fn mark_used(&self) -> Result<()> {
        stamps::mark_used(&self.folder)
    }

    fn read(folder: &Path, key: &str, fingerprint: &str) -> Result<Self> {
        let held = Held::new(folder)?;
        let summary: IndexSummary =
            read_json(&folder.join("index.json")).map_err(|error| damaged(folder, &error.chain()))?;
        let map = |name: &str| Map::open(&folder.join(name)).map_err(Error::io(folder.join(name)));
        let (rows, text, named) = (map("rows.bin")?, map("text.bin")?, map("named.bin")?);
        let lengths = [rows.len(), text.len(), named.len()];
        let stamps = map("stamps.bin")?;
        if summary.key != stamps::key(key, &stamps)
            || lengths != [summary.rows * RECORD, summary.text_bytes as usize, summary.named * 8]
        {
            return Err(damaged(folder, "its files do not belong together"));
        }
        Ok(Index {
            rows,
            text,
            named,
            class_of_label: summary.class_of_label,
            classes: Classes::new(Vec::new(), Some(summary.classes)),
            key: summary.key,
            files: format!("{} {}", hash_bytes(fingerprint.as_bytes()), hash_bytes(&stamps)),
            digest: summary.digest,
            tally: summary.tally,
            of: summary.config.in_words(),
            folder: folder.into(),
            _held: held,
        })
    }

    /// Number of rows.
    pub fn len(&self) -> u32 {
        (self.rows.len() / RECORD) as u32
    }

    /// Whether there are no rows; an index without rows is refused.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One row.
    pub fn row(&self, row: DataRow) -> Row<'_> {
        row_of(&self.rows, &self.text, row, |label| self.class_of_label[usize::from(label)])
    }

    /// The classes named by each caption ([`Classes::named_in`]): (row, class), by ascending row.
    pub fn named(&self) -> impl Iterator<Item = (DataRow, u32)> + '_ {
        self.pairs().filter(|(_, class)| class & MENTIONED == 0)
    }

    /// The classes mentioned by each caption ([`Classes::mentioned_in`]), including the named ones:
    /// (row, class), by ascending row.
    pub fn mentioned(&self) -> impl Iterator<Item = (DataRow, u32)> + '_ {
        self.pairs().map(|(row, class)| (row, class & !MENTIONED))
    }

    fn pairs(&self) -> impl Iterator<Item = (DataRow, u32)> + '_ {
        let pair = |bytes: &[u8]| (DataRow(u32::from_le_bytes(part(bytes, 0))), u32::from_le_bytes(part(bytes, 4)));
        self.named.chunks_exact(8).map(pair)
    }
}

fn row_of<'a>(rows: &[u8], text: &'a [u8], row: DataRow, class_of: impl Fn(u16) -> u32) -> Row<'a> {
    let record = Record::of_bytes(&rows[row.place() * RECORD..][..RECORD]);
    let (key, rest) = text[record.text as usize..].split_at(record.key_length.into());
    let utf8 = |bytes| std::str::from_utf8(bytes).expect("an index holds what was written into it");
    Row {
        number: row,
        key: utf8(key),
        caption: utf8(&rest[..record.caption_length as usize]),
        class: (record.label != NO_LABEL).then(|| class_of(record.label)),
        file: record.file,
        start: record.start,
        size: record.size,
        seen: record.seen,
    }
}

/// Folders appear whole, by a rename, so an incomplete one was changed from outside.
fn damaged(path: &Path, why: &str) -> Error {
    let why = format!("the row index is damaged ({why}); delete its folder to rebuild it");
    Error::invalid(path.display(), why)
}
