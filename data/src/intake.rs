//! The checks of every source of files on untrusted bytes: the size of a file, and the text of a
//! caption.

use crate::rows::{Loss, Why};
use crate::{Error, Result};
use std::fs::{File, Metadata};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

/// Maximum size of an image, on disk or decoded (256 MiB).
pub(crate) const MAX_BYTES: u64 = 256 << 20;

/// Reads `size` bytes from `start` on.
pub(crate) fn read_span(file: &File, start: u64, size: u64) -> Result<Vec<u8>, String> {
    if size > MAX_BYTES {
        return Err(format!("{size} bytes are more than the limit of {MAX_BYTES}"));
    }
    let mut bytes = vec![0; size as usize];
    file.read_exact_at(&mut bytes, start).map_err(|error| error.to_string())?;
    Ok(bytes)
}

/// Maximum size of a caption in bytes. CLIP reads 77 tokens; what looks at whole captions, such as
/// the search for class names, takes time for each byte.
pub(crate) const MAX_CAPTION: usize = 1 << 16;

/// Maximum size of a caption or label in a file of its own, blanks included.
pub(crate) const MAX_TEXT: u64 = 1 << 20;

/// Maximum size of the JSON beside an image.
pub(crate) const MAX_JSON: u64 = 16 << 20;

/// A caption, trimmed. It is refused if it is longer than [`MAX_CAPTION`], is not UTF-8, or has no
/// letter and no digit.
pub(crate) fn caption(bytes: &[u8]) -> Result<String, Why> {
    if bytes.trim_ascii().len() > MAX_CAPTION {
        let why = format!("the caption has {} bytes, and the limit is {MAX_CAPTION}", bytes.trim_ascii().len());
        return Err(Loss::LongCaption.because(why));
    }
    let no_caption = |text: String| Err(Loss::NoCaption.because(text));
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text.trim(),
        Err(error) => return no_caption(format!("the caption is not UTF-8: {error}")),
    };
    match text.chars().any(char::is_alphanumeric) {
        true => Ok(text.to_string()),
        false if text.is_empty() => no_caption("the caption is empty".into()),
        false => no_caption(format!("the caption `{text}` has no letter and no digit")),
    }
}

/// The encoding of a text in UTF-16 or UTF-32, from its first bytes: its byte order mark, or the
/// positions of its zero bytes.
pub(crate) fn wide(head: &[u8]) -> Option<&'static str> {
    let zeros = |at: usize| head.iter().skip(at).step_by(2).take(32).filter(|byte| **byte == 0).count();
    let half = head.len().min(64) / 2;
    match head {
        [0xFF, 0xFE, 0, 0, ..] | [0, 0, 0xFE, 0xFF, ..] => Some("UTF-32"),
        [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] => Some("UTF-16"),
        // A Latin letter has two bytes, and always the same one of them is zero.
        _ if half > 1 && zeros(1) > half / 2 && zeros(0) == 0 => Some("UTF-16LE"),
        _ if half > 1 && zeros(0) > half / 2 && zeros(1) == 0 => Some("UTF-16BE"),
        _ => None,
    }
}

/// Size and modification time of a file, to detect a change without reading it.
pub(crate) fn stamp(path: &Path) -> std::io::Result<String> {
    std::fs::metadata(path).map(|file| stamp_of(&file))
}

fn stamp_of(file: &Metadata) -> String {
    format!("{} {}.{:09}", file.len(), file.mtime(), file.mtime_nsec())
}

/// The same as a number.
pub(crate) fn seen(file: &Metadata) -> u64 {
    let hash = blake3::hash(stamp_of(file).as_bytes());
    u64::from_le_bytes(hash.as_bytes()[..8].try_into().expect("a hash has 32 bytes"))
}

/// The error for a file of a source that is no longer the one whose rows were read.
pub(crate) fn changed(path: &Path) -> Error {
    let why = "was changed or removed after its rows were read (its size or modification time differs). Images from \
               before and after must not be mixed: put the old file back, or give another folder (--out or --store)";
    Error::invalid(path.display(), why)
}
