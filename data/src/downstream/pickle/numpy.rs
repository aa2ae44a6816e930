//! numpy's notation for arrays in pickles: calls of its functions. They are parsed as data and
//! never executed.

use super::Node;
use crate::pickle::{Bytes, Notation, Reader};
use std::rc::Rc;

/// numpy's notation.
#[derive(Default)]
pub(super) struct Arrays {
    /// Bytes decoded from strings: at most as many as the file has.
    decoded: usize,
}

/// The names and results of numpy's calls.
#[derive(Clone, Debug)]
pub(super) enum Numpy {
    Name(Name),
    /// An array whose shape and contents are not known yet.
    Blank,
    /// The type of an array's elements.
    Dtype(Dtype),
    Array(Array),
}

/// The names that a pickle may use.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Name {
    /// An array whose state follows.
    Reconstruct,
    Ndarray,
    Dtype,
    /// A complete array (protocol 5).
    FromBuffer,
    /// A number.
    Scalar,
    /// Bytes as a string (protocol 2, which has no type for bytes).
    Encode,
}

/// Maximum number of dimensions, as in numpy, and of arguments of a call: a pickle can repeat a
/// long list at no cost.
const MOST_SIDES: usize = 32;
const MOST_ARGUMENTS: usize = 16;

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
    /// Its elements as numbers, if they are numbers.
    pub(super) fn numbers(&self, file: &[u8]) -> Option<Vec<f64>> {
        let elements = self.bytes.of(file).chunks_exact(self.dtype.width.max(1));
        elements.map(|element| self.dtype.number(element)).collect()
    }
}

impl Notation for Arrays {
    type Own = Numpy;

    const OPCODES: &'static str = "data, arrays and protocols 2 to 5";

    fn name(module: &[u8], name: &[u8]) -> Result<Numpy, String> {
        match (module, name) {
            (b"numpy.core.multiarray" | b"numpy._core.multiarray", b"_reconstruct") => {
                Ok(Numpy::Name(Name::Reconstruct))
            }
            (b"numpy.core.multiarray" | b"numpy._core.multiarray", b"scalar") => Ok(Numpy::Name(Name::Scalar)),
            (b"numpy.core.numeric" | b"numpy._core.numeric", b"_frombuffer") => Ok(Numpy::Name(Name::FromBuffer)),
            (b"numpy", b"ndarray") => Ok(Numpy::Name(Name::Ndarray)),
            (b"numpy", b"dtype") => Ok(Numpy::Name(Name::Dtype)),
            (b"_codecs", b"encode") => Ok(Numpy::Name(Name::Encode)),
            (module, name) => {
                let [module, name] =
                    [module, name].map(|part| String::from_utf8_lossy(part).escape_default().to_string());
                Err(format!("it names `{module}.{name}`, which is not part of an array"))
            }
        }
    }

    /// Parses a call.
    fn call(reader: &mut Reader<Self>) -> Result<(), String> {
        let (arguments, callee) = (reader.pop()?, reader.pop()?);
        let Node::Tuple(arguments) = &reader.nodes[arguments] else { return Err("a call without arguments".into()) };
        if arguments.len() > MOST_ARGUMENTS {
            return Err(format!("a call with {} arguments", arguments.len()));
        }
        let arguments: Vec<&Node> = arguments.iter().map(|id| &reader.nodes[*id]).collect();
        let made = match (&reader.nodes[callee], &arguments[..]) {
            // `_reconstruct(ndarray, (0,), b'b')` and `dtype('u1', ..)`; the state that follows
            // completes both.
            (Node::Own(Numpy::Name(Name::Reconstruct)), [Node::Own(Numpy::Name(Name::Ndarray)), ..]) => {
                Node::Own(Numpy::Blank)
            }
            (Node::Own(Numpy::Name(Name::Dtype)), [Node::Text(name), ..]) => Node::Own(Numpy::Dtype(
                Dtype::named(name.of(reader.bytes)).ok_or("elements of a type that numpy does not have")?,
            )),
            (
                Node::Own(Numpy::Name(Name::FromBuffer)),
                [Node::Text(bytes), Node::Own(Numpy::Dtype(dtype)), Node::Tuple(shape), Node::Text(order)],
            ) => {
                if order.of(reader.bytes) != b"C" {
                    return Err("an array that is not written rows first".into());
                }
                Node::Own(Numpy::Array(array(reader, shape, *dtype, bytes)?))
            }
            (Node::Own(Numpy::Name(Name::Scalar)), [Node::Own(Numpy::Dtype(dtype)), Node::Text(bytes)]) => {
                Node::Float(dtype.number(bytes.of(reader.bytes)).ok_or("a number of an unknown type")?)
            }
            (Node::Own(Numpy::Name(Name::Encode)), [Node::Text(text), Node::Text(coding)]) => {
                if coding.of(reader.bytes) != b"latin1" {
                    return Err("bytes that are not written as latin1".into());
                }
                let text = std::str::from_utf8(text.of(reader.bytes)).map_err(|error| error.to_string())?;
                let bytes: Option<Rc<[u8]>> = text.chars().map(|letter| u8::try_from(letter).ok()).collect();
                let bytes = bytes.ok_or("bytes written as invalid characters")?;
                reader.notation.decoded += bytes.len();
                if reader.notation.decoded > reader.bytes.len() {
                    return Err("it decodes the same text repeatedly".into());
                }
                Node::Text(Bytes::Decoded(bytes))
            }
            _ => return Err("a call that does not make an array".into()),
        };
        reader.push(made);
        Ok(())
    }

    /// The state of an array (version, shape, dtype, Fortran order, bytes); that of a dtype adds
    /// the byte order.
    fn build(reader: &mut Reader<Self>) -> Result<(), String> {
        let state = reader.pop()?;
        let Node::Tuple(parts) = &reader.nodes[state] else { return Err("a state that is not a tuple".into()) };
        let parts: Vec<&Node> = parts.iter().map(|id| &reader.nodes[*id]).collect();
        let top = *reader.stack.last().ok_or("its stack is empty")?;
        let built = match (&reader.nodes[top], &parts[..]) {
            (Node::Own(Numpy::Dtype(dtype)), [_, Node::Text(order), ..]) => {
                Node::Own(Numpy::Dtype(Dtype { big: order.of(reader.bytes) == b">", ..*dtype }))
            }
            (
                Node::Own(Numpy::Blank),
                [_, Node::Tuple(shape), Node::Own(Numpy::Dtype(dtype)), Node::Bool(false), Node::Text(bytes)],
            ) => Node::Own(Numpy::Array(array(reader, shape, *dtype, bytes)?)),
            (Node::Own(Numpy::Blank), _) => {
                return Err("an array that is not written rows first, with shape, type and bytes".into());
            }
            _ => return Err("a state for a value that is not an array".into()),
        };
        reader.nodes[top] = built;
        Ok(())
    }
}

fn array(reader: &Reader<Arrays>, shape: &[usize], dtype: Dtype, bytes: &Bytes) -> Result<Array, String> {
    let side = |id: &usize| if let Node::Int(side) = reader.nodes[*id] { usize::try_from(side).ok() } else { None };
    if shape.len() > MOST_SIDES {
        return Err(format!("an array with {} dimensions", shape.len()));
    }
    let shape: Vec<usize> =
        shape.iter().map(side).collect::<Option<_>>().ok_or("a shape that is not a list of sizes")?;
    let size = shape.iter().try_fold(dtype.width, |size, side| size.checked_mul(*side));
    let found = bytes.of(reader.bytes).len();
    if size != Some(found) {
        return Err(format!("an array of shape {shape:?} in {found} bytes"));
    }
    Ok(Array { shape, dtype, bytes: bytes.clone() })
}
