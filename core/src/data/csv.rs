//! A CSV or TSV file with a path and a caption column, as CyCLIP, CleanCLIP and RoCLIP read: an index of where the records
//! start, and each record read again when its row is.
//!
//! Pictures are plain files below one folder; a path that leads out of it (absolute, by `..`, or through a link) is a bad
//! row. `data/canvas.rs` says what happens to the rows.

use super::canvas::intake::{caption, class_file, read_span, stamp};
use super::canvas::picture;
use super::{BadRow, ClassFile, Pair, Source};
use crate::{Error, Result};
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
    /// Indexes the table and looks at every picture's size and time, but opens none.
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
        let file = File::open(&self.path).map_err(Error::io(&self.path))?;
        let mut table = Table {
            config: self.clone(),
            root: root.canonicalize().map_err(Error::io(root))?,
            delimiter: self.delimiter()?,
            columns: Columns::default(),
            records: Vec::new(),
            stamps: blake3::hash(stamp(&self.path).map_err(Error::io(&self.path))?.as_bytes()),
            class_file: class_file(&self.class_file)?,
            file,
        };
        table.index()?;
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

/// A table with its index.
struct Table {
    config: Csv,
    /// Absolute, without links.
    root: PathBuf,
    delimiter: u8,
    file: File,
    columns: Columns,
    records: Vec<Record>,
    /// Hash of size and time of the table and of every picture.
    stamps: blake3::Hash,
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

/// Where a record lies.
struct Record {
    start: u64,
    end: u64,
    line: u64,
}

impl Table {
    /// Finds columns and records.
    fn index(&mut self) -> Result<()> {
        let file = File::open(&self.config.path).map_err(Error::io(&self.config.path))?;
        let mut reader = self.reader(file);
        let mut fields = ByteRecord::new();
        let mut stamps = blake3::Hasher::new();
        stamps.update(self.stamps.as_bytes());
        self.read_record(&mut reader, &mut fields)?;
        self.columns = self.find_columns(&fields)?;
        while let Some(record) = self.read_record(&mut reader, &mut fields)? {
            let record = self.resume_after_stray_quote(&mut reader, &fields, record)?;
            if let Some(Ok(path)) = fields.get(self.columns.path).map(std::str::from_utf8) {
                // A missing picture has its place in the fingerprint too: it may turn up.
                let stamp = stamp(&self.root.join(path)).unwrap_or_else(|error| error.kind().to_string());
                stamps.update(stamp.as_bytes()).update(b"\n");
            }
            self.records.push(record);
        }
        self.stamps = stamps.finalize();
        Ok(())
    }

    fn reader<R: std::io::Read>(&self, from: R) -> Reader<R> {
        ReaderBuilder::new().delimiter(self.delimiter).has_headers(false).flexible(true).from_reader(from)
    }

    fn read_record(&self, reader: &mut Reader<File>, fields: &mut ByteRecord) -> Result<Option<Record>> {
        let found = reader.read_byte_record(fields).map_err(|error| self.table_error(error))?;
        let start = fields.position().map_or((0, 1), |position| (position.byte(), position.line()));
        Ok(found.then(|| Record { start: start.0, end: reader.position().byte(), line: start.1 }))
    }

    fn table_error(&self, error: ::csv::Error) -> Error {
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

    /// A quote that is never closed swallows the lines after it. Where that leaves a record with the wrong number of
    /// fields over several lines, only its first line is taken to be bad, and reading goes on with the next.
    fn resume_after_stray_quote(
        &self,
        reader: &mut Reader<File>,
        fields: &ByteRecord,
        record: Record,
    ) -> Result<Record> {
        if fields.len() == self.columns.count || reader.position().line() <= record.line + 1 {
            return Ok(record);
        }
        let size = record.end - record.start;
        let text = read_span(&self.file, record.start, size)
            .map_err(|why| Error::invalid(format!("{} line {}", self.config.path.display(), record.line), why))?;
        let Some(first) = text.iter().position(|&byte| byte == b'\n') else { return Ok(record) };
        let mut next = Position::new();
        next.set_byte(record.start + first as u64 + 1).set_line(record.line + 1);
        reader.seek(next.clone()).map_err(|error| self.table_error(error))?;
        Ok(Record { end: next.byte(), ..record })
    }

    fn pair(&self, record: &Record, name: String, size: u32) -> Result<Pair, String> {
        let text = read_span(&self.file, record.start, record.end - record.start)?;
        let mut fields = ByteRecord::new();
        self.reader(text.as_slice()).read_byte_record(&mut fields).map_err(|error| error.to_string())?;
        if fields.len() != self.columns.count {
            return Err(format!("it has {} fields and the table {} columns", fields.len(), self.columns.count));
        }
        let caption = caption(&fields[self.columns.caption])?;
        let label = self.columns.class.map(|column| String::from_utf8_lossy(fields[column].trim_ascii()).into_owned());
        let label = label.filter(|label| !label.is_empty());
        let path = std::str::from_utf8(&fields[self.columns.path])
            .map_err(|error| format!("its path is not UTF-8: {error}"))?;
        let bytes = self.read_picture(path).map_err(|why| format!("picture `{path}`: {why}"))?;
        let source_hash = *blake3::hash(&bytes).as_bytes();
        Ok(Pair { name, caption, label, canvas: picture(&bytes, size)?, source_hash })
    }

    /// Links and `..` are resolved before the path is judged.
    fn read_picture(&self, path: &str) -> Result<Vec<u8>, String> {
        let real = self.root.join(path).canonicalize().map_err(|error| error.to_string())?;
        if !real.starts_with(&self.root) {
            return Err(format!("it lies outside the folder {}", self.root.display()));
        }
        let about = real.metadata().map_err(|error| error.to_string())?;
        if !about.is_file() {
            return Err("it is not a file".into());
        }
        let file = File::open(&real).map_err(|error| error.to_string())?;
        read_span(&file, 0, about.len())
    }
}

impl Source for Table {
    fn len(&self) -> usize {
        self.records.len()
    }

    fn fingerprint(&self) -> String {
        format!("{} {:?}", self.stamps, self.class_file)
    }

    fn read(&self, row: usize, size: u32) -> Result<Pair, BadRow> {
        let record = &self.records[row];
        let table = self.config.path.file_name().unwrap_or_default().to_string_lossy();
        let name = format!("{table}:{}", record.line);
        self.pair(record, name.clone(), size).map_err(|why| BadRow { name, why })
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

    fn rows(config: &Csv) -> Vec<String> {
        let source = config.open().unwrap();
        let show = |row| match source.read(row, 8) {
            Ok(pair) => format!("{} = {} {:?}", pair.name, pair.caption, pair.label),
            Err(bad) => format!("{}! {}", bad.name, bad.why),
        };
        (0..source.len()).map(show).collect()
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
    fn a_changed_picture_changes_the_fingerprint() {
        let (folder, config) = table("image,caption,class\na.png,one,\n");
        let before = config.open().unwrap().fingerprint();
        image::RgbImage::new(6, 4).save(folder.path().join("pictures/a.png")).unwrap();
        assert_ne!(before, config.open().unwrap().fingerprint());
    }
}
