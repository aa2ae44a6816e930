//! Opens a library of plugins. Rust types cross its boundary, so nothing in it is called before its
//! [`Handshake`] has shown that both sides are built alike. `library.rs` keeps the opened
//! libraries.

// The compiler cannot check opening a library and reading its exports.
#![allow(unsafe_code)]
#![deny(clippy::undocumented_unsafe_blocks)]

use super::Loaded;
use super::handshake::{self, Handshake, Header, INTERFACE, MAGIC, SYMBOL};
use crate::data::regular;
use crate::registry::origin::{Library, Origin};
use crate::registry::{Plugin, Role};
use crate::{Error, Result, build};
use std::ffi::OsStr;
use std::path::Path;

/// Opens the library in `file`, given as `path`; its plugins are named after `name`.
pub(super) fn open(path: &Path, file: &Path, name: String) -> Result<Loaded> {
    let content = regular::read(file, regular::LIBRARY).map_err(Error::io(file))?;
    let wrong = |why: String| Error::invalid("not a library of plugins", why);
    if !content.starts_with(b"\x7fELF") {
        return Err(wrong(
            "the file is not a shared library; `cargo build --release` writes one to target/release, lib*.so".into(),
        ));
    }
    if content.len() < whole(&content) {
        return Err(wrong("it is cut short; copy or build it again".into()));
    }
    let symbols = symbols(&content);
    if symbols.is_empty() {
        let why = "it exports none; end the crate's lib.rs with `gauntlet::export_plugins!();` and set crate-type = [\"cdylib\"] in its Cargo.toml";
        return Err(wrong(why.into()));
    }
    let handshake = read(file, &symbols).map_err(wrong)?;
    let fits = handshake.and_then(|handshake| handshake.check_sizes().map(|()| handshake));
    let handshake = fits.map_err(|why| Error::invalid("it does not fit", format!("it {why}")))?;
    let blake3 = blake3::hash(&content).to_hex().to_string();
    // Files that its plugins store are kept apart from those of another build of the library.
    (handshake.adopt)(format!("{}{}{blake3}", build::key()?, build::LIBRARY));
    let attacks = named(&name, (handshake.attacks)()?);
    let defenses = named(&name, (handshake.defenses)()?);
    let evaluators = named(&name, (handshake.evaluators)()?);
    let library = Library {
        name,
        given: path.to_path_buf(),
        path: file.to_path_buf(),
        origin: Origin {
            file: path.file_name().unwrap_or(OsStr::new("")).to_string_lossy().into_owned(),
            blake3,
            built: handshake::built(),
        },
    };
    Ok(Loaded { library, attacks, defenses, evaluators })
}

/// Size of a 64-bit ELF file, which ends with its section table: the system's loader would crash on
/// a truncated file.
fn whole(content: &[u8]) -> usize {
    // `e_shoff`, `e_shentsize` and `e_shnum` of its header.
    let [start, size, count] = [(0x28, 8), (0x3a, 2), (0x3c, 2)].map(|(at, bytes)| number(content, at, bytes));
    start.saturating_add(size * count).max(0x40)
}

/// Little-endian number.
fn number(content: &[u8], at: usize, bytes: usize) -> usize {
    let bytes = content.iter().skip(at).take(bytes).rev();
    bytes.fold(0usize, |number, byte| (number << 8) | usize::from(*byte))
}

/// Names of symbols that may export plugins: each ends with the name of its crate, which may differ
/// from the file name.
fn symbols(content: &[u8]) -> Vec<String> {
    let starts = content.windows(SYMBOL.len() + 1).enumerate();
    let starts = starts.filter(|(_, window)| window[0] == 0 && &window[1..] == SYMBOL.as_bytes());
    starts.filter_map(|(at, _)| symbol(&content[at + 1..])).collect()
}

/// The symbol name at the start, up to a zero byte.
fn symbol(content: &[u8]) -> Option<String> {
    let end = content.iter().position(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_')?;
    (content[end] == 0).then(|| String::from_utf8_lossy(&content[..end]).into_owned())
}

/// Loads the library permanently and reads its handshake, as far as this program knows the format.
/// Inner error: the file is a library of plugins, but was built differently from this program.
fn read(file: &Path, symbols: &[String]) -> Result<Result<&'static Handshake, String>, String> {
    // SAFETY: this runs the initialisers of a library that a person named on the command line.
    // Those of `inventory`, which list its plugins, touch only the library's own memory.
    let library = unsafe { libloading::Library::new(file) };
    // Never unloaded: plugins, their names and their functions are `'static`.
    let library = Box::leak(Box::new(library.map_err(|error| format!("it cannot be loaded: {error}"))?));
    let found = symbols.iter().find_map(|symbol| address(library, symbol));
    let found = found.ok_or("it exports none: the symbol is not among those that it exports")?;
    // SAFETY: only `export_plugins!` writes a symbol of this name, and every version of it starts
    // with this header, for which all bit patterns are valid.
    let header = unsafe { found.read() };
    if header.magic != MAGIC {
        return Err("its handshake is damaged; build it again".into());
    }
    if header.interface != INTERFACE {
        return Err(format!(
            "it has interface {} of plugins and this gauntlet {INTERFACE}; build it with the gauntlet that runs it",
            header.interface
        ));
    }
    // SAFETY: the interface number shows that it is this struct, `repr(C)`, at least up to its
    // fingerprint, for which all bit patterns are valid. The layout after it depends on the core
    // that it was built with, which the fingerprint identifies.
    let fingerprint = unsafe { std::ptr::addr_of!((*found.cast::<Handshake>()).fingerprint).read() };
    if let Err(why) = handshake::fits(&fingerprint) {
        return Ok(Err(why));
    }
    // SAFETY: the fingerprint matches, so it is exactly this struct, and a static of a library that
    // stays loaded. Its functions are not called before its sizes are compared.
    Ok(Ok(unsafe { &*found.cast::<Handshake>() }))
}

fn address(library: &'static libloading::Library, symbol: &str) -> Option<*const Header> {
    // SAFETY: only the address is taken here; the caller reads the memory behind it.
    unsafe { library.get::<*const Header>(symbol.as_bytes()) }.ok().map(|symbol| *symbol)
}

/// The same plugins under names unique to the library.
fn named<T: Role + ?Sized>(library: &str, plugins: Vec<&'static Plugin<T>>) -> Vec<Plugin<T>> {
    let rename = |plugin: &Plugin<T>| Plugin { name: format!("{library}/{}", plugin.name).leak(), ..*plugin };
    plugins.into_iter().map(rename).collect()
}
