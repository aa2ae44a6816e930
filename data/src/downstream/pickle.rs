//! Python pickles of protocols 2 to 5, as CIFAR's authors wrote them and as others save them again, read as data: numbers, strings,
//! lists, dictionaries and numpy arrays.
//!
//! Nothing is ever executed and no object of any class is built. The only calls that are understood are those by which numpy writes an
//! array (`pickle/numpy.rs`), and they are taken as notation; any other name, and any other opcode, is an error. A value is a node in
//! one list and is named by its number, so that a pickle which repeats itself costs nothing, and there are never more nodes than bytes.

mod numpy;

pub(super) use numpy::{Array, Bytes};

use numpy::{Dtype, Name};
use std::collections::HashMap;
use std::ops::Range;

/// A pickle, read.
pub(super) struct Pickle<'a> {
    bytes: &'a [u8],
    nodes: Vec<Node>,
    top: Id,
}

/// Number of a node.
type Id = usize;

#[derive(Clone, Debug)]
enum Node {
    Nothing,
    Bool(bool),
    Int(i64),
    Float(f64),
    /// A string of either kind.
    Text(Bytes),
    List(Vec<Id>),
    Tuple(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Name(Name),
    /// An array of which neither shape nor contents are known yet.
    Blank,
    /// The type of an array's elements.
    Dtype(Dtype),
    Array(Array),
    /// What stands before the values of a list, tuple or dictionary.
    Mark,
}

impl<'a> Pickle<'a> {
    /// Reads a pickle; the error says what is wrong with it, and where.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, String> {
        let (nodes, stack, memo) = (Vec::new(), Vec::new(), HashMap::new());
        let mut reader = Reader { bytes, at: 0, nodes, stack, memo, decoded: 0 };
        match reader.run() {
            Ok(top) => Ok(Pickle { bytes, nodes: reader.nodes, top }),
            Err(why) => Err(format!("no pickle of arrays that can be read: {why} (at byte {})", reader.at)),
        }
    }

    /// The bytes of a string or of an array.
    pub(super) fn bytes<'b>(&'b self, bytes: &'b Bytes) -> &'b [u8] {
        bytes.of(self.bytes)
    }

    fn value(&self, key: &str) -> Result<&Node, String> {
        let Node::Dict(pairs) = &self.nodes[self.top] else { return Err("it holds no dictionary".into()) };
        let is_key = |id: Id| matches!(&self.nodes[id], Node::Text(text) if self.bytes(text) == key.as_bytes());
        // Python keeps the last of equal keys.
        let found = pairs.iter().rev().find(|(name, _)| is_key(*name));
        found.map(|(_, value)| &self.nodes[*value]).ok_or_else(|| format!("it has no `{key}`"))
    }

    /// The array of bytes under a key.
    pub(super) fn array(&self, key: &str) -> Result<&Array, String> {
        match self.value(key)? {
            Node::Array(array) if array.dtype == Dtype::BYTE => Ok(array),
            Node::Array(_) => Err(format!("`{key}` is an array of something else than bytes")),
            _ => Err(format!("`{key}` is no array")),
        }
    }

    /// The numbers under a key: a list of them, or an array with one side.
    pub(super) fn numbers(&self, key: &str) -> Result<Vec<f64>, String> {
        match self.value(key)? {
            Node::Array(array) if array.shape.len() == 1 => {
                array.numbers(self.bytes).ok_or_else(|| format!("`{key}` is an array of something else than numbers"))
            }
            _ => self.list(key, |node| match node {
                Node::Int(number) => Some(*number as f64),
                Node::Float(number) => Some(*number),
                _ => None,
            }),
        }
    }

    /// The list of strings under a key.
    pub(super) fn strings(&self, key: &str) -> Result<Vec<String>, String> {
        self.list(key, |node| match node {
            Node::Text(text) => std::str::from_utf8(self.bytes(text)).ok().map(str::to_string),
            _ => None,
        })
    }

    fn list<T>(&self, key: &str, element: impl Fn(&Node) -> Option<T>) -> Result<Vec<T>, String> {
        let Node::List(ids) = self.value(key)? else { return Err(format!("`{key}` is no list")) };
        let elements = ids.iter().zip(0..).map(|(id, at)| {
            element(&self.nodes[*id]).ok_or_else(|| format!("element {at} of `{key}` is of another kind"))
        });
        elements.collect()
    }
}

/// The machine that a pickle is a program for.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    nodes: Vec<Node>,
    stack: Vec<Id>,
    memo: HashMap<usize, Id>,
    /// Bytes that were decoded from strings: no more than the file has.
    decoded: usize,
}

impl Reader<'_> {
    fn run(&mut self) -> Result<Id, String> {
        loop {
            let code = self.take(1)?.start;
            match self.bytes[code] {
                b'.' => return self.pop(),
                0x80 => self.protocol()?,
                0x95 => self.skip(8)?, // FRAME
                b'q' | b'r' | 0x94 => self.memoize(code)?,
                b'h' => self.recall(1)?,
                b'j' => self.recall(4)?,
                b'(' => self.push(Node::Mark),
                b'N' => self.push(Node::Nothing),
                flag @ (0x88 | 0x89) => self.push(Node::Bool(flag == 0x88)),
                b'K' => self.number(1)?,
                b'M' => self.number(2)?,
                b'J' => self.number(4)?,
                b'G' => self.float()?,
                0x8a => self.long()?,
                b'U' | b'C' | 0x8c => self.text(1)?,
                b'T' | b'B' | b'X' => self.text(4)?,
                0x8e | 0x8d | 0x96 => self.text(8)?,
                b'c' => self.global()?,
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
                b'R' => self.call()?,
                b'b' => self.build()?,
                other => return Err(format!("opcode {other:#04x} is not one of data, arrays and protocols 2 to 5")),
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

    fn protocol(&mut self) -> Result<(), String> {
        match self.little(1)? {
            2..=5 => Ok(()),
            other => Err(format!("it is of protocol {other}, not of 2 to 5")),
        }
    }

    fn float(&mut self) -> Result<(), String> {
        let place = self.take(8)?;
        let bits = self.bytes[place].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        self.push(Node::Float(f64::from_bits(bits)));
        Ok(())
    }

    fn skip(&mut self, count: usize) -> Result<(), String> {
        self.take(count).map(|_| ())
    }

    fn little(&mut self, width: usize) -> Result<u64, String> {
        let place = self.take(width)?;
        Ok(self.bytes[place].iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    }

    fn line(&mut self) -> Result<Range<usize>, String> {
        let length = self.bytes[self.at..].iter().take(256).position(|byte| *byte == b'\n');
        let place = self.take(length.ok_or("a name does not end")?)?;
        self.take(1)?;
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

    fn memoize(&mut self, code: usize) -> Result<(), String> {
        let key = match self.bytes[code] {
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
        let number = if width == 0 { 0 } else { (unsigned << shift) as i64 >> shift };
        self.push(Node::Int(number));
        Ok(())
    }

    fn text(&mut self, width: usize) -> Result<(), String> {
        let length = usize::try_from(self.little(width)?).map_err(|error| error.to_string())?;
        let place = self.take(length)?;
        self.push(Node::Text(Bytes::Here(place)));
        Ok(())
    }

    fn tuple(&mut self, count: usize) -> Result<(), String> {
        let mut ids = Vec::new();
        for _ in 0..count {
            ids.push(self.pop()?);
        }
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

    fn global(&mut self) -> Result<(), String> {
        let (module, name) = (self.line()?, self.line()?);
        let found = Name::find(&self.bytes[module], &self.bytes[name])?;
        self.push(Node::Name(found));
        Ok(())
    }

    fn stack_global(&mut self) -> Result<(), String> {
        let (name, module) = (self.pop()?, self.pop()?);
        let (Node::Text(module), Node::Text(name)) = (&self.nodes[module], &self.nodes[name]) else {
            return Err("a name is no string".into());
        };
        let found = Name::find(module.of(self.bytes), name.of(self.bytes))?;
        self.push(Node::Name(found));
        Ok(())
    }
}
