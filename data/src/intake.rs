//! The checks of every source of files on untrusted bytes: the size of a file, and the text of a
//! caption.

use crate::Result;
use crate::rows::{Loss, Why};
use std::fs::File;
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

/// A caption, trimmed. It is refused if it is not UTF-8, or has no letter and no digit.
pub(crate) fn caption(bytes: &[u8]) -> Result<String, Why> {
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
    let file = std::fs::metadata(path)?;
    Ok(format!("{} {}.{:09}", file.len(), file.mtime(), file.mtime_nsec()))
}
