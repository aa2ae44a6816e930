//! A CSV or TSV file with a path and a caption column, as CyCLIP, CleanCLIP and RoCLIP read.
//!
//! Pictures are plain files below one folder; a path that leads out of it (absolute, by `..`, or through a link) is a bad
//! row. `data/index.rs` says where the rows go.

use super::canvas::intake::{caption, class_file, read_span, stamp};
use super::canvas::picture;
use super::index::Row;
use super::ordered::ordered;
use super::rows::{Loss, Why};
use super::{BadRow, ClassFile, Entry, Source};
use crate::{Error, Progress, Result};
use ::csv::{ByteRecord, Position, Reader, ReaderBuilder};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::path::{Path, PathBuf};

/// A table of picture paths and captions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Csv {
    /// The table; its first line names the columns.
    pub path: PathBuf,
    /// Column of picture paths, relative to `root`.
    pub path_column: String,
    /// Column of captions.
    pub caption_column: String,
    /// Column of class labels; empty for none. Without labels nothing can be held out.
    pub class_column: String,
    /// What separates the columns: one character, or "tab".
    pub delimiter: String,
    /// Folder that holds every picture; empty for the table's own folder.
    pub root: PathBuf,
    /// JSON file of class names and prompt templates; empty to let the labels name themselves.
    pub class_file: PathBuf,
    /// Share of rows that may be unusable (missing, corrupt, without caption, ..) before the data set is refused.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub max_bad: f64,
}

impl Default for Csv {
    fn default() -> Self {
        let (path, class_column, root, class_file) = Default::default();
        let (path_column, caption_column) = ("image".into(), "caption".into());
        Csv { path, path_column, caption_column, class_column, delimiter: ",".into(), root, class_file, max_bad: 0.01 }
    }
}

impl Csv {
    /// Finds the columns; reads no row.
    ///
    /// # Errors
    /// If the table cannot be read or lacks a column, the root is no folder, or the class file cannot be used.
    pub fn open(&self) -> Result<impl Source + use<>> {
        if self.path.as_os_str().is_empty() {
            return Err(Error::invalid("path", "it names no table"));
        }
        let root = match self.root.as_os_str().is_empty() {
            true => self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")),
            false => &self.root,
        };
        let mut table = Table {
            config: self.clone(),
            root: root.canonicalize().map_err(Error::io(root))?,
            delimiter: self.delimiter()?,
            columns: Columns::default(),
            stamp: stamp(&self.path).map_err(Error::io(&self.path))?,
            class_file: class_file(&self.class_file)?,
        };
        table.columns = table.find_columns(&table.records()?.header)?;
        Ok(table)
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
    /// Absolute, without links.
    root: PathBuf,
    delimiter: u8,
    columns: Columns,
    /// Size and time of the table.
    stamp: String,
    class_file: Option<ClassFile>,
}

/// Where the columns are, and how many a record must have.
#[derive(Default)]
struct Columns {
    count: usize,
    path: usize,
    caption: usize,
    class: Option<usize>,
}

/// The records of a table, one after the other.
struct Records<'a> {
    table: &'a Table,
    reader: Reader<File>,
    header: ByteRecord,
}

/// One record and the line it starts on.
type Record = (u64, ByteRecord);

impl Records<'_> {
    /// The next record.
    ///
    /// A quote that is never closed swallows the lines after it. Where that leaves a record with the wrong number of
    /// fields over several lines, only its first line is taken to be bad, and reading goes on with the next.
    fn read(&mut self) -> Result<Option<Record>> {
        let mut fields = ByteRecord::new();
        if !self.reader.read_byte_record(&mut fields).map_err(|error| self.table.error(error))? {
            return Ok(None);
        }
        let (start, line) = fields.position().map_or((0, 1), |position| (position.byte(), position.line()));
        if fields.len() == self.header.len() || self.reader.position().line() <= line + 1 {
            return Ok(Some((line, fields)));
        }
        let path = &self.table.config.path;
        let file = File::open(path).map_err(Error::io(path))?;
        let text = read_span(&file, start, self.reader.position().byte() - start)
            .map_err(|why| Error::invalid(format!("{} line {line}", path.display()), why))?;
        if let Some(first) = text.iter().position(|&byte| byte == b'\n') {
            let mut next = Position::new();
            next.set_byte(start + first as u64 + 1).set_line(line + 1);
            self.reader.seek(next).map_err(|error| self.table.error(error))?;
        }
        Ok(Some((line, fields)))
    }

    /// Up to `count` records; none at the end.
    fn chunk(&mut self, count: usize) -> Option<Result<Vec<Record>>> {
        let mut chunk = Vec::new();
        while chunk.len() < count {
            match self.read() {
                Ok(Some(record)) => chunk.push(record),
                Ok(None) => break,
                Err(error) => return Some(Err(error)),
            }
        }
        (!chunk.is_empty()).then_some(Ok(chunk))
    }
}

impl Table {
    fn records(&self) -> Result<Records<'_>> {
        let file = File::open(&self.config.path).map_err(Error::io(&self.config.path))?;
        let mut reader =
            ReaderBuilder::new().delimiter(self.delimiter).has_headers(false).flexible(true).from_reader(file);
        let mut header = ByteRecord::new();
        reader.read_byte_record(&mut header).map_err(|error| self.error(error))?;
        Ok(Records { table: self, reader, header })
    }

    fn error(&self, error: ::csv::Error) -> Error {
        match error.into_kind() {
            ::csv::ErrorKind::Io(error) => Error::io(&self.config.path)(error),
            other => Error::invalid(self.config.path.display().to_string(), format!("{other:?}")),
        }
    }

    fn find_columns(&self, header: &ByteRecord) -> Result<Columns> {
        let known: Vec<String> = header.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
        let find = |key: &str, name: &String| {
            let unknown = || Error::Unknown { kind: "column", name: name.clone(), known: known.clone() };
            let column = known.iter().position(|column| column == name).ok_or_else(unknown);
            column.map_err(|error| error.during(format!("{key} of {}", self.config.path.display())))
        };
        let class = (!self.config.class_column.is_empty()).then(|| find("class_column", &self.config.class_column));
        Ok(Columns {
            count: known.len(),
            path: find("path_column", &self.config.path_column)?,
            caption: find("caption_column", &self.config.caption_column)?,
            class: class.transpose()?,
        })
    }

    fn entry(&self, (line, fields): &Record) -> Result<Entry, Why> {
        if fields.len() != self.columns.count {
            return Err(format!("it has {} fields and the table {} columns", fields.len(), self.columns.count).into());
        }
        let caption = caption(&fields[self.columns.caption])?;
        let label = self.columns.class.map(|column| String::from_utf8_lossy(fields[column].trim_ascii()).into_owned());
        let path = std::str::from_utf8(&fields[self.columns.path])
            .map_err(|error| format!("its path is not UTF-8: {error}"))?;
        let unreadable = |why: String| Loss::UnreadableImage.because(format!("picture `{path}` {why}"));
        let about = self.root.join(path).metadata().map_err(|error| unreadable(format!("cannot be read: {error}")))?;
        let size = u32::try_from(about.len()).map_err(|_| unreadable(format!("has {} bytes", about.len())))?;
        let label = label.filter(|label| !label.is_empty());
        Ok(Entry { key: path.into(), caption, label, file: 0, start: *line, size })
    }

    /// Links and `..` are resolved before the path is judged.
    fn read_picture(&self, row: &Row) -> Result<Vec<u8>, String> {
        let real = self.root.join(row.key).canonicalize().map_err(|error| error.to_string())?;
        if !real.starts_with(&self.root) {
            return Err(format!("it lies outside the folder {}", self.root.display()));
        }
        let about = real.metadata().map_err(|error| error.to_string())?;
        if !about.is_file() {
            return Err("it is not a file".into());
        }
        if about.len() != u64::from(row.size) {
            return Err(format!("it has {} bytes, and had {} when the table was indexed", about.len(), row.size));
        }
        let file = File::open(&real).map_err(|error| error.to_string())?;
        read_span(&file, 0, about.len())
    }

    fn line_name(&self, line: u64) -> String {
        format!("{}:{line}", self.config.path.file_name().unwrap_or_default().to_string_lossy())
    }
}

/// Records that one thread takes at a time.
const CHUNK: usize = 1024;

impl Source for Table {
    /// Pictures are not looked at one by one, which would take long where there are millions: [`Source::changed`] tells.
    fn fingerprint(&self) -> String {
        format!("{} {:?}", self.stamp, self.class_file)
    }

    fn scan(
        &self,
        threads: usize,
        progress: &dyn Progress,
        each: &mut dyn FnMut(Result<Entry, BadRow>) -> Result<()>,
    ) -> Result<()> {
        let mut records = self.records()?;
        let row = |record: &Record| self.entry(record).map_err(|why| BadRow::new(self.line_name(record.0), why));
        let work = |chunk: Result<Vec<Record>>| Ok::<_, Error>(chunk?.iter().map(row).collect::<Vec<_>>());
        let mut done = 0;
        ordered(std::iter::from_fn(|| records.chunk(CHUNK)), vec![work; threads], |rows| {
            let rows = rows?;
            done += rows.len() as u64;
            progress.report("index", done, done, "rows");
            rows.into_iter().try_for_each(&mut *each)
        })
    }

    fn picture(&self, row: &Row, size: u32) -> Result<Vec<u8>, String> {
        let bytes = self.read_picture(row).map_err(|why| format!("picture `{}`: {why}", row.key))?;
        picture(&bytes, size)
    }

    fn name(&self, row: &Row) -> String {
        self.line_name(row.start)
    }

    fn changed(&self, row: &Row) -> bool {
        let about = self.root.join(row.key).metadata();
        !about.is_ok_and(|about| about.len() == u64::from(row.size))
    }

    fn classes(&self) -> Result<Option<ClassFile>> {
        Ok(self.class_file.clone())
    }

    fn max_bad(&self) -> f64 {
        self.config.max_bad
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::data::{DataConfig, Dataset, index::Index};
    use crate::progress::Silent;
    use std::fs;

    /// A folder `pictures` with `a.png`, a picture outside of it, a link to that, and a table.
    fn table(text: &str) -> (tempfile::TempDir, Csv) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("pictures");
        fs::create_dir(&root).unwrap();
        image::RgbImage::new(5, 4).save(root.join("a.png")).unwrap();
        fs::copy(root.join("a.png"), folder.path().join("outside.png")).unwrap();
        std::os::unix::fs::symlink(folder.path().join("outside.png"), root.join("link.png")).unwrap();
        let path = root.join("table.csv");
        fs::write(&path, text.replace("ROOT", root.to_str().unwrap())).unwrap();
        (folder, Csv { path, class_column: "class".into(), ..Default::default() })
    }

    /// Rows as `line = caption [label]`, bad ones as `name! why`; pictures are read.
    fn rows(config: &Csv) -> Vec<String> {
        let (store, config) = (tempfile::tempdir().unwrap(), DataConfig::Csv(Csv { max_bad: 1.0, ..config.clone() }));
        let source = config.open().unwrap();
        let mut rows = Vec::new();
        let scanned = source.scan(2, &Silent, &mut |row| {
            rows.push(row.map_err(|bad| format!("{}! {}", bad.name, bad.why)));
            Ok(())
        });
        scanned.unwrap();
        let index = Index::open(&*source, &config, store.path(), &Silent);
        let (index, mut number) = (index.ok(), 0);
        let mut show = |row: Entry| {
            let found = index.as_ref().unwrap().row(number);
            number += 1;
            match source.picture(&found, 8) {
                Ok(_) => format!("{} = {} {:?}", source.name(&found), row.caption, row.label),
                Err(why) => format!("{}! {why}", source.name(&found)),
            }
        };
        rows.into_iter().map(|row| row.map_or_else(|bad| bad, &mut show)).collect()
    }

    #[test]
    fn rows_come_from_named_columns_whatever_their_order() {
        let (_folder, config) = table("\u{feff}class\timage\tcaption\ncat\ta.png\t\"one\ntwo\"\n\tROOT/a.png\tthree\n");
        let config = Csv { delimiter: "tab".into(), ..config };
        assert_eq!(rows(&config), ["table.csv:2 = one\ntwo Some(\"cat\")", "table.csv:4 = three None"]);
    }

    #[test]
    fn pictures_outside_the_folder_and_missing_ones_are_bad_rows() {
        let lines = "../outside.png,a,\nROOT/../outside.png,b,\nlink.png,c,\nnone.png,d,\n.,e,\n../pictures/a.png,f,\n";
        let (_folder, config) = table(&format!("image,caption,class\n{lines}"));
        let found = rows(&config);
        let reasons = ["outside", "outside", "outside", "No such file", "not a file", "= f"];
        for (row, reason) in found.iter().zip(reasons) {
            assert!(row.contains(reason), "{row} should say `{reason}`");
        }
        assert_eq!(found.len(), reasons.len());
    }

    #[test]
    fn ragged_lines_and_stray_quotes_cost_only_their_own_rows() {
        let (_folder, config) = table("image,caption,class\na.png,one\na.png,\"two\na.png,three,\na.png,four,\n");
        let found = rows(&config);
        let expected = ["table.csv:4 = three None", "table.csv:5 = four None"];
        assert!(found[0].contains("2 fields") && found[1].contains("2 fields"), "{found:?}");
        assert_eq!(found[2..], expected);
    }

    #[test]
    fn a_missing_column_is_named_with_those_there_are() {
        let (_folder, config) = table("image,title,class\n");
        let message = config.open().err().unwrap().chain();
        assert!(message.contains("table.csv") && message.contains("image, title, class"), "{message}");
    }

    #[test]
    fn a_picture_that_changed_after_the_table_was_indexed_is_told() {
        let (folder, config) = table("image,caption,class\na.png,one,\n");
        let (store, config) = (tempfile::tempdir().unwrap(), DataConfig::Csv(config));
        let open = || Dataset::open(&config, 8, u64::MAX, store.path(), &Silent);
        assert!(open().is_ok() && open().is_ok());
        image::RgbImage::new(60, 40).save(folder.path().join("pictures/a.png")).unwrap();
        let message = open().err().unwrap().chain();
        assert!(message.contains("table.csv:2") && message.contains("delete"), "{message}");
    }
}
