//! Repairs text as ftfy 6.3.1 (Robyn Speer) does with its default settings: entities, mojibake,
//! ligatures, widths, quotes, line ends, terminal escapes, control characters, composed accents.
//! `repair/mojibake.rs` has the most complex rules.
//!
//! The rules and their tables are ftfy's (`tables.json`, with its licence in `NOTICE` beside it).
//! Two classes of input give other results. Characters newer than Unicode 14 are composed,
//! case-folded and split into words by the Unicode version of this program, while ftfy and
//! open_clip use that of their Python (3.11: 14.0) and of its `regex`. And a line of more than a
//! million characters is repaired as a whole, while ftfy splits it.

mod mojibake;

use super::html::{self, Entities};
use mojibake::Mojibake;
use regex::{Captures, Regex};
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::HashMap;
use unicode_normalization::UnicodeNormalization;

/// `tables.json`, which `setup/tokenizer_tables.py` makes and explains.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tables {
    code_pages: CodePages,
    mojibake: String,
    utf8: String,
    utf8_not_after: String,
    altered_utf8: String,
    lossy_utf8: String,
    ligatures: HashMap<char, String>,
    entities: Entities,
    shouted_entities: Entities,
}

/// Name -> the characters of bytes 80 to FF, in the order in which they are tried.
type CodePages = serde_json::Map<String, serde_json::Value>;

/// The tables and patterns for repairing text.
pub struct Repair {
    mojibake: Mojibake,
    entity: Regex,
    terminal_escape: Regex,
    ligatures: HashMap<char, String>,
    entities: Entities,
    shouted_entities: Entities,
}

impl Repair {
    /// Reads the shipped tables.
    pub fn new() -> Self {
        let tables: Tables =
            serde_json::from_str(include_str!("tables.json")).expect("the shipped tables have these fields");
        let regex = |pattern| Regex::new(pattern).expect("a valid pattern");
        Repair {
            mojibake: Mojibake::new(&tables),
            entity: regex("&#?[0-9A-Za-z]{1,24};"),
            terminal_escape: regex(r"\x1B\[[\d;]*[a-zA-Z]"),
            ligatures: tables.ligatures,
            entities: tables.entities,
            shouted_entities: tables.shouted_entities,
        }
    }

    /// Whether a text certainly stays unchanged, here and in [`Repair::unescape`]: only ASCII, no
    /// `&` that could start an entity, no control character except those that are kept. Every rule
    /// below begins with a character outside this set.
    pub fn leaves_alone(text: &str) -> bool {
        text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t' | b'\n' | b'\x0C') && byte != b'&')
    }

    /// Repairs every line separately. From the first line with a `<` on, the text may be HTML, and
    /// entities are kept.
    pub fn fix(&self, text: &str) -> String {
        let mut plain = true;
        let fix = |line: &str| {
            plain &= !line.contains('<');
            self.fix_line(line, plain)
        };
        text.split_inclusive('\n').map(fix).collect()
    }

    /// Python's `html.unescape`.
    pub fn unescape<'a>(&self, text: &'a str) -> Cow<'a, str> {
        html::unescape(text, &self.entities, &self.mojibake.c1)
    }

    /// Repeats the repairs until nothing changes, because one may enable the next.
    fn fix_line(&self, line: &str, entities: bool) -> String {
        let mut text = line.to_string();
        loop {
            let mut fixed = text.clone();
            if entities {
                fixed = self.entity.replace_all(&fixed, |found: &Captures| self.entity(&found[0])).into_owned();
            }
            fixed = self.fix_characters(&self.mojibake.fix(fixed));
            fixed = self.terminal_escape.replace_all(&fixed, "").into_owned();
            fixed = fixed.chars().filter(|&char| !is_control(char)).nfc().collect();
            if fixed == text {
                return text;
            }
            text = fixed;
        }
    }

    /// An entity with its semicolon: known by its name or by its name in capitals, or a number.
    fn entity(&self, entity: &str) -> String {
        if entity.starts_with("&#") {
            let text = self.unescape(entity);
            return if text.contains(';') { entity.into() } else { text.into_owned() };
        }
        let name = &entity[1..];
        self.entities.get(name).or_else(|| self.shouted_entities.get(name)).map_or(entity, String::as_str).into()
    }

    /// Character by character: C1 controls, ligatures, widths, quotes; then line ends.
    fn fix_characters(&self, text: &str) -> String {
        let mut fixed = String::with_capacity(text.len());
        for char in text.chars() {
            let char = self.mojibake.c1_meant(char);
            match self.ligatures.get(&char) {
                Some(letters) => fixed.extend(letters.chars().map(uncurl)),
                None if is_other_width(char) => fixed.extend(std::iter::once(char).nfkc().map(uncurl)),
                None => fixed.push(uncurl(char)),
            }
        }
        fixed.replace("\r\n", "\n").replace(['\r', '\u{2028}', '\u{2029}', '\u{85}'], "\n")
    }
}

/// Half and full width forms, and the ideographic space.
fn is_other_width(char: char) -> bool {
    matches!(char, '\u{3000}' | '\u{FF01}'..='\u{FFEF}')
}

fn uncurl(char: char) -> char {
    match char {
        '\u{2BC}' | '\u{2018}'..='\u{201B}' => '\'',
        '\u{201C}'..='\u{201F}' => '"',
        _ => char,
    }
}

/// Control characters without a use in text: those of ASCII except tab, line feed, form feed and
/// carriage return; the deprecated ones of Arabic; the byte order mark; annotations; the object
/// replacement character.
fn is_control(char: char) -> bool {
    matches!(
        char,
        '\0'..='\x08' | '\x0B' | '\x0E'..='\x1F' | '\x7F' | '\u{206A}'..='\u{206F}' | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFC}'
    )
}
