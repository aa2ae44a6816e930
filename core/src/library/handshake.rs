//! The handshake of a plugin library, read before any call into it: everything that must be equal
//! on both sides for Rust types to cross. `dynamic.rs` reads it,
//! [`export_plugins!`](crate::export_plugins) writes it, `build.rs` computes the fingerprint.

use super::guard;
use crate::corpus::Corpus;
use crate::data::Row;
use crate::data::canvas::Canvas;
use crate::data::index::Index;
use crate::data::{Dataset, Split};
use crate::evaluator::{Definition, Encoder, Score};
use crate::model::Clip;
use crate::registry::Plugin;
use crate::{Attack, Defense, Edit, Error, EvalContext, Evaluator, Goal, Phase, PlanContext, PoisonCtx, Result, Step};
use tch::Tensor;

/// Prefix of the symbol's name; the name of the crate follows, so that two plugin crates can be
/// linked into one program.
pub(super) const SYMBOL: &str = "gauntlet_plugins_";

/// The layout of [`Handshake`] itself.
pub(super) const INTERFACE: u32 = 4;

pub(super) const MAGIC: [u8; 16] = *b"gauntlet plugins";

/// The part that every version of the interface starts with.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Header {
    pub(super) magic: [u8; 16],
    pub(super) interface: u32,
}

/// The one symbol that a plugin library exports. It contains its text inline, so that comparing it
/// follows no pointers.
#[repr(C)]
pub struct Handshake {
    header: Header,
    /// Lines of `KEY VALUE`, padded with zeros.
    pub(super) fingerprint: [u8; 1024],
    sizes: [Size; TYPES.len()],
    /// Gives the library's own copy of core the build key for files in the store.
    pub(super) adopt: fn(String),
    pub(super) attacks: fn() -> Result<Vec<&'static Plugin<dyn Attack>>>,
    pub(super) defenses: fn() -> Result<Vec<&'static Plugin<dyn Defense>>>,
    pub(super) evaluators: fn() -> Result<Vec<&'static Plugin<dyn Evaluator>>>,
}

/// A type that crosses the boundary.
#[repr(C)]
#[derive(Clone, Copy)]
struct Size {
    name: [u8; 24],
    bytes: u32,
}

/// Compiler, target, a hash of core's and the shim's sources, and the version of every crate whose
/// types cross; `core/build.rs` lists them.
pub(super) const FINGERPRINT: &str = include_str!(concat!(env!("OUT_DIR"), "/fingerprint"));

macro_rules! sizes {
    ($($name:literal $type:ty),* $(,)?) => { [$(($name, size_of::<$type>() as u32)),*] };
}

/// Features of a dependency show here if they change a layout: `preserve_order` in the map,
/// `arbitrary_precision` in the number.
const TYPES: [(&str, u32); 24] = sizes![
    "serde_json::Value" serde_json::Value,
    "serde_json::Map" serde_json::Map<String, serde_json::Value>,
    "serde_json::Number" serde_json::Number,
    "tch::Tensor" Tensor,
    "tch::TchError" tch::TchError,
    "Plugin" Plugin<dyn Attack>,
    "Error" Error,
    "Dataset" Dataset,
    "Row" Row,
    "Split" Split,
    "Edit" Edit,
    "Goal" Goal,
    "PoisonCtx" PoisonCtx,
    "PlanContext" PlanContext,
    "Step" Step,
    "Phase" Phase,
    "Clip" Clip,
    "Corpus" Corpus,
    "EvalContext" EvalContext,
    "Encoder" Encoder,
    "Score" Score,
    "Definition" Definition,
    "Index" Index,
    "Canvas" Canvas,
];

impl Handshake {
    /// The handshake of a plugin built with this core.
    pub const fn new() -> Handshake {
        let mut sizes = [Size { name: [0; 24], bytes: 0 }; TYPES.len()];
        let mut number = 0;
        while number < TYPES.len() {
            sizes[number] = Size { name: padded(TYPES[number].0), bytes: TYPES[number].1 };
            number += 1;
        }
        Handshake {
            header: Header { magic: MAGIC, interface: INTERFACE },
            fingerprint: padded(FINGERPRINT),
            sizes,
            adopt: guard::adopt,
            attacks: guard::listed::<dyn Attack>,
            defenses: guard::listed::<dyn Defense>,
            evaluators: guard::listed::<dyn Evaluator>,
        }
    }

    /// Compares a plugin's type sizes with this program's; the error names both sides and the
    /// remedy.
    pub(super) fn check_sizes(&self) -> Result<(), String> {
        let own = Handshake::new();
        let sizes = self.sizes.iter().zip(&own.sizes);
        match sizes.into_iter().find(|(theirs, ours)| theirs.bytes != ours.bytes || theirs.name != ours.name) {
            None => Ok(()),
            Some((theirs, ours)) => Err(format!(
                "has {} bytes for a `{}` where this gauntlet has {} for a `{}`: it was built with other features or versions of a \
                 dependency; take serde_json and tch from `gauntlet::serde_json` and `gauntlet::tch`, and add no features to them",
                theirs.bytes,
                text(&theirs.name),
                ours.bytes,
                text(&ours.name)
            )),
        }
    }
}

/// Compares a plugin's fingerprint with this program's; the error names both sides and the remedy.
pub(super) fn fits(fingerprint: &[u8]) -> Result<(), String> {
    let (theirs, ours) = (text(fingerprint), FINGERPRINT);
    match theirs.lines().zip(ours.lines()).find(|(theirs, ours)| theirs != ours) {
        None => Ok(()),
        Some((theirs, ours)) => {
            let key = ours.split(' ').next().unwrap_or_default();
            Err(format!("was built {} {theirs}, this gauntlet {0} {ours}; {}", with(key), cure(key)))
        }
    }
}

impl Default for Handshake {
    fn default() -> Self {
        Handshake::new()
    }
}

fn with(key: &str) -> &'static str {
    match key {
        "rustc" => "by",
        "target" => "for",
        _ => "with",
    }
}

fn cure(key: &str) -> &'static str {
    match key {
        "rustc" => "build both with the same compiler (a rust-toolchain.toml names it)",
        "target" => "build it for this machine (`cargo build --target`)",
        "gauntlet" => "build it against the sources that this program was built from (`gauntlet` in its Cargo.toml)",
        "tch" | "torch-sys" => "build it with the version that gauntlet pins",
        _ => {
            "build it with the version that gauntlet's Cargo.lock has: `cargo update NAME --precise VERSION` in the plugin's folder"
        }
    }
}

/// A short form of the fingerprint, which trials record.
pub(super) fn built() -> String {
    FINGERPRINT.lines().take_while(|line| !line.starts_with("torch-sys")).collect::<Vec<_>>().join(", ")
}

/// Text without the trailing zeros.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end_matches('\0').to_string()
}

const fn padded<const N: usize>(text: &str) -> [u8; N] {
    let mut bytes = [0; N];
    let mut at = 0;
    // A text that is too long stops the build here.
    while at < text.len() {
        bytes[at] = text.as_bytes()[at];
        at += 1;
    }
    bytes
}

/// Makes a crate of plugins a library that `--plugin` loads; the last line of its `lib.rs`. The
/// crate is a `cdylib`.
///
/// The program and its plugins free each other's memory, so neither may set a global allocator.
#[macro_export]
macro_rules! export_plugins {
    () => {
        #[allow(unsafe_code)]
        #[unsafe(export_name = concat!("gauntlet_plugins_", env!("CARGO_CRATE_NAME")))]
        #[doc(hidden)]
        pub static GAUNTLET_PLUGINS: $crate::library::handshake::Handshake =
            $crate::library::handshake::Handshake::new();
    };
}
