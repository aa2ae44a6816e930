//! Mojibake: UTF-8 that was decoded with a code page. It is detected by unlikely character
//! sequences and undone by encoding it with that code page again. The rules are ftfy 6.3.1's; see
//! `repair.rs`.

use super::Tables;
use regex::{Regex, bytes};
use std::collections::HashMap;

/// The intended code page of C1 controls.
const WINDOWS_1252: &str = "sloppy-windows-1252";

/// Code pages, and the patterns that detect mojibake.
pub struct Mojibake {
    pages: Vec<Page>,
    /// Windows-1252's characters for the C1 controls.
    pub c1: [char; 32],
    unlikely: Regex,
    utf8: Regex,
    utf8_not_after: Regex,
    altered_utf8: bytes::Regex,
    lossy_utf8: bytes::Regex,
}

/// A single-byte encoding.
struct Page {
    name: String,
    /// The bytes of its characters beyond ASCII.
    bytes: HashMap<char, u8>,
}

impl Page {
    /// A "sloppy" page maps all bytes, and U+FFFD as byte 1A: a character that was lost.
    fn is_sloppy(&self) -> bool {
        self.name.starts_with("sloppy")
    }

    fn encode(&self, text: &str) -> Option<Vec<u8>> {
        text.chars().map(|char| self.byte(char)).collect()
    }

    fn byte(&self, char: char) -> Option<u8> {
        match char {
            '\x1A' if self.is_sloppy() => None,
            '\u{FFFD}' if self.is_sloppy() => Some(0x1A),
            char if char.is_ascii() => Some(char as u8),
            char => self.bytes.get(&char).copied(),
        }
    }
}

impl Mojibake {
    pub fn new(tables: &Tables) -> Self {
        let upper = |name: &str| -> Vec<char> {
            tables.code_pages[name].as_str().expect("a page is its characters").chars().collect()
        };
        let page =
            |name: &String| Page { name: name.clone(), bytes: upper(name).into_iter().zip(0x80..=0xFF).collect() };
        let windows = upper(WINDOWS_1252);
        let regex = |pattern| Regex::new(pattern).expect("a valid pattern");
        let bytes = |pattern| bytes::Regex::new(pattern).expect("a valid pattern");
        Mojibake {
            pages: tables.code_pages.keys().map(page).collect(),
            c1: std::array::from_fn(|at| windows[at]),
            unlikely: regex(&tables.mojibake),
            utf8: regex(&tables.utf8),
            utf8_not_after: regex(&tables.utf8_not_after),
            altered_utf8: bytes(&tables.altered_utf8),
            lossy_utf8: bytes(&tables.lossy_utf8),
        }
    }

    /// Windows-1252's character for a C1 control; any other character is unchanged.
    pub fn c1_meant(&self, char: char) -> char {
        match char {
            '\u{80}'..='\u{9F}' => self.c1[char as usize - 0x80],
            _ => char,
        }
    }

    /// Undoes one layer after another.
    pub fn fix(&self, mut text: String) -> String {
        while let Some(fixed) = self.fix_layer(&text)
            && fixed != text
        {
            text = fixed;
        }
        text
    }

    /// Undoes one layer, if there is one.
    fn fix_layer(&self, text: &str) -> Option<String> {
        if text.is_ascii() || !self.unlikely.is_match(text) {
            return None;
        }
        if let Some(decoded) = self.pages.iter().find_map(|page| self.reread(page, text)) {
            return Some(decoded);
        }
        let embedded = self.fix_embedded(text);
        if embedded != text {
            return Some(embedded);
        }
        // Other mistakes stay, but a C1 control is never intended.
        Some(text.chars().map(|char| self.c1_meant(char)).collect())
    }

    /// The text decoded as UTF-8, if it was decoded with this page by mistake.
    fn reread(&self, page: &Page, text: &str) -> Option<String> {
        let mut bytes = page.encode(text)?;
        // In MacRoman, an en dash and a space would match such a sequence.
        if page.name != "macroman" && self.altered_utf8.is_match(&bytes) {
            bytes = self.restore_no_break_spaces(&bytes);
        }
        if page.is_sloppy() {
            bytes = self.lossy_utf8.replace_all(&bytes, bytes::NoExpand("\u{FFFD}".as_bytes())).into_owned();
        }
        decode(&bytes)
    }

    /// A byte A0 may have been converted to a space: restores it if it completes a UTF-8 sequence.
    fn restore_no_break_spaces(&self, bytes: &[u8]) -> Vec<u8> {
        let mut spread = Vec::with_capacity(bytes.len());
        for (at, &byte) in bytes.iter().enumerate() {
            spread.push(byte);
            // "à" is a word and keeps its space, unless it begins one of these Portuguese words.
            if byte == 0xC3 && bytes.get(at + 1) == Some(&b' ') {
                let next = &bytes[at + 2..];
                if ![&b" "[..], b"quele", b"quela", b"quilo", b"s "].iter().any(|word| next.starts_with(word)) {
                    spread.push(0xA0);
                }
            }
        }
        let restore =
            |found: &bytes::Captures| found[0].iter().map(|&byte| if byte == b' ' { 0xA0 } else { byte }).collect();
        self.altered_utf8.replace_all(&spread, |found: &bytes::Captures| -> Vec<u8> { restore(found) }).into_owned()
    }

    /// Mojibake inside a text that no single page explains.
    fn fix_embedded(&self, text: &str) -> String {
        let mut fixed = String::with_capacity(text.len());
        let (mut copied, mut from) = (0, 0);
        while let Some(found) = self.utf8.find_at(text, from) {
            let before = text[..found.start()].chars().next_back();
            if before.is_some_and(|char| self.utf8_not_after.is_match(char.encode_utf8(&mut [0; 4]))) {
                from = found.start() + found.as_str().chars().next().map_or(1, char::len_utf8);
                continue;
            }
            let part = found.as_str();
            fixed.push_str(&text[copied..found.start()]);
            // Fixing the whole text would recurse without end.
            let fix = part.len() < text.len() && self.unlikely.is_match(part);
            fixed.push_str(&if fix { self.fix(part.into()) } else { part.into() });
            (copied, from) = (found.end(), found.end());
        }
        fixed + &text[copied..]
    }
}

/// UTF-8, or one of its variants: surrogate pairs encoded one by one (CESU-8), and Java's C0 80 for
/// U+0000.
fn decode(bytes: &[u8]) -> Option<String> {
    let mut text = String::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(special) = (0..rest.len()).find(|&at| is_variant(&rest[at..])) {
        text.push_str(std::str::from_utf8(&rest[..special]).ok()?);
        rest = &rest[special..];
        match rest {
            [0xC0, _, after @ ..] => {
                text.push('\0');
                rest = after;
            }
            [_, b, c, _, e, f, after @ ..] if is_pair(rest) => {
                let bits = |byte: u8, mask: u8, shift: u32| u32::from(byte & mask) << shift;
                let code = bits(*b, 0x0F, 16) + bits(*c, 0x3F, 10) + bits(*e, 0x0F, 6) + bits(*f, 0x3F, 0);
                text.push(char::from_u32(0x10000 + code)?);
                rest = after;
            }
            // Half of a pair.
            _ => return None,
        }
    }
    text.push_str(std::str::from_utf8(rest).ok()?);
    Some(text)
}

/// Here and below, ftfy accepts a final line feed as the last byte.
fn is_variant(bytes: &[u8]) -> bool {
    matches!(bytes, [0xC0, 0x80, ..] | [0xC0, b'\n'] | [0xED, 0xA0..=0xBF, 0x80..=0xBF, ..])
}

fn is_pair(bytes: &[u8]) -> bool {
    matches!(
        bytes,
        [0xED, 0xA0..=0xAF, 0x80..=0xBF, 0xED, 0xB0..=0xBF, 0x80..=0xBF, ..]
            | [0xED, 0xA0..=0xAF, 0x80..=0xBF, 0xED, 0xB0..=0xBF, b'\n']
    )
}
