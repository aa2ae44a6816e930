//! An interpreter for Python pickles of protocols 2 to 5. It reads them as data: numbers, strings,
//! lists and dictionaries.
//!
//! Nothing is ever executed and no object of any class is built. A [`Notation`] defines which names
//! and calls are allowed: numpy's for arrays (`downstream/pickle.rs`), PyTorch's for tensors (in
//! core). They are parsed as notation; any other name, and any other opcode, is an error. A value
//! is a node in one list and is referenced by its number, so a pickle that repeats itself costs
//! nothing, and there are never more nodes than bytes.

use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;

/// Number of a node.
pub type Id = usize;

/// A value of a pickle.
#[derive(Clone, Debug)]
pub enum Node<Own> {
    /// Python's `None`.
    Nothing,
    /// A boolean.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A floating-point number.
    Float(f64),
    /// A string of either kind.
    Text(Bytes),
    /// A list.
    List(Vec<Id>),
    /// A tuple.
    Tuple(Vec<Id>),
    /// A dictionary: its pairs in the order in which they were set.
    Dict(Vec<(Id, Id)>),
    /// A value of the notation: a known name, an array, a tensor.
    Own(Own),
    /// The mark before the values of a list, tuple or dictionary.
    Mark,
}

/// Bytes of a string.
#[derive(Clone, Debug, PartialEq)]
pub enum Bytes {
    /// A range of the file.
    Here(Range<usize>),
    /// Decoded from text.
    Decoded(Rc<[u8]>),
}

impl Bytes {
    /// The bytes themselves; `file` is the pickle.
    pub fn of<'a>(&'a self, file: &'a [u8]) -> &'a [u8] {
        match self {
            Bytes::Here(place) => &file[place.clone()],
            Bytes::Decoded(bytes) => bytes,
        }
    }
}

/// The meaning of the calls in a pickle.
pub trait Notation: Sized {
    /// The values of its names and calls.
    type Own: Clone + std::fmt::Debug;

    /// Its opcodes, for the error about an unknown one.
    const OPCODES: &'static str;

    /// Whether a pickle may refer to data outside of it.
    const REFERS: bool = false;

    /// The value of a name; an unknown name is an error.
    fn name(module: &[u8], name: &[u8]) -> Result<Self::Own, String>;

    /// Makes the value of a call: its arguments are on top of the stack, the called value below.
    fn call(reader: &mut Reader<Self>) -> Result<(), String>;

    /// Applies the state on top of the stack to the value below it.
    fn build(reader: &mut Reader<Self>) -> Result<(), String>;

    /// Resolves the reference on top of the stack.
    fn refer(_reader: &mut Reader<Self>) -> Result<(), String> {
        Err("it refers to data outside of it".into())
    }
}

/// A parsed pickle.
pub struct Values<'a, Own> {
    /// The pickle.
    pub bytes: &'a [u8],
    /// Its values.
    pub nodes: Vec<Node<Own>>,
    /// Its top-level value.
    pub top: Id,
}

/// The interpreter.
pub struct Reader<'a, N: Notation> {
    /// The pickle.
    pub bytes: &'a [u8],
    at: usize,
    /// The values so far.
    pub nodes: Vec<Node<N::Own>>,
    /// The stack, as numbers of values.
    pub stack: Vec<Id>,
    memo: HashMap<usize, Id>,
    /// The state of the notation.
    pub notation: N,
}

/// Reads a pickle; the error gives the fault and its byte.
pub fn read<N: Notation>(bytes: &[u8], notation: N) -> Result<Values<'_, N::Own>, (String, usize)> {
    let (nodes, stack, memo) = (Vec::new(), Vec::new(), HashMap::new());
    let mut reader = Reader { bytes, at: 0, nodes, stack, memo, notation };
    match reader.run() {
        Ok(top) => Ok(Values { bytes, nodes: reader.nodes, top }),
        Err(why) => Err((why, reader.at)),
    }
}

impl<N: Notation> Reader<'_, N> {
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
                b'R' => N::call(self)?,
                b'b' => N::build(self)?,
                b'Q' if N::REFERS => N::refer(self)?,
                other => return Err(format!("opcode {other:#04x} is not one of {}", N::OPCODES)),
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

    /// A new value, on top of the stack.
    pub fn push(&mut self, node: Node<N::Own>) {
        self.nodes.push(node);
        self.stack.push(self.nodes.len() - 1);
    }

    /// Pops the value on top of the stack.
    pub fn pop(&mut self) -> Result<Id, String> {
        let id = self.stack.pop().ok_or("its stack is empty")?;
        if matches!(self.nodes[id], Node::Mark) { Err("a mark in the place of a value".into()) } else { Ok(id) }
    }

    /// The value on top of the stack.
    pub fn top(&mut self) -> Result<&mut Node<N::Own>, String> {
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
        self.stack.push(*self.memo.get(&key).ok_or("it reads a memo entry that was never stored")?);
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
        let Node::List(list) = self.top()? else { return Err("it appends to a value that is not a list".into()) };
        list.extend(ids);
        Ok(())
    }

    fn set(&mut self, ids: Vec<Id>) -> Result<(), String> {
        if !ids.len().is_multiple_of(2) {
            return Err("a key has no value".into());
        }
        let Node::Dict(dict) = self.top()? else {
            return Err("it sets keys of a value that is not a dictionary".into());
        };
        dict.extend(ids.chunks_exact(2).map(|pair| (pair[0], pair[1])));
        Ok(())
    }

    fn global(&mut self) -> Result<(), String> {
        let (module, name) = (self.line()?, self.line()?);
        let found = N::name(&self.bytes[module], &self.bytes[name])?;
        self.push(Node::Own(found));
        Ok(())
    }

    fn stack_global(&mut self) -> Result<(), String> {
        let (name, module) = (self.pop()?, self.pop()?);
        let (Node::Text(module), Node::Text(name)) = (&self.nodes[module], &self.nodes[name]) else {
            return Err("a name is not a string".into());
        };
        let found = N::name(module.of(self.bytes), name.of(self.bytes))?;
        self.push(Node::Own(found));
        Ok(())
    }
}
