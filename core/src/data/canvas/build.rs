//! Builds a cache folder: rows are decoded in parallel, a chunk at a time, and appended in the source's order, so the
//! number of threads changes nothing. The folder is made beside its place and renamed into it when it is whole: a killed
//! build leaves nothing half used, and of two processes that race one wins and the other finds the same bytes.

use super::Summary;
use crate::data::{BadRow, ClassFile, Classes, DataConfig, Pair, Row, Source};
use crate::{Error, Progress, Result};
use serde::Serialize;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Rows decoded before they are written: at 224 x 224, 150 MB.
const CHUNK: usize = 1024;

/// What is to be built, where, and how.
pub(super) struct Job<'a> {
    pub source: &'a dyn Source,
    pub config: &'a DataConfig,
    pub size: u32,
    pub key: &'a str,
    /// Where the finished cache goes; its parent is made if need be.
    pub folder: &'a Path,
    pub threads: usize,
    pub progress: &'a dyn Progress,
}

/// Reads every row of the source and leaves a whole cache folder, or an error and the list of bad rows.
pub(super) fn build(job: &Job) -> Result<()> {
    let total = job.source.len();
    let store = job.folder.parent().expect("the folder of a cache lies in its store");
    fs::create_dir_all(store).map_err(Error::io(store))?;
    let part = tempfile::Builder::new().prefix("canvas-part-").tempdir_in(store).map_err(Error::io(store))?;
    let class_file = job.source.classes()?;
    let mut pixels = Writer::create(part.path().join("pixels.u8"))?;
    let mut kept: Vec<(Row, Option<String>)> = Vec::new();
    let mut bad: Vec<BadRow> = Vec::new();
    for start in (0..total).step_by(CHUNK) {
        let chunk = start..total.min(start + CHUNK);
        let done = chunk.end as u64;
        for pair in read(job, chunk) {
            match pair {
                Ok(pair) => {
                    check_label(&pair, class_file.as_ref())?;
                    pixels.write(&pair.canvas)?;
                    kept.push(row(pair));
                }
                Err(row) => bad.push(row),
            }
        }
        job.progress.report("canvas", done, total as u64, &format!("{} dropped", bad.len()));
    }
    pixels.finish()?;
    write_lines(part.path().join("dropped.jsonl"), &bad)?;
    check_bad(job, kept.len(), &bad, part.path())?;
    finish(job, kept, bad.len(), class_file, part.path())
}

/// Reads rows on all threads; the answer is in the order of the rows.
fn read(job: &Job, rows: Range<usize>) -> Vec<Result<Pair, BadRow>> {
    let next = AtomicUsize::new(rows.start);
    let work = || {
        let mut read = Vec::new();
        loop {
            let row = next.fetch_add(1, Ordering::Relaxed);
            if row >= rows.end {
                return read;
            }
            read.push((row, read_one(job, row)));
        }
    };
    let mut read: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..job.threads.max(1)).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("panics are caught row by row")).collect()
    });
    read.sort_unstable_by_key(|(row, _)| *row);
    read.into_iter().map(|(_, pair)| pair).collect()
}

/// A decoder that panics on a malicious file costs that row, not the data set.
fn read_one(job: &Job, row: usize) -> Result<Pair, BadRow> {
    let read = catch_unwind(AssertUnwindSafe(|| job.source.read(row, job.size)));
    read.unwrap_or_else(|_| Err(BadRow { name: format!("row {row}"), why: "the decoder panicked".into() }))
}

fn check_label(pair: &Pair, class_file: Option<&ClassFile>) -> Result<()> {
    match (&pair.label, class_file) {
        (Some(label), Some(file)) if !file.classes.contains_key(label) => {
            let known = file.classes.keys().cloned().collect();
            let unknown = Error::Unknown { kind: "class", name: label.clone(), known };
            Err(unknown.during(format!("label of {} in the class file", pair.name)))
        }
        _ => Ok(()),
    }
}

fn row(pair: Pair) -> (Row, Option<String>) {
    let source_hash = blake3::Hash::from_bytes(pair.source_hash).to_hex().to_string();
    (Row { name: pair.name, caption: pair.caption, class: None, source_hash }, pair.label)
}

/// Stops if too few rows are left; the list of bad ones then stays beside where the cache would have been.
fn check_bad(job: &Job, kept: usize, bad: &[BadRow], part: &Path) -> Result<()> {
    let (total, allowed) = (kept + bad.len(), job.source.max_bad());
    if kept > 0 && bad.len() as f64 <= allowed * total as f64 {
        return Ok(());
    }
    if total == 0 {
        return Err(Error::invalid("data", "the source has no rows"));
    }
    let list = job.folder.with_extension("dropped.jsonl");
    fs::rename(part.join("dropped.jsonl"), &list).map_err(Error::io(&list))?;
    let first: Vec<String> = bad.iter().take(3).map(|row| format!("{}: {}", row.name, row.why)).collect();
    let why = format!(
        "{} of {total} rows cannot be used and `max_bad` allows a share of {allowed}; the first: {}; all are listed in {}",
        bad.len(),
        first.join("; "),
        list.display()
    );
    Err(Error::invalid("data", why))
}

/// Numbers the classes, writes what is left to write, and puts the folder into its place.
fn finish(
    job: &Job,
    kept: Vec<(Row, Option<String>)>,
    dropped: usize,
    class_file: Option<ClassFile>,
    part: &Path,
) -> Result<()> {
    let labels: BTreeSet<String> = kept.iter().filter_map(|(_, label)| label.clone()).collect();
    let classes = Classes::new(labels.into_iter().collect(), class_file);
    let number = |label: String| classes.labels.binary_search(&label).expect("classes hold every label, sorted") as u32;
    let rows: Vec<Row> = kept.into_iter().map(|(row, label)| Row { class: label.map(number), ..row }).collect();
    write_lines(part.join("rows.jsonl"), &rows)?;
    let classes =
        ClassFile { classes: classes.labels.into_iter().zip(classes.names).collect(), templates: classes.templates };
    let (key, config) = (job.key.to_string(), job.config.clone());
    let summary = Summary { key, config, size: job.size, rows: rows.len(), dropped, classes };
    write_lines(part.join("data.json"), &[summary])?;
    match fs::rename(part, job.folder) {
        Err(_) if job.folder.exists() => Ok(()), // another process was first, with the same bytes
        renamed => renamed.map_err(Error::io(job.folder)),
    }
}

fn write_lines(path: PathBuf, values: &[impl Serialize]) -> Result<()> {
    let mut file = Writer::create(path)?;
    for value in values {
        let line =
            serde_json::to_string(value).expect("the configuration was serialised for the key; the rest is plain");
        file.write(line.as_bytes())?;
        file.write(b"\n")?;
    }
    file.finish()
}

/// A buffered file whose errors carry its path.
struct Writer {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Writer {
    fn create(path: PathBuf) -> Result<Self> {
        let file = File::create(&path).map_err(Error::io(&path))?;
        Ok(Writer { path, file: BufWriter::new(file) })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(Error::io(&self.path))
    }

    /// Waits for the disk, so that a rename cannot outlive the contents.
    fn finish(self) -> Result<()> {
        let file = self.file.into_inner().map_err(|error| Error::io(&self.path)(error.into_error()))?;
        file.sync_all().map_err(Error::io(&self.path))
    }
}
