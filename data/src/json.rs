//! JSON files beside images: as written by Python's `json.dumps`, and possibly damaged.
//!
//! serde_json is strict, which is right for gauntlet's own files. Python's writer also gives `NaN`,
//! `Infinity`, `-Infinity` and halves of surrogate pairs (`\udce9`, a byte that was not UTF-8), and
//! img2dataset keeps any EXIF value. No known parser accepts exactly this: sonic-rs (`utf8_lossy`)
//! accepts the surrogates but not the numbers, and json5 also accepts comments and single quotes.
//! So a text that serde_json refuses is rewritten, token by token, into strict JSON. Only the
//! wanted fields of a sample are parsed.

use crate::intake::wide;
use serde_json::{Map, Value};

/// The fields of a sample: the `wanted` ones, the last if a name is repeated; the others may be
/// null instead. Only an invalid wanted value, or a text that is not a JSON object, is an error.
/// The contents of a wanted list or object are not parsed.
pub(crate) fn fields(bytes: &[u8], wanted: &[&str]) -> Result<Map<String, Value>, String> {
    // This succeeds for almost every file. If it fails, the second reading gives the error.
    if let Ok(fields) = serde_json::from_slice(bytes) {
        return Ok(fields);
    }
    let text = standard(bytes)?;
    let (mut at, mut fields) = (expect(&text, 0, b"{")?, Map::new());
    if let Ok(end) = expect(&text, at, b"}") {
        return whole(&text, end, fields);
    }
    loop {
        let start = expect(&text, at, b"\"")? - 1;
        let key_end = string_end(&text, start)?;
        let key: String = serde_json::from_slice(&text[start..key_end]).map_err(|error| format!("a name: {error}"))?;
        let start = expect(&text, key_end, b":")?;
        let end = value_end(&text, start)?;
        let value = match wanted.contains(&key.as_str()) {
            true => value(&text[start..end]).map_err(|error| format!("field `{key}`: {error}"))?,
            false => Value::Null,
        };
        fields.insert(key, value);
        at = expect(&text, end, b",}")?;
        if text[at - 1] == b'}' {
            return whole(&text, at, fields);
        }
    }
}

/// The same text in strict JSON: without a byte order mark, `null` for the numbers that JSON does
/// not have, U+FFFD for half a pair.
pub(crate) fn standard(bytes: &[u8]) -> Result<Vec<u8>, String> {
    if let Some(encoding) = wide(bytes) {
        return Err(format!("it is {encoding}, not UTF-8 (iconv -f {encoding} -t UTF-8 makes it so)"));
    }
    let mut rest = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let mut text = Vec::with_capacity(rest.len());
    while let Some(&byte) = rest.first() {
        let constant = [&b"NaN"[..], b"Infinity", b"-Infinity"].into_iter().find(|constant| rest.starts_with(constant));
        let taken = match (byte, constant) {
            (b'"', _) => string(rest, &mut text),
            (_, Some(constant)) => {
                text.extend(b"null");
                constant.len()
            }
            _ => {
                text.push(byte);
                1
            }
        };
        rest = &rest[taken..];
    }
    Ok(text)
}

/// Copies the string at the start of `rest`, with halves of surrogate pairs replaced; returns its
/// length in bytes.
fn string(rest: &[u8], text: &mut Vec<u8>) -> usize {
    let mut at = 1;
    text.push(b'"');
    while let Some(&byte) = rest.get(at) {
        let high = |at: usize| (0xD800..0xDC00).contains(&unit(rest, at));
        let low = |at: usize| (0xDC00..0xE000).contains(&unit(rest, at));
        let (taken, replaced): (usize, Option<&[u8]>) = match rest[at..] {
            [b'\\', b'u', ..] if high(at) && low(at + 6) => (12, None),
            [b'\\', b'u', ..] if high(at) || low(at) => (6, Some(b"\\ufffd")),
            [b'\\', _, ..] => (2, None),
            // Python's "surrogatepass" writes half a pair as three bytes that are not UTF-8.
            [0xED, 0xA0..=0xBF, 0x80..=0xBF, ..] => (3, Some("\u{FFFD}".as_bytes())),
            _ => (1, None),
        };
        text.extend(replaced.unwrap_or(&rest[at..at + taken]));
        at += taken;
        if byte == b'"' {
            break;
        }
    }
    at
}

/// The number of the escape `\uXXXX` at a position; 0 if there is none.
fn unit(text: &[u8], at: usize) -> u32 {
    let digits = text.get(at..at + 6).and_then(|escape| escape.strip_prefix(b"\\u"));
    let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
    digits.and_then(|digits| u32::from_str_radix(digits, 16).ok()).unwrap_or(0)
}

/// Parses a wanted value. Of a list or an object only the type is kept.
fn value(text: &[u8]) -> serde_json::Result<Value> {
    match text.trim_ascii().first() {
        Some(b'{') => Ok(Value::Object(Map::new())),
        Some(b'[') => Ok(Value::Array(Vec::new())),
        _ => serde_json::from_slice(text),
    }
}

/// The end of the value that starts at `at`: before the comma or the bracket that follows. Its
/// contents are not checked, at any depth.
fn value_end(text: &[u8], mut at: usize) -> Result<usize, String> {
    let mut depth = 0;
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => {
                at = string_end(text, at)?;
                continue;
            }
            b',' | b'}' | b']' if depth == 0 => return Ok(at),
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
    }
    Err("it ends within a value".into())
}

/// The position after the closing quote of the string that starts at `start`.
fn string_end(text: &[u8], start: usize) -> Result<usize, String> {
    let mut at = start + 1;
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => return Ok(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    Err(format!("the string at byte {start} never closes"))
}

/// The position after one of these characters, which must come next except for white space.
fn expect(text: &[u8], at: usize, wanted: &[u8]) -> Result<usize, String> {
    let space = text[at..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    match text.get(at + space) {
        Some(byte) if wanted.contains(byte) => Ok(at + space + 1),
        Some(_) => Err(format!("there is no `{}` at byte {}", wanted.escape_ascii(), at + space)),
        None => Err(format!("it ends where there should be `{}`", wanted.escape_ascii())),
    }
}

fn whole(text: &[u8], end: usize, fields: Map<String, Value>) -> Result<Map<String, Value>, String> {
    match text[end..].trim_ascii() {
        [] => Ok(fields),
        more => Err(format!("{} bytes follow the end of the object", more.len())),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::ClassFile;
    use serde_json::json;

    fn read(text: &[u8]) -> Result<Value, String> {
        fields(text, &["caption", "class"]).map(Value::Object)
    }

    #[test]
    fn what_python_writes_is_read() {
        let caption = r#""caption": "caf\udce9 \ud83d\ude00 \ud83d""#;
        let others = r#""class": 7, "a": NaN, "b": [Infinity, -Infinity], "c": "\udce9""#;
        let found = read(format!("{{{caption}, {others}}}").as_bytes()).unwrap();
        assert_eq!((&found["caption"], &found["class"]), (&json!("caf\u{FFFD} \u{1F600} \u{FFFD}"), &json!(7)));
        // In a wanted field: pandas' missing caption is not text, but "NaN" in a string is.
        assert_eq!(read(br#"{"caption": NaN, "class": -Infinity}"#).unwrap(), json!({"caption": null, "class": null}));
        assert_eq!(read(br#"{"caption": "NaN, -Infinity", "x": NaN}"#).unwrap()["caption"], "NaN, -Infinity");
        assert_eq!(read(b"\xEF\xBB\xBF {\"caption\": \"a\"}\n").unwrap(), json!({"caption": "a"}));
        assert_eq!(read(b"{\"caption\": \"a\xED\xB3\xA9\"}").unwrap(), json!({"caption": "a\u{FFFD}"}));
        assert_eq!(read(br#"{"caption": "a", "caption": "b", "x": NaN}"#).unwrap()["caption"], "b");
    }

    #[test]
    fn only_what_is_wanted_costs_a_row() {
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        for broken in ["undefined", "1e999", "01", "'a, b'", &deep, "\"\t\u{1}\"", "\"\\x\"", "{\"a\": {3}, 4}"] {
            let text = format!("{{\"x\": {broken}, \"caption\": \"two, {{dogs\"}}");
            let read = read(text.as_bytes());
            if broken == "'a, b'" {
                assert!(read.is_err(), "a quote that is none ends at its comma");
                continue;
            }
            assert_eq!(read.unwrap()["caption"], "two, {dogs", "{}", &text[..text.len().min(80)]);
        }
        assert_eq!(read(b"{\"x\": \"\xFF\", \"caption\": \"a\"}").unwrap()["caption"], "a");
        assert_eq!(read(format!("{{\"caption\": {deep}}}").as_bytes()).unwrap()["caption"], json!([]));
        for (wanted, why) in [("1e999", "out of range"), ("undefined", "expected value"), ("\"\\x\"", "escape")] {
            let message = read(format!("{{\"class\": {wanted}}}").as_bytes()).unwrap_err();
            assert!(message.contains("field `class`") && message.contains(why), "{message}");
        }
    }

    #[test]
    fn class_files_are_read_as_python_writes_them_and_errors_name_the_place() {
        let path = tempfile::tempdir().unwrap().keep().join("classes.json");
        let read = |text: &[u8]| {
            std::fs::write(&path, text).unwrap();
            ClassFile::read(&path).map_err(|error| error.chain())
        };
        let marked = b"\xEF\xBB\xBF{\"classes\": {\"cafe\": [\"caf\\udce9\"]}, \"templates\": [\"a {}\"]}";
        assert_eq!(read(marked).unwrap().classes["cafe"], ["caf\u{FFFD}"]);
        let wide: Vec<u8> = "{\"classes\": {}}".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert!(read(&wide).unwrap_err().contains("classes.json: it is UTF-16LE"));
        let message = read(b"\xEF\xBB\xBF{\"classes\": {\n\"a\": [NaN]},\n\"templates\": []}").unwrap_err();
        assert!(message.contains("classes.json") && message.contains("line 2 column"), "{message}");
        std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn what_is_no_object_is_refused_and_says_why() {
        let wide: Vec<u8> = "{\"caption\": \"a cat\"}".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let marked = [&b"\xFF\xFE"[..], &wide].concat();
        for (text, why) in [
            (&b""[..], "it ends where"),
            (b"[1, NaN]", "no `{` at byte 0"),
            (b"{\"caption\": \"a\"", "it ends"),
            (b"{\"caption\": \"a", "never closes"),
            (b"{\"caption\" \"a\"}", "no `:`"),
            (b"{\"caption\": \"a\",}", "no `\\\"`"),
            (b"{\"caption\": \"a\"} {}", "follow the end"),
            (&wide, "UTF-16LE"),
            (&marked, "UTF-16"),
        ] {
            let message = read(text).unwrap_err();
            assert!(message.contains(why), "{message} should say {why}");
        }
    }
}
