//! The pickle inside a PyTorch file, read as data: numbers, strings, lists, dictionaries and descriptions of tensors.
//!
//! Nothing is ever executed and no object of any class is built. The calls that are understood are those by which
//! PyTorch writes a table of tensors (`_rebuild_tensor_v2`, `_rebuild_parameter`, `OrderedDict`, the kinds of storage),
//! and they are taken as notation; any other name, and any other opcode, is an error that says which. A value is a node
//! in one list and is named by its number, so that a pickle which repeats itself costs nothing, and there are never
//! more nodes than bytes.

use std::collections::HashMap;
use std::ops::Range;
use tch::Kind;

/// Number of a node.
pub type Id = usize;

/// A pickle, read.
pub struct Pickle<'a> {
    bytes: &'a [u8],
    nodes: Vec<Node>,
    /// What it holds.
    pub top: Id,
}

/// A tensor as it is described: a view of a storage, which is a file of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// The node of its storage.
    storage: Id,
    /// Elements of the storage before its first one.
    pub offset: i64,
    /// Its dimensions.
    pub size: Vec<i64>,
    /// Elements from one to the next along each dimension.
    pub stride: Vec<i64>,
}

/// A row of numbers in a file of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Storage {
    /// What its elements are.
    pub kind: Kind,
    key: Range<usize>,
    /// How many there are.
    pub count: i64,
}

#[derive(Clone, Debug)]
enum Node {
    /// What is read and not looked at: nothing, a flag, a fraction.
    Other,
    Int(i64),
    Text(Range<usize>),
    List(Vec<Id>),
    Tuple(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Name(Name),
    Storage(Storage),
    Tensor(View),
    /// What stands before the values of a list, tuple or dictionary.
    Mark,
}

/// What a pickle may name.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Name {
    Table,
    Tensor,
    Parameter,
    Storage(Kind),
}

impl<'a> Pickle<'a> {
    /// Reads a pickle; the error says what is wrong with it, and where.
    pub fn read(bytes: &'a [u8]) -> Result<Self, String> {
        let mut reader = Reader { bytes, at: 0, nodes: Vec::new(), stack: Vec::new(), memo: HashMap::new() };
        match reader.run() {
            Ok(top) => Ok(Pickle { bytes, nodes: reader.nodes, top }),
            Err(why) => Err(format!("{why} (at byte {} of its pickle)", reader.at)),
        }
    }

    /// The pairs of a dictionary whose keys are strings; none if it is no dictionary. Of equal keys Python keeps the
    /// last.
    pub fn table(&self, id: Id) -> Option<Vec<(&str, Id)>> {
        let Node::Dict(pairs) = &self.nodes[id] else { return None };
        Some(pairs.iter().filter_map(|(key, value)| Some((self.text(*key)?, *value))).collect())
    }

    /// The tensor that a node is, and its storage.
    pub fn tensor(&self, id: Id) -> Option<(&View, &Storage)> {
        let Node::Tensor(view) = &self.nodes[id] else { return None };
        let Node::Storage(storage) = &self.nodes[view.storage] else { return None };
        Some((view, storage))
    }

    /// The name of a storage's file.
    pub fn key(&self, storage: &Storage) -> &str {
        std::str::from_utf8(&self.bytes[storage.key.clone()]).unwrap_or("?")
    }

    /// What a node is, for an error.
    pub fn describe(&self, id: Id) -> &'static str {
        match &self.nodes[id] {
            Node::Tensor(_) => "a tensor",
            Node::Dict(_) => "a dictionary",
            Node::List(_) | Node::Tuple(_) => "a list",
            Node::Text(_) => "a string",
            _ => "a single value",
        }
    }

    fn text(&self, id: Id) -> Option<&str> {
        let Node::Text(place) = &self.nodes[id] else { return None };
        std::str::from_utf8(&self.bytes[place.clone()]).ok()
    }
}

/// The machine that a pickle is a program for.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    nodes: Vec<Node>,
    stack: Vec<Id>,
    memo: HashMap<usize, Id>,
}

impl Reader<'_> {
    fn run(&mut self) -> Result<Id, String> {
        loop {
            let code = self.take(1)?.start;
            match self.bytes[code] {
                b'.' => return self.pop(),
                0x80 => self.skip(1)?, // PROTO
                0x95 => self.skip(8)?, // FRAME
                b'q' | b'r' | 0x94 => self.memoize(self.bytes[code])?,
                b'h' => self.recall(1)?,
                b'j' => self.recall(4)?,
                b'(' => self.push(Node::Mark),
                b'N' | 0x88 | 0x89 => self.push(Node::Other),
                b'G' => {
                    self.skip(8)?;
                    self.push(Node::Other);
                }
                b'K' => self.number(1)?,
                b'M' => self.number(2)?,
                b'J' => self.number(4)?,
                0x8a => self.long()?,
                b'U' | b'C' | 0x8c => self.string(1)?,
                b'T' | b'B' | b'X' => self.string(4)?,
                0x8e | 0x8d => self.string(8)?,
                b'c' => {
                    let (module, name) = (self.line()?, self.line()?);
                    self.name(module, name)?;
                }
                0x93 => self.stack_global()?,
                b']' => self.push(Node::List(Vec::new())),
                b'}' => self.push(Node::Dict(Vec::new())),
                b')' => self.push(Node::Tuple(Vec::new())),
                count @ 0x85..=0x87 => self.tuple(usize::from(count - 0x84))?,
                b't' => {
                    let ids = self.pop_to_mark()?;
                    self.push(Node::Tuple(ids));
                }
                b'a' => {
                    let id = self.pop()?;
                    self.append(vec![id])?;
                }
                b'e' => {
                    let ids = self.pop_to_mark()?;
                    self.append(ids)?;
                }
                b's' => {
                    let (value, key) = (self.pop()?, self.pop()?);
                    self.set(vec![key, value])?;
                }
                b'u' => {
                    let ids = self.pop_to_mark()?;
                    self.set(ids)?;
                }
                b'Q' => self.storage()?,
                b'R' => self.call()?,
                b'b' => self.build()?,
                other => return Err(format!("opcode {other:#04x} is not one of those that a table of tensors needs")),
            }
        }
    }

    /// The next `count` bytes.
    fn take(&mut self, count: usize) -> Result<Range<usize>, String> {
        let left = self.bytes.len() - self.at;
        if count > left {
            return Err(format!("it ends {} bytes too early", count - left));
        }
        self.at += count;
        Ok(self.at - count..self.at)
    }

    fn skip(&mut self, count: usize) -> Result<(), String> {
        self.take(count).map(drop)
    }

    fn little(&mut self, width: usize) -> Result<u64, String> {
        let place = self.take(width)?;
        Ok(self.bytes[place].iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    }

    fn line(&mut self) -> Result<Range<usize>, String> {
        let length = self.bytes[self.at..].iter().take(256).position(|byte| *byte == b'\n');
        let place = self.take(length.ok_or("a name does not end")?)?;
        self.skip(1)?;
        Ok(place)
    }

    fn push(&mut self, node: Node) {
        self.nodes.push(node);
        self.stack.push(self.nodes.len() - 1);
    }

    fn pop(&mut self) -> Result<Id, String> {
        let id = self.stack.pop().ok_or("its stack is empty")?;
        if matches!(self.nodes[id], Node::Mark) { Err("a mark stands where a value must".into()) } else { Ok(id) }
    }

    fn top(&mut self) -> Result<&mut Node, String> {
        let id = *self.stack.last().ok_or("its stack is empty")?;
        Ok(&mut self.nodes[id])
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Id>, String> {
        let mark =
            self.stack.iter().rposition(|id| matches!(self.nodes[*id], Node::Mark)).ok_or("a mark is missing")?;
        let ids = self.stack.split_off(mark + 1);
        self.stack.pop();
        Ok(ids)
    }

    fn memoize(&mut self, code: u8) -> Result<(), String> {
        let key = match code {
            b'q' => self.little(1)? as usize,
            b'r' => self.little(4)? as usize,
            _ => self.memo.len(),
        };
        let id = *self.stack.last().ok_or("its stack is empty")?;
        self.memo.insert(key, id);
        Ok(())
    }

    fn recall(&mut self, width: usize) -> Result<(), String> {
        let key = self.little(width)? as usize;
        self.stack.push(*self.memo.get(&key).ok_or("it recalls what it never kept")?);
        Ok(())
    }

    fn number(&mut self, width: usize) -> Result<(), String> {
        let number = self.little(width)?;
        // Only the four-byte kind has a sign.
        let number = if width == 4 { i64::from(number as u32 as i32) } else { number as i64 };
        self.push(Node::Int(number));
        Ok(())
    }

    fn long(&mut self) -> Result<(), String> {
        let width = self.little(1)? as usize;
        if width > 8 {
            return Err(format!("a number of {width} bytes"));
        }
        let unsigned = self.little(width)?;
        let shift = 64 - 8 * width as u32;
        self.push(Node::Int(if width == 0 { 0 } else { (unsigned << shift) as i64 >> shift }));
        Ok(())
    }

    fn string(&mut self, width: usize) -> Result<(), String> {
        let length = usize::try_from(self.little(width)?).map_err(|error| error.to_string())?;
        let place = self.take(length)?;
        self.push(Node::Text(place));
        Ok(())
    }

    fn tuple(&mut self, count: usize) -> Result<(), String> {
        let mut ids = (0..count).map(|_| self.pop()).collect::<Result<Vec<_>, _>>()?;
        ids.reverse();
        self.push(Node::Tuple(ids));
        Ok(())
    }

    fn append(&mut self, ids: Vec<Id>) -> Result<(), String> {
        let Node::List(list) = self.top()? else { return Err("it appends to what is no list".into()) };
        list.extend(ids);
        Ok(())
    }

    fn set(&mut self, ids: Vec<Id>) -> Result<(), String> {
        if !ids.len().is_multiple_of(2) {
            return Err("a key has no value".into());
        }
        let Node::Dict(dict) = self.top()? else { return Err("it sets keys of what is no dictionary".into()) };
        dict.extend(ids.chunks_exact(2).map(|pair| (pair[0], pair[1])));
        Ok(())
    }

    fn stack_global(&mut self) -> Result<(), String> {
        let (name, module) = (self.pop()?, self.pop()?);
        match (&self.nodes[module], &self.nodes[name]) {
            (Node::Text(module), Node::Text(name)) => self.name(module.clone(), name.clone()),
            _ => Err("a name is no string".into()),
        }
    }

    fn name(&mut self, module: Range<usize>, name: Range<usize>) -> Result<(), String> {
        let [module, name] = [module, name].map(|place| String::from_utf8_lossy(&self.bytes[place]).into_owned());
        let found = match (module.as_str(), name.as_str()) {
            ("collections", "OrderedDict") => Some(Name::Table),
            ("torch._utils", "_rebuild_tensor_v2") => Some(Name::Tensor),
            ("torch._utils", "_rebuild_parameter") => Some(Name::Parameter),
            ("torch", name) => name.strip_suffix("Storage").and_then(kind).map(Name::Storage),
            _ => None,
        };
        let shown = || format!("{}.{}", module.escape_default(), name.escape_default());
        self.push(Node::Name(found.ok_or_else(|| format!("it names `{}`", shown()))?));
        Ok(())
    }

    /// A storage is written as ("storage", its kind, its key, its device, its count).
    fn storage(&mut self) -> Result<(), String> {
        let id = self.pop()?;
        let Node::Tuple(parts) = &self.nodes[id] else { return Err("a storage that is no tuple".into()) };
        let parts: Vec<&Node> = parts.iter().map(|id| &self.nodes[*id]).collect();
        let [Node::Text(tag), Node::Name(Name::Storage(kind)), Node::Text(key), Node::Text(_), Node::Int(count)] =
            parts[..]
        else {
            return Err("a storage without its kind, key, device and count".into());
        };
        if &self.bytes[tag.clone()] != b"storage" || *count < 0 {
            return Err("a reference that is no storage".into());
        }
        let storage = Storage { kind: *kind, key: key.clone(), count: *count };
        self.push(Node::Storage(storage));
        Ok(())
    }

    /// An empty table, a tensor (storage, offset, size, stride, ..) or a parameter (tensor, ..), which is read as its
    /// tensor.
    fn call(&mut self) -> Result<(), String> {
        let (arguments, callee) = (self.pop()?, self.pop()?);
        let Node::Tuple(arguments) = &self.nodes[arguments] else { return Err("a call without arguments".into()) };
        match (&self.nodes[callee], &arguments[..]) {
            (Node::Name(Name::Table), []) => self.push(Node::Dict(Vec::new())),
            (Node::Name(Name::Parameter), [tensor, ..]) if matches!(self.nodes[*tensor], Node::Tensor(_)) => {
                let tensor = *tensor;
                self.stack.push(tensor);
            }
            (Node::Name(Name::Tensor), [storage, offset, size, stride, ..]) => {
                let view = self.view(*storage, *offset, *size, *stride)?;
                self.push(Node::Tensor(view));
            }
            _ => return Err("a call that makes no tensor".into()),
        }
        Ok(())
    }

    /// A view that lies within its storage.
    fn view(&self, storage: Id, offset: Id, size: Id, stride: Id) -> Result<View, String> {
        let number = |id: &Id| if let Node::Int(number) = self.nodes[*id] { Some(number) } else { None };
        let numbers = |id: Id| match &self.nodes[id] {
            Node::Tuple(ids) => ids.iter().map(number).collect::<Option<Vec<i64>>>(),
            _ => None,
        };
        let Node::Storage(Storage { count, .. }) = self.nodes[storage] else {
            return Err("a tensor without a storage".into());
        };
        let (Some(offset), Some(size), Some(stride)) = (number(&offset), numbers(size), numbers(stride)) else {
            return Err("a tensor without offset, size and stride".into());
        };
        let fits = size.len() == stride.len() && size.iter().chain(&stride).all(|number| *number >= 0) && offset >= 0;
        let steps = size.iter().zip(&stride).try_fold(offset, |last, (size, stride)| {
            last.checked_add(size.saturating_sub(1).max(0).checked_mul(*stride)?)
        });
        let elements = size.iter().try_fold(1i64, |all, side| all.checked_mul(*side));
        match (steps, elements) {
            // A view may repeat elements, but a table of tensors holds none that is larger than its storage.
            (Some(last), Some(elements)) if fits && elements <= count && (elements == 0 || last < count) => {
                Ok(View { storage, offset, size, stride })
            }
            _ => Err(format!(
                "a tensor of size {size:?} and stride {stride:?} from {offset} on, in a storage of {count}"
            )),
        }
    }

    /// What PyTorch adds to a table (the versions of its layers) is not needed.
    fn build(&mut self) -> Result<(), String> {
        let state = self.pop()?;
        let is_table = matches!(self.nodes[state], Node::Dict(_)) && matches!(self.top()?, Node::Dict(_));
        if is_table { Ok(()) } else { Err("it fills in what is no table".into()) }
    }
}

/// The kind of number that a storage is named for.
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
