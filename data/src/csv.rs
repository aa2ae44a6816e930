//! A CSV or TSV file with a path and a caption column, the format of CyCLIP, CleanCLIP and RoCLIP.
//!
//! Images are regular files below one folder; a path that leads out of it (absolute, by `..`, or
//! through a link) is a bad row. `csv/records.rs` splits lines into records; `csv/header.rs` checks
//! the kind of the file and finds its columns. `index.rs` stores the rows.

mod header;
mod records;
#[cfg(test)]
mod tests;

pub use crate::config::{Csv, Quoting};

use crate::decode::image;
use crate::intake::{caption, changed, read_span, seen, stamp};
use crate::ordered::ordered;
use crate::rows::{Loss, Why};
use crate::source::{Entry, Row, Source, Stamp};
use crate::{BadRow, ClassFile, Error, Progress, Result, regular};
use header::Columns;
use records::{Record, Records};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

impl Csv {
    /// Finds the columns; reads no row.
    ///
    /// # Errors
    /// If the table cannot be read or lacks a column, the root is not a folder, or the class file
    /// cannot be used.
    pub fn open(&self) -> Result<impl Source + use<>> {
        if self.path.as_os_str().is_empty() {
            return Err(Error::invalid("path", "it is empty; set it to a CSV or TSV file"));
        }
        let root = match self.root.as_os_str().is_empty() {
            true => self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")),
            false => &self.root,
        };
        let delimiter = self.delimiter()?;
        Ok(Table {
            config: self.clone(),
            root: root.canonicalize().map_err(Error::io(root))?,
            delimiter,
            columns: Columns::find(self, delimiter)?,
            stamp: stamp(&self.path).map_err(Error::io(&self.path))?,
            class_file: ClassFile::read_if_named(&self.class_file)?,
            backslashes: AtomicU64::new(0),
        })
    }

    fn delimiter(&self) -> Result<u8> {
        match self.delimiter.as_bytes() {
            b"tab" | b"\\t" => Ok(b'\t'),
            [byte] => Ok(*byte),
            _ => Err(Error::invalid("delimiter", format!("`{}` is neither one character nor \"tab\"", self.delimiter))),
        }
    }
}

/// A table, opened.
struct Table {
    config: Csv,
    /// Absolute, with links resolved.
    root: PathBuf,
    delimiter: u8,
    columns: Columns,
    /// Size and time of the table.
    stamp: String,
    class_file: Option<ClassFile>,
    /// Paths with Windows separators that a scan has found.
    backslashes: AtomicU64,
}

/// File extensions of images.
const ENDINGS: [&str; 14] =
    ["jpg", "jpeg", "jpe", "jfif", "png", "gif", "bmp", "webp", "tif", "tiff", "avif", "heic", "jp2", "svg"];

impl Table {
    fn entry(&self, (line, fields): &Record) -> Result<Entry, Why> {
        if fields.len() != self.columns.count {
            return Err(format!("it has {} fields and the table {} columns", fields.len(), self.columns.count).into());
        }
        let columns = [Some(self.columns.path), Some(self.columns.caption), self.columns.class];
        if columns.into_iter().flatten().any(|column| fields[column].contains(&0)) {
            return Err(String::from("it has a zero byte in it").into());
        }
        let caption = caption(&fields[self.columns.caption])?;
        let label = self.columns.class.map(|column| String::from_utf8_lossy(fields[column].trim_ascii()).into_owned());
        let path = std::str::from_utf8(&fields[self.columns.path])
            .map_err(|error| format!("its path is not UTF-8: {error}"))?;
        let unreadable = |why: String| Loss::UnreadableImage.because(format!("image `{path}` {why}"));
        let place = self.place(path);
        let about = place.metadata().map_err(|error| unreadable(format!("cannot be read: {error}")))?;
        let size = u32::try_from(about.len()).map_err(|_| unreadable(format!("has {} bytes", about.len())))?;
        if place != self.root.join(path) {
            self.backslashes.fetch_add(1, Ordering::Relaxed);
        }
        let label = label.filter(|label| !label.is_empty());
        Ok(Entry { key: path.into(), caption, label, file: 0, start: *line, size, seen: seen(&about) })
    }

    /// The place of an image. A path with Windows separators is read with `/`, unless a file has
    /// exactly that name.
    fn place(&self, path: &str) -> PathBuf {
        let literal = self.root.join(path);
        match path.contains('\\') && !literal.exists() {
            true => self.root.join(path.replace('\\', "/")),
            false => literal,
        }
    }

    /// Whether a field looks like the path of an image: by its extension, or because such a file
    /// exists.
    fn names_image(&self, field: &[u8]) -> bool {
        let Ok(path) = std::str::from_utf8(field) else { return false };
        let path = path.trim().trim_matches('"');
        let ending = path.rsplit_once('.').map(|(_, ending)| ending.to_lowercase());
        ending.is_some_and(|ending| ENDINGS.contains(&ending.as_str()))
            || (!path.is_empty() && self.place(path).is_file())
    }

    /// Size and time of a record's image, or why there is none.
    fn seen(&self, (_, fields): &Record) -> String {
        let path = fields.get(self.columns.path).map(|path| std::str::from_utf8(path).map(|path| self.place(path)));
        match path {
            Some(Ok(path)) => stamp(&path).unwrap_or_else(|error| error.kind().to_string()),
            _ => String::new(),
        }
    }

    /// Links and `..` are resolved before the path is checked.
    fn read_image(&self, row: &Row) -> Result<Vec<u8>, String> {
        let real = self.place(row.key).canonicalize().map_err(|error| error.to_string())?;
        if !real.starts_with(&self.root) {
            return Err(format!("it is outside the folder {}", self.root.display()));
        }
        let file = regular::open(&real).map_err(|error| error.to_string())?;
        let about = file.metadata().map_err(|error| error.to_string())?;
        if about.len() != u64::from(row.size) {
            return Err(format!("it has {} bytes, and had {} when the table was indexed", about.len(), row.size));
        }
        read_span(&file, 0, about.len())
    }

    fn line_name(&self, line: u64) -> String {
        format!("{}:{line}", self.config.path.file_name().unwrap_or_default().to_string_lossy())
    }
}

/// Records that one thread takes at a time.
const CHUNK: usize = 1024;

impl Source for Table {
    /// Of the table alone: [`Source::stamps`] covers the images, one by one.
    fn fingerprint(&self) -> String {
        format!("{} {:?}", self.stamp, self.class_file)
    }

    fn scan(
        &self,
        threads: usize,
        progress: &dyn Progress,
        each: &mut dyn FnMut(Result<Entry, BadRow>) -> Result<()>,
    ) -> Result<()> {
        let mut records = Records::rows(self)?;
        let row = |record: &Record| self.entry(record).map_err(|why| BadRow::new(self.line_name(record.0), why));
        let work = |chunk: Result<Vec<Record>>| Ok::<_, Error>(chunk?.iter().map(row).collect::<Vec<_>>());
        let mut done = 0;
        ordered(std::iter::from_fn(|| records.chunk(CHUNK)), vec![work; threads], |rows| {
            let rows = rows?;
            done += rows.len() as u64;
            progress.report("index", done, done, "rows");
            rows.into_iter().try_for_each(&mut *each)
        })?;
        if done == 0 {
            return Err(Error::invalid(self.config.path.display(), "there is no row below its header"));
        }
        let backslashes = self.backslashes.swap(0, Ordering::Relaxed);
        if backslashes > 0 {
            let table = self.config.path.display();
            progress.tell(&format!("{table}: {backslashes} paths have `\\` between folders and are read with `/`"));
        }
        Ok(())
    }

    fn stamps(&self, threads: usize, progress: &dyn Progress, each: &mut dyn FnMut(Stamp) -> Result<()>) -> Result<()> {
        let mut records = Records::rows(self)?;
        let look = |record: &Record| Stamp { file: 0, start: record.0, seen: self.seen(record) };
        let work = |chunk: Result<Vec<Record>>| Ok::<_, Error>(chunk?.iter().map(look).collect::<Vec<_>>());
        let mut done = 0;
        ordered(std::iter::from_fn(|| records.chunk(CHUNK)), vec![work; threads], |stamps| {
            let stamps = stamps?;
            done += stamps.len() as u64;
            progress.report("files", done, done, "images checked");
            stamps.into_iter().try_for_each(&mut *each)
        })
    }

    fn image(&self, row: &Row, size: u32) -> Result<Vec<u8>, String> {
        let bytes = self.read_image(row).map_err(|why| format!("image `{}`: {why}", row.key))?;
        image(&bytes, size)
    }

    fn check_unchanged(&self, row: &Row) -> Result<()> {
        let path = self.place(row.key);
        match path.metadata() {
            Ok(about) if seen(&about) == row.seen => Ok(()),
            _ => Err(changed(&path)),
        }
    }

    fn name(&self, row: &Row) -> String {
        self.line_name(row.start)
    }

    fn classes(&self) -> Result<Option<ClassFile>> {
        Ok(self.class_file.clone())
    }

    fn max_bad(&self) -> f64 {
        self.config.max_bad
    }
}
