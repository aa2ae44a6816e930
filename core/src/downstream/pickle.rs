//! Python pickles as CIFAR's authors wrote them, read as data: numbers, strings, lists, dictionaries and numpy arrays of bytes.
//!
//! Nothing is ever executed and no object of any class is built. The only calls that are understood are the three by which numpy
//! writes an array (`_reconstruct`, `ndarray`, `dtype`), and they are taken as notation; any other name, and any other opcode, is an
//! error. A value is a node in one list and is named by its number, so that a pickle which repeats itself costs nothing, and there are
//! never more nodes than bytes.

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
    /// A string of either kind: where it lies.
    Text(Range<usize>),
    List(Vec<Id>),
    Tuple(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Name(Name),
    /// An array of which neither shape nor contents are known yet.
    Blank,
    /// The type of an array's elements; whether it is a byte.
    Dtype(bool),
    Array(Array),
    /// What stands before the values of a list, tuple or dictionary.
    Mark,
}

/// What a pickle may name.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Name {
    Reconstruct,
    Ndarray,
    Dtype,
}

/// An array of bytes, rows first.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Array {
    /// Its dimensions.
    pub(super) shape: Vec<usize>,
    /// Where in the file its elements lie.
    pub(super) bytes: Range<usize>,
}

impl<'a> Pickle<'a> {
    /// Reads a pickle; the error says what is wrong with it, and where.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, String> {
        let mut reader = Reader { bytes, at: 0, nodes: Vec::new(), stack: Vec::new(), memo: HashMap::new() };
        match reader.run() {
            Ok(top) => Ok(Pickle { bytes, nodes: reader.nodes, top }),
            Err(why) => Err(format!("no pickle of arrays that can be read: {why} (at byte {})", reader.at)),
        }
    }

    fn value(&self, key: &str) -> Result<&Node, String> {
        let Node::Dict(pairs) = &self.nodes[self.top] else { return Err("it holds no dictionary".into()) };
        let is_key =
            |id: Id| matches!(&self.nodes[id], Node::Text(place) if &self.bytes[place.clone()] == key.as_bytes());
        // Python keeps the last of equal keys.
        let found = pairs.iter().rev().find(|(name, _)| is_key(*name));
        found.map(|(_, value)| &self.nodes[*value]).ok_or_else(|| format!("it has no `{key}`"))
    }

    /// The array under a key.
    pub(super) fn array(&self, key: &str) -> Result<&Array, String> {
        match self.value(key)? {
            Node::Array(array) => Ok(array),
            _ => Err(format!("`{key}` is no array")),
        }
    }

    /// The list of whole numbers under a key.
    pub(super) fn numbers(&self, key: &str) -> Result<Vec<i64>, String> {
        self.list(key, |node| if let Node::Int(number) = node { Some(*number) } else { None })
    }

    /// The list of strings under a key.
    pub(super) fn strings(&self, key: &str) -> Result<Vec<String>, String> {
        self.list(key, |node| match node {
            Node::Text(place) => std::str::from_utf8(&self.bytes[place.clone()]).ok().map(str::to_string),
            _ => None,
        })
    }

    fn list<T>(&self, key: &str, element: impl Fn(&Node) -> Option<T>) -> Result<Vec<T>, String> {
        let Node::List(ids) = self.value(key)? else { return Err(format!("`{key}` is no list")) };
        let elements = ids.iter().map(|id| element(&self.nodes[*id]));
        elements.collect::<Option<_>>().ok_or_else(|| format!("`{key}` holds something of another kind"))
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
                b'q' | b'r' | 0x94 => self.memoize(code)?,
                b'h' => self.recall(1)?,
                b'j' => self.recall(4)?,
                b'(' => self.push(Node::Mark),
                b'N' => self.push(Node::Nothing),
                flag @ (0x88 | 0x89) => self.push(Node::Bool(flag == 0x88)),
                b'K' => self.number(1)?,
                b'M' => self.number(2)?,
                b'J' => self.number(4)?,
                0x8a => self.long()?,
                b'U' | b'C' | 0x8c => self.text(1)?,
                b'T' | b'B' | b'X' => self.text(4)?,
                0x8e | 0x8d => self.text(8)?,
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
                other => return Err(format!("opcode {other:#04x} is not one of data, arrays and protocols 2 to 4")),
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
        self.push(Node::Text(place));
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
        self.name(module, name)
    }

    fn stack_global(&mut self) -> Result<(), String> {
        let (name, module) = (self.pop()?, self.pop()?);
        match (&self.nodes[module], &self.nodes[name]) {
            (Node::Text(module), Node::Text(name)) => self.name(module.clone(), name.clone()),
            _ => Err("a name is no string".into()),
        }
    }

    fn name(&mut self, module: Range<usize>, name: Range<usize>) -> Result<(), String> {
        let found = match (&self.bytes[module.clone()], &self.bytes[name.clone()]) {
            (b"numpy.core.multiarray" | b"numpy._core.multiarray", b"_reconstruct") => Name::Reconstruct,
            (b"numpy", b"ndarray") => Name::Ndarray,
            (b"numpy", b"dtype") => Name::Dtype,
            (module, name) => {
                let [module, name] =
                    [module, name].map(|part| String::from_utf8_lossy(part).escape_default().to_string());
                return Err(format!("it names `{module}.{name}`, which is not part of an array"));
            }
        };
        self.push(Node::Name(found));
        Ok(())
    }

    /// `_reconstruct(ndarray, (0,), 'b')` and `dtype('u1', ..)`, both to be filled in by what follows.
    fn call(&mut self) -> Result<(), String> {
        let (arguments, callee) = (self.pop()?, self.pop()?);
        let Node::Tuple(arguments) = &self.nodes[arguments] else { return Err("a call without arguments".into()) };
        let first = arguments.first().map(|id| &self.nodes[*id]);
        let made = match (&self.nodes[callee], first) {
            (Node::Name(Name::Reconstruct), Some(Node::Name(Name::Ndarray))) => Node::Blank,
            (Node::Name(Name::Dtype), Some(Node::Text(place))) => {
                Node::Dtype(matches!(&self.bytes[place.clone()], b"u1" | b"|u1"))
            }
            _ => return Err("a call that does not make an array".into()),
        };
        self.push(made);
        Ok(())
    }

    /// The state of an array (version, shape, dtype, whether columns come first, bytes); that of a dtype adds nothing for bytes.
    fn build(&mut self) -> Result<(), String> {
        let state = self.pop()?;
        let built = match self.top()? {
            Node::Dtype(_) => return Ok(()),
            Node::Blank => Node::Array(self.array(state)?),
            _ => return Err("it fills in what is no array".into()),
        };
        *self.top()? = built;
        Ok(())
    }

    fn array(&self, state: Id) -> Result<Array, String> {
        let Node::Tuple(parts) = &self.nodes[state] else { return Err("the state of an array is no tuple".into()) };
        let parts: Vec<&Node> = parts.iter().map(|id| &self.nodes[*id]).collect();
        let [_, Node::Tuple(shape), Node::Dtype(is_byte), Node::Bool(false), Node::Text(place)] = parts[..] else {
            return Err("an array that is not written rows first, with shape, type and bytes".into());
        };
        if !is_byte {
            return Err("an array of something else than bytes".into());
        }
        let side = |id: &Id| if let Node::Int(side) = self.nodes[*id] { usize::try_from(side).ok() } else { None };
        let shape: Vec<usize> =
            shape.iter().map(side).collect::<Option<_>>().ok_or("a shape that is no list of sizes")?;
        let count = shape.iter().try_fold(1usize, |count, side| count.checked_mul(*side));
        if count != Some(place.len()) {
            return Err(format!("an array of shape {shape:?} in {} bytes", place.len()));
        }
        Ok(Array { shape, bytes: place.clone() })
    }
}
