//! HTML character references to text, as in Python's `html.unescape`: the rules of the HTML5
//! standard, in which a semicolon may be missing and the longest known name wins.

use std::borrow::Cow;
use std::collections::HashMap;
use std::iter::Peekable;
use std::str::CharIndices;

/// Names (with their semicolon if it is required) and their text.
pub type Entities = HashMap<String, String>;

/// The standard limits the length of a name to this many characters.
const LONGEST: usize = 32;

/// Windows-1252's characters for the C1 control characters that some references name.
type C1 = [char; 32];

/// Replaces every reference, once.
pub fn unescape<'a>(text: &'a str, entities: &Entities, c1: &C1) -> Cow<'a, str> {
    let Some(first) = text.find('&') else { return Cow::Borrowed(text) };
    let mut out = text[..first].to_string();
    let mut rest = &text[first..];
    while let Some(after) = rest.strip_prefix('&') {
        let used = match after.strip_prefix('#') {
            Some(number) => numeric(number, c1, &mut out).map(|used| used + 1),
            None => named(after, entities, &mut out),
        };
        if used.is_none() {
            out.push('&');
        }
        rest = &after[used.unwrap_or(0)..];
        let next = rest.find('&').unwrap_or(rest.len());
        out.push_str(&rest[..next]);
        rest = &rest[next..];
    }
    Cow::Owned(out)
}

/// Reads the text after `&#`; returns the number of bytes used, none if it is not a number.
fn numeric(text: &str, c1: &C1, out: &mut String) -> Option<usize> {
    let (radix, skip) = if text.starts_with(['x', 'X']) { (16, 1) } else { (10, 0) };
    let digits = text[skip..].bytes().take_while(|byte| char::from(*byte).is_digit(radix)).count();
    if digits == 0 {
        return None;
    }
    let end = skip + digits;
    // A number too long for 32 bits is beyond the last character, like every number that does not
    // fit.
    let code = u32::from_str_radix(&text[skip..end], radix).unwrap_or(u32::MAX);
    out.extend(character(code, c1));
    Some(end + usize::from(text[end..].starts_with(';')))
}

/// The character of a number: none for most control characters and non-characters.
fn character(code: u32, c1: &C1) -> Option<char> {
    match code {
        0 => Some('\u{FFFD}'),
        0x80..=0x9F => Some(c1[code as usize - 0x80]),
        0x1..=0x8 | 0xB | 0xE..=0x1F | 0x7F | 0xFDD0..=0xFDEF => None,
        _ if code <= 0x10_FFFF && code & 0xFFFE == 0xFFFE => None,
        _ => Some(char::from_u32(code).unwrap_or('\u{FFFD}')),
    }
}

/// Reads the text after `&`; returns the number of bytes used, none if there is no name.
fn named(text: &str, entities: &Entities, out: &mut String) -> Option<usize> {
    let mut chars: Peekable<CharIndices> = text.char_indices().peekable();
    let mut ends = Vec::new();
    while ends.len() < LONGEST
        && let Some((at, char)) =
            chars.next_if(|(_, char)| !matches!(char, '\t' | '\n' | '\x0C' | ' ' | '<' | '&' | '#' | ';'))
    {
        ends.push(at + char.len_utf8());
    }
    let mut end = *ends.last()?;
    if text[end..].starts_with(';') {
        end += 1;
        ends.push(end);
    }
    // A name has at least two characters; the whole text is tried at any length.
    let shortest = 2.min(ends.len());
    match ends[shortest - 1..].iter().rev().find_map(|&length| Some((length, entities.get(&text[..length])?))) {
        Some((length, known)) => out.extend([known, &text[length..end]]),
        None => out.extend(["&", &text[..end]]),
    }
    Some(end)
}
