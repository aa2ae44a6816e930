//! The pickle inside a PyTorch file, read as data: numbers, strings, lists, dictionaries and
//! descriptions of tensors.
//!
//! Nothing is executed and no object of any class is built. The reader understands only the calls
//! by which PyTorch writes a table of tensors (`_rebuild_tensor_v2`, `_rebuild_parameter`,
//! `OrderedDict`, the kinds of storage), and treats them as notation; any other name or opcode is
//! an error that names it. A value is a node in one list, referred to by its number, so a pickle
//! that repeats itself takes no extra memory, and there are never more nodes than bytes.

use crate::data::pickle::{self, Bytes, Id, Notation, Reader, Values};
use tch::Kind;

/// A parsed pickle.
pub struct Pickle<'a> {
    values: Values<'a, Torch>,
    /// Its top-level value.
    pub top: Id,
}

/// Description of a tensor: a view of a storage, which is a separate file.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// The node of its storage.
    storage: Id,
    /// Elements of the storage before the first element.
    pub offset: i64,
    /// Its dimensions.
    pub size: Vec<i64>,
    /// Elements between neighbours along each dimension.
    pub stride: Vec<i64>,
}

/// A one-dimensional array of numbers in a separate file.
#[derive(Clone, Debug, PartialEq)]
pub struct Storage {
    /// Kind of its elements.
    pub kind: Kind,
    key: Bytes,
    /// Number of its elements.
    pub count: i64,
}

type Node = pickle::Node<Torch>;

/// PyTorch's notation.
struct Tensors;

/// PyTorch's calls and their results.
#[derive(Clone, Debug)]
enum Torch {
    Name(Name),
    Storage(Storage),
    Tensor(View),
}

/// Names that a pickle may use.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Name {
    Table,
    Tensor,
    Parameter,
    Storage(Kind),
}

impl<'a> Pickle<'a> {
    /// Parses a pickle; the error states the fault and its position.
    pub fn read(bytes: &'a [u8]) -> Result<Self, String> {
        let values = pickle::read(bytes, Tensors);
        let values = values.map_err(|(why, at)| format!("{why} (at byte {at} of its pickle)"))?;
        Ok(Pickle { top: values.top, values })
    }

    /// The pairs of a dictionary with string keys; `None` for any other node. If keys repeat,
    /// Python keeps the last.
    pub fn table(&self, id: Id) -> Option<Vec<(&str, Id)>> {
        let Node::Dict(pairs) = &self.values.nodes[id] else { return None };
        Some(pairs.iter().filter_map(|(key, value)| Some((self.text(*key)?, *value))).collect())
    }

    /// The tensor of a node, and its storage.
    pub fn tensor(&self, id: Id) -> Option<(&View, &Storage)> {
        let Node::Own(Torch::Tensor(view)) = &self.values.nodes[id] else { return None };
        let Node::Own(Torch::Storage(storage)) = &self.values.nodes[view.storage] else { return None };
        Some((view, storage))
    }

    /// The name of a storage's file.
    pub fn key<'b>(&'b self, storage: &'b Storage) -> &'b str {
        std::str::from_utf8(storage.key.of(self.values.bytes)).unwrap_or("?")
    }

    /// The kind of a node, for an error message.
    pub fn describe(&self, id: Id) -> &'static str {
        match &self.values.nodes[id] {
            Node::Own(Torch::Tensor(_)) => "a tensor",
            Node::Dict(_) => "a dictionary",
            Node::List(_) | Node::Tuple(_) => "a list",
            Node::Text(_) => "a string",
            _ => "a single value",
        }
    }

    fn text(&self, id: Id) -> Option<&str> {
        let Node::Text(text) = &self.values.nodes[id] else { return None };
        std::str::from_utf8(text.of(self.values.bytes)).ok()
    }
}

impl Notation for Tensors {
    type Own = Torch;

    const OPCODES: &'static str = "those that a table of tensors needs";

    const REFERS: bool = true;

    fn name(module: &[u8], name: &[u8]) -> Result<Torch, String> {
        let [module, name] = [module, name].map(String::from_utf8_lossy);
        let found = match (&*module, &*name) {
            ("collections", "OrderedDict") => Some(Name::Table),
            ("torch._utils", "_rebuild_tensor_v2") => Some(Name::Tensor),
            ("torch._utils", "_rebuild_parameter") => Some(Name::Parameter),
            ("torch", name) => name.strip_suffix("Storage").and_then(kind).map(Name::Storage),
            _ => None,
        };
        let shown = || format!("{}.{}", module.escape_default(), name.escape_default());
        found.map(Torch::Name).ok_or_else(|| format!("it names `{}`", shown()))
    }

    /// A storage is written as ("storage", its kind, its key, its device, its count).
    fn refer(reader: &mut Reader<Self>) -> Result<(), String> {
        let id = reader.pop()?;
        let Node::Tuple(parts) = &reader.nodes[id] else { return Err("a storage that is not a tuple".into()) };
        let parts: Vec<&Node> = parts.iter().map(|id| &reader.nodes[*id]).collect();
        let [
            Node::Text(tag),
            Node::Own(Torch::Name(Name::Storage(kind))),
            Node::Text(key),
            Node::Text(_),
            Node::Int(count),
        ] = parts[..]
        else {
            return Err("a storage without its kind, key, device and count".into());
        };
        if tag.of(reader.bytes) != b"storage" || *count < 0 {
            return Err("a reference that is not a storage".into());
        }
        let storage = Storage { kind: *kind, key: key.clone(), count: *count };
        reader.push(Node::Own(Torch::Storage(storage)));
        Ok(())
    }

    /// An empty table, a tensor (storage, offset, size, stride, ..) or a parameter (tensor, ..),
    /// which is read as its tensor.
    fn call(reader: &mut Reader<Self>) -> Result<(), String> {
        let (arguments, callee) = (reader.pop()?, reader.pop()?);
        let Node::Tuple(arguments) = &reader.nodes[arguments] else { return Err("a call without arguments".into()) };
        match (&reader.nodes[callee], &arguments[..]) {
            (Node::Own(Torch::Name(Name::Table)), []) => reader.push(Node::Dict(Vec::new())),
            (Node::Own(Torch::Name(Name::Parameter)), [tensor, ..])
                if matches!(reader.nodes[*tensor], Node::Own(Torch::Tensor(_))) =>
            {
                let tensor = *tensor;
                reader.stack.push(tensor);
            }
            (Node::Own(Torch::Name(Name::Tensor)), [storage, offset, size, stride, ..]) => {
                let view = view(reader, *storage, *offset, *size, *stride)?;
                reader.push(Node::Own(Torch::Tensor(view)));
            }
            _ => return Err("a call that makes no tensor".into()),
        }
        Ok(())
    }

    /// Ignores what PyTorch adds to a table (the versions of its layers).
    fn build(reader: &mut Reader<Self>) -> Result<(), String> {
        let state = reader.pop()?;
        let is_table = matches!(reader.nodes[state], Node::Dict(_)) && matches!(reader.top()?, Node::Dict(_));
        if is_table { Ok(()) } else { Err("it fills in a value that is not a table".into()) }
    }
}

/// A view, checked to be within its storage.
fn view(reader: &Reader<Tensors>, storage: Id, offset: Id, size: Id, stride: Id) -> Result<View, String> {
    let number = |id: &Id| if let Node::Int(number) = reader.nodes[*id] { Some(number) } else { None };
    let numbers = |id: Id| match &reader.nodes[id] {
        Node::Tuple(ids) => ids.iter().map(number).collect::<Option<Vec<i64>>>(),
        _ => None,
    };
    let Node::Own(Torch::Storage(Storage { count, .. })) = reader.nodes[storage] else {
        return Err("a tensor without a storage".into());
    };
    let (Some(offset), Some(size), Some(stride)) = (number(&offset), numbers(size), numbers(stride)) else {
        return Err("a tensor without offset, size and stride".into());
    };
    let fits = size.len() == stride.len() && size.iter().chain(&stride).all(|number| *number >= 0) && offset >= 0;
    let steps = size
        .iter()
        .zip(&stride)
        .try_fold(offset, |last, (size, stride)| last.checked_add(size.saturating_sub(1).max(0).checked_mul(*stride)?));
    let elements = size.iter().try_fold(1i64, |all, side| all.checked_mul(*side));
    match (steps, elements) {
        // A view may repeat elements, but no table of tensors holds one that is larger than its
        // storage.
        (Some(last), Some(elements)) if fits && elements <= count && (elements == 0 || last < count) => {
            Ok(View { storage, offset, size, stride })
        }
        _ => Err(format!("a tensor of size {size:?} and stride {stride:?} from {offset} on, in a storage of {count}")),
    }
}

/// The kind of number, by the name of a storage.
fn kind(name: &str) -> Option<Kind> {
    Some(match name {
        "Float" => Kind::Float,
        "Half" => Kind::Half,
        "BFloat16" => Kind::BFloat16,
        "Double" => Kind::Double,
        "Long" => Kind::Int64,
        "Int" => Kind::Int,
        "Short" => Kind::Int16,
        "Char" => Kind::Int8,
        "Byte" => Kind::Uint8,
        "Bool" => Kind::Bool,
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
