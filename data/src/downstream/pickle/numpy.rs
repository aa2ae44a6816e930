//! How numpy writes arrays into pickles: calls of functions of its own, taken as notation. None of them is called here.

use super::{Node, Reader};
use std::ops::Range;
use std::rc::Rc;

/// What a pickle may name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Name {
    /// An array whose state follows.
    Reconstruct,
    Ndarray,
    Dtype,
    /// An array at once (protocol 5).
    FromBuffer,
    /// A number.
    Scalar,
    /// Bytes as a string (protocol 2, which has none).
    Encode,
}

/// More sides than numpy's arrays can have are refused, and more arguments than its calls take: a pickle may repeat a long list for nothing.
const MOST_SIDES: usize = 32;
const MOST_ARGUMENTS: usize = 16;

impl Name {
    pub(super) fn find(module: &[u8], name: &[u8]) -> Result<Name, String> {
        match (module, name) {
            (b"numpy.core.multiarray" | b"numpy._core.multiarray", b"_reconstruct") => Ok(Name::Reconstruct),
            (b"numpy.core.multiarray" | b"numpy._core.multiarray", b"scalar") => Ok(Name::Scalar),
            (b"numpy.core.numeric" | b"numpy._core.numeric", b"_frombuffer") => Ok(Name::FromBuffer),
            (b"numpy", b"ndarray") => Ok(Name::Ndarray),
            (b"numpy", b"dtype") => Ok(Name::Dtype),
            (b"_codecs", b"encode") => Ok(Name::Encode),
            (module, name) => {
                let [module, name] =
                    [module, name].map(|part| String::from_utf8_lossy(part).escape_default().to_string());
                Err(format!("it names `{module}.{name}`, which is not part of an array"))
            }
        }
    }
}

/// Bytes of a string.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Bytes {
    /// As they lie in the file.
    Here(Range<usize>),
    /// As they were before they were written as text.
    Decoded(Rc<[u8]>),
}

impl Bytes {
    pub(super) fn of<'a>(&'a self, file: &'a [u8]) -> &'a [u8] {
        match self {
            Bytes::Here(place) => &file[place.clone()],
            Bytes::Decoded(bytes) => bytes,
        }
    }
}

/// The type of an array's elements.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Dtype {
    /// numpy's letter: `u`, `i`, `f`, ..
    kind: u8,
    width: usize,
    big: bool,
}

impl Dtype {
    pub(super) const BYTE: Dtype = Dtype { kind: b'u', width: 1, big: false };

    /// `u1`, `<i8`, ..
    fn named(name: &[u8]) -> Option<Dtype> {
        let big = name.first() == Some(&b'>');
        let name = if matches!(name.first()?, b'<' | b'>' | b'|' | b'=') { &name[1..] } else { name };
        let width = std::str::from_utf8(name.get(1..)?).ok()?.parse().ok()?;
        Some(Dtype { kind: name[0], width, big })
    }

    /// One element.
    fn number(self, bytes: &[u8]) -> Option<f64> {
        if bytes.len() != self.width || bytes.is_empty() || bytes.len() > 8 {
            return None;
        }
        let join = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        let bits = if self.big { bytes.iter().fold(0, join) } else { bytes.iter().rev().fold(0, join) };
        let shift = 64 - 8 * bytes.len() as u32;
        match (self.kind, self.width) {
            (b'u', _) => Some(bits as f64),
            (b'i', _) => Some(((bits << shift) as i64 >> shift) as f64),
            (b'f', 4) => Some(f32::from_bits(bits as u32).into()),
            (b'f', 8) => Some(f64::from_bits(bits)),
            _ => None,
        }
    }
}

/// An array, rows first.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Array {
    /// Its dimensions.
    pub(crate) shape: Vec<usize>,
    pub(super) dtype: Dtype,
    /// Its elements.
    pub(crate) bytes: Bytes,
}

impl Array {
    /// Its elements as numbers, if they are.
    pub(super) fn numbers(&self, file: &[u8]) -> Option<Vec<f64>> {
        let elements = self.bytes.of(file).chunks_exact(self.dtype.width.max(1));
        elements.map(|element| self.dtype.number(element)).collect()
    }
}

impl Reader<'_> {
    /// Something that numpy writes as a call.
    pub(super) fn call(&mut self) -> Result<(), String> {
        let (arguments, callee) = (self.pop()?, self.pop()?);
        let Node::Tuple(arguments) = &self.nodes[arguments] else { return Err("a call without arguments".into()) };
        if arguments.len() > MOST_ARGUMENTS {
            return Err(format!("a call with {} arguments", arguments.len()));
        }
        let arguments: Vec<&Node> = arguments.iter().map(|id| &self.nodes[*id]).collect();
        let made = match (&self.nodes[callee], &arguments[..]) {
            // `_reconstruct(ndarray, (0,), b'b')` and `dtype('u1', ..)`, both to be filled in by what follows.
            (Node::Name(Name::Reconstruct), [Node::Name(Name::Ndarray), ..]) => Node::Blank,
            (Node::Name(Name::Dtype), [Node::Text(name), ..]) => {
                Node::Dtype(Dtype::named(name.of(self.bytes)).ok_or("elements of a type that is none of numpy's")?)
            }
            (
                Node::Name(Name::FromBuffer),
                [Node::Text(bytes), Node::Dtype(dtype), Node::Tuple(shape), Node::Text(order)],
            ) => {
                if order.of(self.bytes) != b"C" {
                    return Err("an array that is not written rows first".into());
                }
                Node::Array(self.array(shape, *dtype, bytes)?)
            }
            (Node::Name(Name::Scalar), [Node::Dtype(dtype), Node::Text(bytes)]) => {
                Node::Float(dtype.number(bytes.of(self.bytes)).ok_or("a number of a type that is none")?)
            }
            (Node::Name(Name::Encode), [Node::Text(text), Node::Text(coding)]) => {
                if coding.of(self.bytes) != b"latin1" {
                    return Err("bytes that are not written as latin1".into());
                }
                let text = std::str::from_utf8(text.of(self.bytes)).map_err(|error| error.to_string())?;
                let bytes: Option<Rc<[u8]>> = text.chars().map(|letter| u8::try_from(letter).ok()).collect();
                let bytes = bytes.ok_or("bytes written as letters that are none")?;
                self.decoded += bytes.len();
                if self.decoded > self.bytes.len() {
                    return Err("it repeats what it wrote as text".into());
                }
                Node::Text(Bytes::Decoded(bytes))
            }
            _ => return Err("a call that does not make an array".into()),
        };
        self.push(made);
        Ok(())
    }

    /// The state of an array (version, shape, dtype, whether columns come first, bytes); that of a dtype adds the order of bytes.
    pub(super) fn build(&mut self) -> Result<(), String> {
        let state = self.pop()?;
        let Node::Tuple(parts) = &self.nodes[state] else { return Err("a state that is no tuple".into()) };
        let parts: Vec<&Node> = parts.iter().map(|id| &self.nodes[*id]).collect();
        let top = *self.stack.last().ok_or("its stack is empty")?;
        let built = match (&self.nodes[top], &parts[..]) {
            (Node::Dtype(dtype), [_, Node::Text(order), ..]) => {
                Node::Dtype(Dtype { big: order.of(self.bytes) == b">", ..*dtype })
            }
            (Node::Blank, [_, Node::Tuple(shape), Node::Dtype(dtype), Node::Bool(false), Node::Text(bytes)]) => {
                Node::Array(self.array(shape, *dtype, bytes)?)
            }
            (Node::Blank, _) => {
                return Err("an array that is not written rows first, with shape, type and bytes".into());
            }
            _ => return Err("it fills in what is no array".into()),
        };
        self.nodes[top] = built;
        Ok(())
    }

    fn array(&self, shape: &[usize], dtype: Dtype, bytes: &Bytes) -> Result<Array, String> {
        let side = |id: &usize| if let Node::Int(side) = self.nodes[*id] { usize::try_from(side).ok() } else { None };
        if shape.len() > MOST_SIDES {
            return Err(format!("an array with {} sides", shape.len()));
        }
        let shape: Vec<usize> =
            shape.iter().map(side).collect::<Option<_>>().ok_or("a shape that is no list of sizes")?;
        let size = shape.iter().try_fold(dtype.width, |size, side| size.checked_mul(*side));
        let found = bytes.of(self.bytes).len();
        if size != Some(found) {
            return Err(format!("an array of shape {shape:?} in {found} bytes"));
        }
        Ok(Array { shape, dtype, bytes: bytes.clone() })
    }
}
