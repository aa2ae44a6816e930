//! MATLAB files of version 5 (Flowers-102, Stanford Cars, ImageNet's development kit), read as
//! data: numbers, strings, cells and structs, compressed or not. The format is that of MathWorks'
//! "MAT-File Format" (version 5).
//!
//! Sizes in the file are not trusted: each is checked against the bytes that are there.

use crate::regular;
use crate::{Error, Result};
use flate2::read::ZlibDecoder;
use std::collections::BTreeMap;
use std::io::Read;
use std::ops::RangeInclusive;
use std::path::Path;

/// A value of a file.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// Numbers of any kind, columns first.
    Numbers(Vec<f64>),
    /// A line of text.
    Text(String),
    /// A cell array, columns first.
    Cells(Vec<Value>),
    /// An array of structs: each has all the fields.
    Structs(Vec<BTreeMap<String, Value>>),
    /// Types that no data set needs: sparse matrices, objects, functions.
    Other,
}

/// The variables of a file.
#[derive(Debug)]
pub(super) struct Mat {
    name: String,
    variables: BTreeMap<String, Value>,
}

/// Maximum size of a file in bytes, packed and unpacked.
const MOST_BYTES: u64 = 64 << 20;

/// How deep cells and structs may nest.
const DEEPEST: u32 = 8;

impl Mat {
    /// Reads a file.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let bytes = regular::read(path, MOST_BYTES).map_err(Error::io(path))?;
        let name = path.display().to_string();
        let variables = variables(&bytes).map_err(|why| Error::invalid(&name, why))?;
        Ok(Mat { name, variables })
    }

    fn value(&self, name: &str) -> Result<&Value> {
        let known = || self.variables.keys().cloned().collect();
        let unknown = || Error::Unknown { kind: "variable", name: name.into(), known: known() };
        self.variables.get(name).ok_or_else(unknown).map_err(|error| error.during(self.name.clone()))
    }

    fn wrong(&self, name: &str, wanted: &str) -> Error {
        Error::invalid(&self.name, format!("`{name}` is not {wanted}"))
    }

    /// The place of an element of a variable; `at` counts from 0.
    pub(super) fn place(&self, name: &str, at: usize) -> String {
        format!("{}, element {} of `{name}`", self.name, at + 1)
    }

    /// A variable of whole numbers within `allowed`.
    pub(super) fn numbers(&self, name: &str, allowed: RangeInclusive<usize>) -> Result<Vec<usize>> {
        let Value::Numbers(numbers) = self.value(name)? else { return Err(self.wrong(name, "an array of numbers")) };
        let number = |(number, at): (&f64, usize)| {
            within(*number, &allowed).map_err(|why| Error::invalid(self.place(name, at), why))
        };
        numbers.iter().zip(0..).map(number).collect()
    }

    /// A variable of lines of text.
    pub(super) fn texts(&self, name: &str) -> Result<Vec<String>> {
        let text = |value: &Value| if let Value::Text(text) = value { Some(text.clone()) } else { None };
        let texts = if let Value::Cells(cells) = self.value(name)? { cells.iter().map(text).collect() } else { None };
        texts.ok_or_else(|| self.wrong(name, "a cell array of text"))
    }

    /// A variable of structs.
    pub(super) fn structs(&self, name: &'static str) -> Result<Vec<Struct<'_>>> {
        let Value::Structs(structs) = self.value(name)? else { return Err(self.wrong(name, "an array of structs")) };
        Ok(structs.iter().zip(0..).map(|(fields, at)| Struct { mat: self, name, at, fields }).collect())
    }
}

/// A struct of an array, with its place.
pub(super) struct Struct<'a> {
    mat: &'a Mat,
    name: &'static str,
    at: usize,
    fields: &'a BTreeMap<String, Value>,
}

impl Struct<'_> {
    /// Its place, for errors.
    pub(super) fn place(&self) -> String {
        self.mat.place(self.name, self.at)
    }

    fn field(&self, field: &str) -> Result<&Value> {
        self.fields.get(field).ok_or_else(|| Error::invalid(self.place(), format!("it has no field `{field}`")))
    }

    /// A field that is a whole number within `allowed`.
    pub(super) fn number(&self, field: &str, allowed: RangeInclusive<usize>) -> Result<usize> {
        let number = if let Value::Numbers(numbers) = self.field(field)? { numbers.first() } else { None };
        let number =
            number.ok_or_else(|| "it is not a number".to_string()).and_then(|number| within(*number, &allowed));
        number.map_err(|why| Error::invalid(format!("{}, field `{field}`", self.place()), why))
    }

    /// A field that is text.
    pub(super) fn text(&self, field: &str) -> Result<&str> {
        match self.field(field)? {
            Value::Text(text) => Ok(text),
            _ => Err(Error::invalid(format!("{}, field `{field}`", self.place()), "it is not text")),
        }
    }
}

/// A whole number within `allowed`; the error gives this range.
fn within(number: f64, allowed: &RangeInclusive<usize>) -> Result<usize, String> {
    let found = whole(&[number]).map(|whole| whole[0]).filter(|whole| allowed.contains(whole));
    found.ok_or_else(|| format!("{number} is not a whole number from {} to {}", allowed.start(), allowed.end()))
}

fn whole(numbers: &[f64]) -> Option<Vec<usize>> {
    let is_whole = |number: &f64| (0.0..=1e12).contains(number) && number.fract() == 0.0;
    numbers.iter().all(is_whole).then(|| numbers.iter().map(|number| *number as usize).collect())
}

/// The variables of a file, by name; the error describes the fault.
pub(super) fn variables(bytes: &[u8]) -> Result<BTreeMap<String, Value>, String> {
    if bytes.starts_with(b"MATLAB 7.3") {
        return Err("it is a MATLAB 7.3 file, which is HDF5; save it with -v7 or older".into());
    }
    let big = match bytes.get(124..128) {
        Some([0, 1, b'I', b'M']) => false,
        Some([1, 0, b'M', b'I']) => true,
        _ => return Err("it is not a MATLAB file of version 5".into()),
    };
    let mut variables = BTreeMap::new();
    let mut reader = Reader { bytes: &bytes[128..], big };
    let mut left = MOST_BYTES;
    while !reader.bytes.is_empty() {
        // Only at this level may an element be compressed, and then it has no padding.
        let (kind, data) = reader.element(false)?;
        let unpacked;
        let matrix = match kind {
            COMPRESSED => {
                unpacked = inflate(data, &mut left)?;
                let (kind, data) = Reader { bytes: &unpacked, big }.element(true)?;
                if kind == MATRIX { data } else { continue }
            }
            MATRIX => data,
            _ => continue,
        };
        let (name, value) = Reader { bytes: matrix, big }.matrix(0)?;
        if variables.insert(name.clone(), value).is_some() {
            return Err(format!("it has two variables `{name}`"));
        }
    }
    Ok(variables)
}

fn inflate(data: &[u8], left: &mut u64) -> Result<Vec<u8>, String> {
    let mut unpacked = Vec::new();
    ZlibDecoder::new(data)
        .take(*left + 1)
        .read_to_end(&mut unpacked)
        .map_err(|error| format!("its compression is damaged: {error}"))?;
    *left = left.checked_sub(unpacked.len() as u64).ok_or("it unpacks to more than 64 MiB")?;
    Ok(unpacked)
}

const MATRIX: u32 = 14;
const COMPRESSED: u32 = 15;

/// The rest of a run of elements.
struct Reader<'a> {
    bytes: &'a [u8],
    big: bool,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.bytes.split_at_checked(count).ok_or("it is cut short")?;
        self.bytes = rest;
        Ok(taken)
    }

    fn number(&self, bytes: &[u8]) -> u64 {
        let join = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        if self.big { bytes.iter().fold(0, join) } else { bytes.iter().rev().fold(0, join) }
    }

    /// The next element: its type and its data. Small ones share eight bytes with their type.
    fn element(&mut self, padded: bool) -> Result<(u32, &'a [u8]), String> {
        let head = self.take(4)?;
        let word = self.number(head) as u32;
        if word >> 16 != 0 {
            let data = self.take(4)?;
            let size = (word >> 16) as usize;
            return Ok((word & 0xFFFF, data.get(..size).ok_or("a small element has a large size")?));
        }
        let size = self.take(4)?;
        let size = self.number(size) as usize;
        let data = self.take(size)?;
        // The last element of a file may lack its padding.
        let padding = if padded || word != COMPRESSED { size.next_multiple_of(8) - size } else { 0 };
        self.take(padding.min(self.bytes.len()))?;
        Ok((word, data))
    }

    /// Numbers of any type.
    fn numbers(&mut self) -> Result<Vec<f64>, String> {
        let (kind, data) = self.element(true)?;
        let width = match kind {
            1 | 2 | 16 => 1,
            3 | 4 | 17 => 2,
            5 | 6 | 7 | 18 => 4,
            9 | 12 | 13 => 8,
            other => return Err(format!("numbers of type {other}")),
        };
        if !data.len().is_multiple_of(width) {
            return Err("numbers are cut short".into());
        }
        let number = |bytes: &[u8]| {
            let bits = self.number(bytes);
            match kind {
                1 => f64::from(bits as i8),
                3 => f64::from(bits as i16),
                5 => f64::from(bits as i32),
                7 => f64::from(f32::from_bits(bits as u32)),
                9 => f64::from_bits(bits),
                12 => bits as i64 as f64,
                _ => bits as f64,
            }
        };
        Ok(data.chunks_exact(width).map(number).collect())
    }

    /// A matrix without its tag: its name and its value.
    fn matrix(&mut self, depth: u32) -> Result<(String, Value), String> {
        if self.bytes.is_empty() {
            return Ok((String::new(), Value::Numbers(Vec::new()))); // MATLAB's []
        }
        if depth > DEEPEST {
            return Err("cells and structs nest too deep".into());
        }
        let flags = self.numbers()?;
        let class = *flags.first().ok_or("a matrix has no class")? as u64 & 0xFF;
        let sides = whole(&self.numbers()?).ok_or("a matrix has no shape")?;
        let count =
            sides.iter().try_fold(1usize, |count, side| count.checked_mul(*side)).ok_or("a matrix is too large")?;
        let name = text(&self.numbers()?)?;
        let value = match class {
            1 => Value::Cells(self.matrices(count, depth)?),
            2 => self.structs(count, depth)?,
            4 => Value::Text(text(&self.numbers()?)?),
            6..=15 => {
                let numbers = self.numbers()?;
                if numbers.len() != count {
                    return Err(format!("`{name}` has {} numbers for a shape of {sides:?}", numbers.len()));
                }
                Value::Numbers(numbers)
            }
            _ => Value::Other,
        };
        Ok((name, value))
    }

    /// `count` matrices in a row. Each takes at least eight bytes.
    fn matrices(&mut self, count: usize, depth: u32) -> Result<Vec<Value>, String> {
        if count > self.bytes.len() / 8 {
            return Err("it is cut short".into());
        }
        let mut values = Vec::with_capacity(count);
        for _ in 0..count {
            let (kind, data) = self.element(true)?;
            if kind != MATRIX {
                return Err(format!("an element of type {kind} instead of a matrix"));
            }
            values.push(Reader { bytes: data, big: self.big }.matrix(depth + 1)?.1);
        }
        Ok(values)
    }

    fn structs(&mut self, count: usize, depth: u32) -> Result<Value, String> {
        let length = whole(&self.numbers()?).and_then(|length| length.first().copied()).filter(|length| *length > 0);
        let length = length.ok_or("a struct lacks the length of its field names")?;
        let (_, names) = self.element(true)?;
        let name = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end_matches('\0').to_string();
        let names: Vec<String> = names.chunks(length).map(name).collect();
        let values = self.matrices(count.checked_mul(names.len()).ok_or("a struct is too large")?, depth)?;
        let mut values = values.into_iter();
        let fields = |_| names.iter().cloned().zip(values.by_ref()).collect();
        Ok(Value::Structs(if names.is_empty() { Vec::new() } else { (0..count).map(fields).collect() }))
    }
}

/// Characters are stored as numbers: bytes of UTF-8, or UTF-16.
fn text(numbers: &[f64]) -> Result<String, String> {
    let units: Vec<u16> = numbers.iter().map(|number| *number as u16).collect();
    match units.iter().all(|unit| *unit < 256) {
        true => {
            let bytes: Vec<u8> = units.iter().map(|unit| *unit as u8).collect();
            Ok(String::from_utf8(bytes).unwrap_or_else(|_| units.iter().map(|unit| char::from(*unit as u8)).collect()))
        }
        false => String::from_utf16(&units).map_err(|error| format!("text that is not UTF-16: {error}")),
    }
}
