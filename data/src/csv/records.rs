//! The records of a table, read a line at a time.
//!
//! A CSV parser accepts almost anything: an unclosed quote turns the rest of a table, or fifty rows
//! of it up to the next quote, into one caption. csv-core, fed a line at a time, shows which quotes
//! are still open at the end of a line. A quoted field may span several lines, but not if (1) it
//! never closes, (2) a line of it is a complete row, or (3) text follows its closing quote: then
//! the table is refused, with the line of the opening quote.

use super::{Columns, Table};
use crate::config::{Csv, Quoting};
use crate::{Error, Result, regular};
use ::csv::ByteRecord;
use csv_core::{ReadRecordResult, Reader, ReaderBuilder, Terminator};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::ops::Range;

/// Maximum size of one record in bytes: a table with broken quotes or line ends must not be read
/// into memory.
const MAX_RECORD: usize = 16 << 20;

/// The remedy for a refused quote.
const CURE: &str =
    "close it, and double a quote that is meant; or set `quoting = \"none\"`, if quotes are plain characters here";

/// The records of a table, one after the other.
pub(super) struct Records<'a> {
    config: &'a Csv,
    delimiter: u8,
    /// Known once the header has been read: only then can a line be recognised as a row.
    rows: Option<&'a Table>,
    input: BufReader<File>,
    parser: Reader,
    /// The last line read, and its number from 1 on.
    text: Vec<u8>,
    line: u64,
    fields: Fields,
}

/// One record and the number of its first line.
pub(super) type Record = (u64, ByteRecord);

/// Fields of a record as csv-core writes them: their bytes, and the end of each.
#[derive(Default)]
struct Fields {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    /// The filled lengths of both.
    filled: (usize, usize),
}

impl<'a> Records<'a> {
    /// Starts at the header.
    pub(super) fn open(config: &'a Csv, delimiter: u8) -> Result<Self> {
        let file = regular::open(&config.path).map_err(Error::io(&config.path))?;
        let mut parser = ReaderBuilder::new();
        // A line ends with its line feed: a lone carriage return is white space in a caption.
        parser.delimiter(delimiter).terminator(Terminator::Any(b'\n')).quoting(config.quoting == Quoting::Double);
        Ok(Records {
            config,
            delimiter,
            rows: None,
            input: BufReader::with_capacity(1 << 16, file),
            parser: parser.build(),
            text: Vec::new(),
            line: 0,
            fields: Fields::default(),
        })
    }

    /// Starts at the first row.
    pub(super) fn rows(table: &'a Table) -> Result<Self> {
        let mut records = Records::open(&table.config, table.delimiter)?;
        records.read()?;
        records.rows = Some(table);
        Ok(records)
    }

    /// The first bytes that have not been read.
    pub(super) fn ahead(&mut self) -> Result<&[u8]> {
        self.input.fill_buf().map_err(Error::io(&self.config.path))
    }

    /// The next record; `None` at the end. Empty lines are skipped.
    pub(super) fn read(&mut self) -> Result<Option<Record>> {
        let mut start = 0;
        // The line of the opening quote that is open now.
        let mut open: Option<u64> = None;
        while self.next_line()? {
            if open.is_none() {
                if self.text.iter().all(|byte| matches!(byte, b'\r' | b'\n')) {
                    continue;
                }
                start = self.line;
            }
            let ended = self.fields.take(&mut self.parser, &self.text);
            if open.is_some() || !ended {
                open = self.quote(open, ended)?;
            }
            if ended {
                return Ok(Some((start, self.fields.record())));
            }
            if self.fields.filled.0 > MAX_RECORD {
                return Err(self.refuse(open.unwrap_or(start), format!("it is still open after {MAX_RECORD} bytes")));
            }
        }
        open.map_or(Ok(None), |line| Err(self.refuse(line, "it never closes".into())))
    }

    /// Up to `count` records; `None` at the end.
    pub(super) fn chunk(&mut self, count: usize) -> Option<Result<Vec<Record>>> {
        let chunk: Result<Vec<Record>> = std::iter::from_fn(|| self.read().transpose()).take(count).collect();
        match chunk {
            Ok(chunk) if chunk.is_empty() => None,
            chunk => Some(chunk),
        }
    }

    /// Reads a line, which then ends with a line feed; false at the end.
    fn next_line(&mut self) -> Result<bool> {
        self.text.clear();
        let mut line = (&mut self.input).take(MAX_RECORD as u64);
        let read = line.read_until(b'\n', &mut self.text).map_err(Error::io(&self.config.path))?;
        self.line += 1;
        if read == MAX_RECORD {
            return Err(
                self.error(self.line, format!("it has more than {MAX_RECORD} bytes; is it the line of a table?"))
            );
        }
        if read > 0 && self.text.last() != Some(&b'\n') {
            self.text.push(b'\n');
        }
        Ok(read > 0)
    }

    /// Checks a line with an open quote at its start or end. Returns the line of the quote that is
    /// open at its end.
    fn quote(&self, open: Option<u64>, ended: bool) -> Result<Option<u64>> {
        let mut from = 0;
        if let Some(opened) = open {
            let close = closing(&self.text, 0);
            let inside = 0..close.unwrap_or(self.text.len());
            if self.is_row(inside) {
                return Err(self.refuse(opened, format!("line {}, before it closes, is a complete row", self.line)));
            }
            let Some(close) = close else { return Ok(open) };
            if ![self.delimiter, b'\r', b'\n'].contains(&self.text[close + 1]) {
                return Err(self.refuse(opened, format!("text follows the quote that closes it on line {}", self.line)));
            }
            from = close + 1;
        }
        if ended {
            return Ok(None);
        }
        let at = self.opening(from);
        match self.is_row(at..self.text.len()) {
            true => Err(self.refuse(self.line, "this line is a complete row".into())),
            false => Ok(Some(self.line)),
        }
    }

    /// The place of the quote that is open at the end of the line. No quote is open at `from`,
    /// where a field starts or has just closed.
    fn opening(&self, mut from: usize) -> usize {
        loop {
            let quoted = self.text.get(from) == Some(&b'"');
            let after = match quoted.then(|| closing(&self.text, from + 1)) {
                Some(None) => return from,
                Some(Some(close)) => close,
                None => from,
            };
            match self.text[after..].iter().position(|byte| *byte == self.delimiter) {
                Some(next) => from = after + next + 1,
                None => return after,
            }
        }
    }

    /// Whether the line is a row if its quotes are plain characters: it has as many fields as the
    /// table, and its path field is `inside` the quote and names an image.
    fn is_row(&self, inside: Range<usize>) -> bool {
        let Some(table) = self.rows else { return false };
        let Columns { count, path, .. } = table.columns;
        let line = self.text.trim_ascii_end();
        let fields: Vec<&[u8]> = line.split(|byte| *byte == self.delimiter).collect();
        if fields.len() != count {
            return false;
        }
        let start = fields[..path].iter().map(|field| field.len() + 1).sum();
        let end = start + fields[path].len();
        inside.start <= start && end <= inside.end && table.names_image(fields[path])
    }

    fn refuse(&self, line: u64, why: String) -> Error {
        self.error(line, format!("a quote opens here and {why}; {CURE}"))
    }

    fn error(&self, line: u64, why: String) -> Error {
        Error::invalid(format!("{}, line {line}", self.config.path.display()), why)
    }
}

impl Fields {
    /// Feeds a line to the parser; whether the record ended with it.
    fn take(&mut self, parser: &mut Reader, line: &[u8]) -> bool {
        let (bytes, ends) = self.filled;
        // One byte more than needed: a parser that has filled its buffer asks for more.
        self.bytes.resize(bytes + line.len() + 1, 0);
        self.ends.resize(ends + line.len() + 1, 0);
        let (result, _, written, ended) = parser.read_record(line, &mut self.bytes[bytes..], &mut self.ends[ends..]);
        self.filled = (bytes + written, ends + ended);
        result == ReadRecordResult::Record
    }

    /// The record that ended, without the carriage return of its last line.
    fn record(&mut self) -> ByteRecord {
        let (bytes, count) = std::mem::take(&mut self.filled);
        let mut record = ByteRecord::with_capacity(bytes, count);
        let mut start = 0;
        for (number, end) in self.ends[..count].iter().enumerate() {
            let field = &self.bytes[start..*end];
            record.push_field(if number + 1 == count { field.strip_suffix(b"\r").unwrap_or(field) } else { field });
            start = *end;
        }
        record
    }
}

/// The place of the quote that closes the field, in a line where `from` is inside a quoted field. A
/// doubled quote closes nothing.
fn closing(line: &[u8], mut from: usize) -> Option<usize> {
    loop {
        let quote = from + line[from..].iter().position(|byte| *byte == b'"')?;
        if line.get(quote + 1) != Some(&b'"') {
            return Some(quote);
        }
        from = quote + 2;
    }
}
