//! How numpy writes arrays into pickles: calls of functions of its own, taken as notation. None of them is called here.

use super::Node;
use crate::pickle::{Bytes, Notation, Reader};
use std::rc::Rc;

/// numpy's notation.
#[derive(Default)]
pub(super) struct Arrays {
    /// Bytes that were decoded from strings: no more than the file has.
    decoded: usize,
}

/// What numpy's calls are and make.
#[derive(Clone, Debug)]
pub(super) enum Numpy {
    Name(Name),
    /// An array of which neither shape nor contents are known yet.
    Blank,
    /// The type of an array's elements.
    Dtype(Dtype),
    Array(Array),
}

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

/// More sides than numpy's arrays can have are refused, and more arguments than its calls take: a
/// pickle may repeat a long list for nothing.
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
    /// Its elements as numbers, if they are.
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

    /// Something that numpy writes as a call.
    fn call(reader: &mut Reader<Self>) -> Result<(), String> {
        let (arguments, callee) = (reader.pop()?, reader.pop()?);
        let Node::Tuple(arguments) = &reader.nodes[arguments] else { return Err("a call without arguments".into()) };
        if arguments.len() > MOST_ARGUMENTS {
            return Err(format!("a call with {} arguments", arguments.len()));
        }
        let arguments: Vec<&Node> = arguments.iter().map(|id| &reader.nodes[*id]).collect();
        let made = match (&reader.nodes[callee], &arguments[..]) {
            // `_reconstruct(ndarray, (0,), b'b')` and `dtype('u1', ..)`, both to be filled in by what follows.
            (Node::Own(Numpy::Name(Name::Reconstruct)), [Node::Own(Numpy::Name(Name::Ndarray)), ..]) => {
                Node::Own(Numpy::Blank)
            }
            (Node::Own(Numpy::Name(Name::Dtype)), [Node::Text(name), ..]) => Node::Own(Numpy::Dtype(
                Dtype::named(name.of(reader.bytes)).ok_or("elements of a type that is none of numpy's")?,
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
                Node::Float(dtype.number(bytes.of(reader.bytes)).ok_or("a number of a type that is none")?)
            }
            (Node::Own(Numpy::Name(Name::Encode)), [Node::Text(text), Node::Text(coding)]) => {
                if coding.of(reader.bytes) != b"latin1" {
                    return Err("bytes that are not written as latin1".into());
                }
                let text = std::str::from_utf8(text.of(reader.bytes)).map_err(|error| error.to_string())?;
                let bytes: Option<Rc<[u8]>> = text.chars().map(|letter| u8::try_from(letter).ok()).collect();
                let bytes = bytes.ok_or("bytes written as letters that are none")?;
                reader.notation.decoded += bytes.len();
                if reader.notation.decoded > reader.bytes.len() {
                    return Err("it repeats what it wrote as text".into());
                }
                Node::Text(Bytes::Decoded(bytes))
            }
            _ => return Err("a call that does not make an array".into()),
        };
        reader.push(made);
        Ok(())
    }

    /// The state of an array (version, shape, dtype, whether columns come first, bytes); that of a
    /// dtype adds the order of bytes.
    fn build(reader: &mut Reader<Self>) -> Result<(), String> {
        let state = reader.pop()?;
        let Node::Tuple(parts) = &reader.nodes[state] else { return Err("a state that is no tuple".into()) };
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
            _ => return Err("it fills in what is no array".into()),
        };
        reader.nodes[top] = built;
        Ok(())
    }
}

fn array(reader: &Reader<Arrays>, shape: &[usize], dtype: Dtype, bytes: &Bytes) -> Result<Array, String> {
    let side = |id: &usize| if let Node::Int(side) = reader.nodes[*id] { usize::try_from(side).ok() } else { None };
    if shape.len() > MOST_SIDES {
        return Err(format!("an array with {} sides", shape.len()));
    }
    let shape: Vec<usize> = shape.iter().map(side).collect::<Option<_>>().ok_or("a shape that is no list of sizes")?;
    let size = shape.iter().try_fold(dtype.width, |size, side| size.checked_mul(*side));
    let found = bytes.of(reader.bytes).len();
    if size != Some(found) {
        return Err(format!("an array of shape {shape:?} in {found} bytes"));
    }
    Ok(Array { shape, dtype, bytes: bytes.clone() })
}
