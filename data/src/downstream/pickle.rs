//! Python pickles, as written by CIFAR's authors or saved again by others: numbers, strings, lists,
//! dictionaries and numpy arrays. The pickle machine is `data/src/pickle.rs`. The only calls
//! allowed here are those with which numpy writes an array (`pickle/numpy.rs`).

mod numpy;

pub(super) use crate::pickle::Bytes;
pub(super) use numpy::Array;

use crate::pickle::{self, Values};
use numpy::{Arrays, Dtype, Numpy};

type Node = pickle::Node<Numpy>;

/// A pickle, read.
pub(super) struct Pickle<'a>(Values<'a, Numpy>);

impl<'a> Pickle<'a> {
    /// Reads a pickle; the error gives the fault and its byte.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, String> {
        let values = pickle::read(bytes, Arrays::default());
        let wrong = |(why, at)| format!("not a readable pickle of arrays: {why} (at byte {at})");
        values.map(Pickle).map_err(wrong)
    }

    /// The bytes of a string or of an array.
    pub(super) fn bytes<'b>(&'b self, bytes: &'b Bytes) -> &'b [u8] {
        bytes.of(self.0.bytes)
    }

    fn value(&self, key: &str) -> Result<&Node, String> {
        let Node::Dict(pairs) = &self.0.nodes[self.0.top] else { return Err("it has no dictionary".into()) };
        let is_key = |id: usize| matches!(&self.0.nodes[id], Node::Text(text) if self.bytes(text) == key.as_bytes());
        // Python keeps the last of equal keys.
        let found = pairs.iter().rev().find(|(name, _)| is_key(*name));
        found.map(|(_, value)| &self.0.nodes[*value]).ok_or_else(|| format!("it has no `{key}`"))
    }

    /// The array of bytes under a key.
    pub(super) fn array(&self, key: &str) -> Result<&Array, String> {
        match self.value(key)? {
            Node::Own(Numpy::Array(array)) if array.dtype == Dtype::BYTE => Ok(array),
            Node::Own(Numpy::Array(_)) => Err(format!("`{key}` is not an array of bytes")),
            _ => Err(format!("`{key}` is not an array")),
        }
    }

    /// The numbers under a key: a list of them, or an array with one dimension.
    pub(super) fn numbers(&self, key: &str) -> Result<Vec<f64>, String> {
        match self.value(key)? {
            Node::Own(Numpy::Array(array)) if array.shape.len() == 1 => {
                array.numbers(self.0.bytes).ok_or_else(|| format!("`{key}` is not an array of numbers"))
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
        let Node::List(ids) = self.value(key)? else { return Err(format!("`{key}` is not a list")) };
        let elements = ids.iter().zip(0..).map(|(id, at)| {
            element(&self.0.nodes[*id]).ok_or_else(|| format!("element {at} of `{key}` has another type"))
        });
        elements.collect()
    }
}
