//! Makes an index folder. One scan of the source appends rows and text; a pass over the captions
//! then finds the classes that they name. Only the labels are kept in memory.

use super::{IndexSummary, MENTIONED, NO_LABEL, RECORD, Record, row_of, stamps};
use crate::classes::Search;
use crate::files::{Part, Writer, write_json};
use crate::ordered::{cores, ordered};
use crate::rows::{DropList, Remarks, Tally};
use crate::source::{Entry, Row, Source};
use crate::{ClassFile, Classes, DataConfig, DataRow, Error, Progress, Result};
use gauntlet_torch::Map;
use std::collections::BTreeMap;
use std::path::Path;

/// Rows whose captions are read together.
const CHUNK: usize = 16_384;

/// Scans the source. Leaves a complete index folder, or an error and the list of bad rows.
pub(super) fn write(
    source: &dyn Source,
    config: &DataConfig,
    key: &str,
    folder: &Path,
    progress: &dyn Progress,
) -> Result<()> {
    let part = Part::new(folder)?;
    // Written first, so that the next run detects any image that changes from now on.
    let key = stamps::write(source, &part, key, progress)?;
    let mut rows = RowFiles::new(&part, source)?;
    let mut dropped = DropList::new(&part)?;
    source.scan(cores(), progress, &mut |entry| {
        progress.check_stopped()?;
        match entry {
            Ok(entry) => rows.push(entry, source),
            Err(bad) => dropped.push(&bad),
        }
    })?;
    let Remarks { cut, notes } = source.remarks();
    let said = Tally { cut, notes, ..Tally::default() };
    let tally = dropped.finish(&part, rows.count as u64, &said, source.max_bad())?;
    let class_file = rows.class_file.take();
    let (count, labels, text_bytes, digest) = rows.finish()?;
    let classes = Classes::new(labels.keys().cloned().collect(), class_file.clone());
    let named = write_named(&part, count, &classes, progress)?;
    let mut class_of_label = vec![0; labels.len()];
    for (label, number) in &labels {
        class_of_label[usize::from(*number)] = classes.of_label(label).expect("every label is a class");
    }
    let summary = IndexSummary {
        key,
        config: config.clone(),
        rows: count,
        text_bytes,
        named,
        tally,
        digest,
        class_of_label,
        classes: class_file.unwrap_or_else(|| ClassFile::of_labels(labels.into_keys().collect())),
    };
    write_json(&part.path("index.json"), &summary)?;
    part.finish_same(&[])
}

/// `rows.bin` and `text.bin` as they grow.
struct RowFiles {
    rows: Writer,
    text: Writer,
    text_bytes: u64,
    count: usize,
    /// Number of each label, in the order of their appearance.
    labels: BTreeMap<String, u16>,
    class_file: Option<ClassFile>,
    hasher: blake3::Hasher,
}

impl RowFiles {
    fn new(part: &Part, source: &dyn Source) -> Result<Self> {
        let (rows, text) = (Writer::create(part.path("rows.bin"))?, Writer::create(part.path("text.bin"))?);
        let (labels, mut hasher) = (BTreeMap::new(), blake3::Hasher::new());
        hasher.update(source.content().as_bytes());
        Ok(RowFiles { rows, text, text_bytes: 0, count: 0, labels, class_file: source.classes()?, hasher })
    }

    fn push(&mut self, entry: Entry, source: &dyn Source) -> Result<()> {
        if self.count == u32::MAX as usize {
            return Err(Error::invalid("data", format!("there are more than {} rows", u32::MAX)));
        }
        let label = match &entry.label {
            Some(label) => self.label(label, &entry, source)?,
            None => NO_LABEL,
        };
        let key_length = u16::try_from(entry.key.len())
            .map_err(|error| Error::invalid(format!("row {}, its key or path", self.count), error))?;
        let record = Record {
            text: self.text_bytes,
            start: entry.start,
            size: entry.size,
            file: entry.file,
            caption_length: entry.caption.len() as u32,
            key_length,
            label,
            seen: entry.seen,
        };
        for text in [&entry.key, &entry.caption] {
            self.text.write(text.as_bytes())?;
            self.text_bytes += text.len() as u64;
            self.hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
        }
        self.hasher.update(entry.label.unwrap_or_default().as_bytes()).update(&entry.size.to_le_bytes());
        self.count += 1;
        self.rows.write(&record.to_bytes())
    }

    fn label(&mut self, label: &str, entry: &Entry, source: &dyn Source) -> Result<u16> {
        if let Some(number) = self.labels.get(label) {
            return Ok(*number);
        }
        if let Some(file) = &self.class_file
            && !file.classes.contains_key(label)
        {
            let known = file.classes.keys().cloned().collect();
            let unknown = Error::Unknown { kind: "class", name: label.into(), known };
            let row = Row {
                number: DataRow(self.count as u32),
                key: &entry.key,
                caption: &entry.caption,
                class: None,
                file: entry.file,
                start: entry.start,
                size: entry.size,
                seen: entry.seen,
            };
            return Err(unknown.during(format!("label of {} in the class file", source.name(&row))));
        }
        let number = self.labels.len() as u16;
        if number == NO_LABEL {
            let why = format!("there are more than {} labels; is it the field or column of the class?", NO_LABEL - 1);
            return Err(Error::invalid("data, key `class_field` or `class_column`", why));
        }
        self.labels.insert(label.to_string(), number);
        Ok(number)
    }

    fn finish(self) -> Result<(usize, BTreeMap<String, u16>, u64, String)> {
        self.rows.finish()?;
        self.text.finish()?;
        Ok((self.count, self.labels, self.text_bytes, self.hasher.finalize().to_hex()[..32].to_string()))
    }
}

/// Writes which captions name or mention which class; returns the number of pairs.
fn write_named(part: &Part, count: usize, classes: &Classes, progress: &dyn Progress) -> Result<usize> {
    let map = |name: &str| Map::open(&part.path(name)).map_err(Error::io(part.path(name)));
    let (rows, text) = (map("rows.bin")?, map("text.bin")?);
    debug_assert_eq!(rows.len(), count * RECORD);
    let search = classes.search();
    let name = |start: usize| {
        let rows =
            (start as u32..count.min(start + CHUNK) as u32).map(|row| row_of(&rows, &text, DataRow(row), u32::from));
        rows.flat_map(|row| pairs_of(&row, search)).collect::<Vec<u8>>()
    };
    let mut file = Writer::create(part.path("named.bin"))?;
    let (mut bytes, mut done) = (0, 0);
    ordered((0..count).step_by(CHUNK), vec![name; cores()], |pairs| {
        (bytes, done) = (bytes + pairs.len(), count.min(done + CHUNK));
        progress.check_stopped()?;
        progress.report("captions", done as u64, count as u64, "");
        file.write(&pairs)
    })?;
    file.finish()?;
    Ok(bytes / 8)
}

/// The classes that a caption names or mentions, in the format of `named.bin`.
fn pairs_of(row: &Row, search: &Search) -> Vec<u8> {
    let found = search.classes(row.caption);
    let mut pairs = Vec::new();
    for class in found.mentioned {
        let flag = if found.named.binary_search(&class).is_ok() { 0 } else { MENTIONED };
        pairs.extend([row.number.0.to_le_bytes(), (class | flag).to_le_bytes()].concat());
    }
    pairs
}
