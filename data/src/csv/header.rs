//! The first line of a table: checks that the file is a readable table, and finds its columns.

use super::records::Records;
use crate::config::{Csv, Quoting};
use crate::intake::wide;
use crate::{Error, Result};
use ::csv::ByteRecord;

/// The columns, and the number of fields that a record must have.
#[derive(Clone, Copy)]
pub(super) struct Columns {
    pub(super) count: usize,
    pub(super) path: usize,
    pub(super) caption: usize,
    pub(super) class: Option<usize>,
}

impl Columns {
    /// Finds the columns that the configuration names.
    ///
    /// # Errors
    /// If the file is not a table, or a column is missing or not unique.
    pub(super) fn find(config: &Csv, delimiter: u8) -> Result<Self> {
        let mut records = Records::open(config, delimiter)?;
        let place = || config.path.display().to_string();
        look(records.ahead()?).map_err(|why| Error::invalid(place(), why))?;
        let (_, header) = records.read()?.ok_or_else(|| Error::invalid(place(), "the table is empty"))?;
        let known: Vec<String> = header.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
        let find =
            |key, name| column(config, &known, key, name).map_err(|error| hint(config, &header, delimiter, error));
        let class = (!config.class_column.is_empty()).then(|| find("class_column", &config.class_column));
        Ok(Columns {
            count: known.len(),
            path: find("path_column", &config.path_column)?,
            caption: find("caption_column", &config.caption_column)?,
            class: class.transpose()?,
        })
    }
}

/// Refuses a file that is not a table of UTF-8 text, by its first bytes.
fn look(head: &[u8]) -> Result<(), String> {
    if let Some(encoding) = wide(head) {
        return Err(format!("it is {encoding}; make it UTF-8: iconv -f {encoding} -t UTF-8 OLD > NEW"));
    }
    // A first column named BM_path alone would look like a bitmap, so this also requires a zero
    // byte: text has none.
    let binary = head[..head.len().min(4096)].contains(&0);
    if let Some(kind) = infer::get(head).filter(|kind| binary && kind.matcher_type() != infer::MatcherType::Text) {
        return Err(format!("it is {} ({}), not a table of text", kind.extension().to_uppercase(), kind.mime_type()));
    }
    let line = head.split_inclusive(|byte| *byte == b'\n').next().unwrap_or_default();
    if line.contains(&0) {
        return Err("there are zero bytes in its first line: it is not text".into());
    }
    if line.trim_ascii_end().contains(&b'\r') {
        return Err("its lines end in a carriage return alone; give them line feeds: tr '\\r' '\\n' < OLD > NEW".into());
    }
    Ok(())
}

fn column(config: &Csv, known: &[String], key: &str, name: &String) -> Result<usize> {
    let doing = format!("{key} of {}", config.path.display());
    let places: Vec<usize> = (0..known.len()).filter(|&column| known[column] == *name).collect();
    match places[..] {
        [column] => Ok(column),
        [] => Err(Error::Unknown { kind: "column", name: name.clone(), known: known.to_vec() }.during(doing)),
        [one, two, ..] => {
            let why = format!(
                "{} columns have this name, such as the {}. and the {}.: rename all but one",
                places.len(),
                one + 1,
                two + 1
            );
            Err(Error::invalid(format!("column `{name}`"), why).during(doing))
        }
    }
}

/// Names the delimiter that would give the missing column.
fn hint(config: &Csv, header: &ByteRecord, delimiter: u8, error: Error) -> Error {
    let names = [&config.path_column, &config.caption_column];
    let line = header.iter().collect::<Vec<_>>().join(&delimiter);
    let others = [b',', b'\t', b';', b'|'].into_iter().filter(|other| *other != delimiter);
    match others.into_iter().find(|other| names.iter().all(|name| has(&line, *other, name))) {
        Some(b'\t') => error.during("the columns have another separator: set `delimiter = \"tab\"`"),
        Some(other) => {
            error.during(format!("the columns have another separator: set `delimiter = \"{}\"`", other as char))
        }
        None if config.quoting == Quoting::None && line.contains(&b'"') => {
            error.during("`quoting` is \"none\", so quotes are part of the names")
        }
        None => error,
    }
}

/// Whether a header, split at `delimiter`, has a column of this name, quoted or not.
fn has(header: &[u8], delimiter: u8, name: &str) -> bool {
    let quoted = format!("\"{name}\"");
    header.split(|byte| *byte == delimiter).any(|part| [name, &quoted].map(str::as_bytes).contains(&part.trim_ascii()))
}
