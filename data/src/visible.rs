//! Makes text from files safe to print: names and captions may hold escape sequences that move the
//! cursor, clear the screen or reverse the order of letters, and so show something else than is
//! there.

use std::borrow::Cow;

/// The text with control characters and marks of writing direction written as escapes (`\x1b`,
/// `\u202e`); line feeds and tabs are kept. JSON stays the same value: its strings hold control
/// characters below space only as escapes, and the other escapes are JSON's own.
pub fn visible(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c != '\n' && c != '\t' && is_hidden(c))
}

/// The same for text that belongs on one line: line feeds and tabs become escapes, too.
pub fn visible_line(text: &str) -> Cow<'_, str> {
    escaped(text, is_hidden)
}

fn escaped(text: &str, hidden: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&hidden) {
        return Cow::Borrowed(text);
    }
    let escape = |c: char| match c {
        '\n' => "\\n".to_string(),
        '\r' => "\\r".to_string(),
        '\t' => "\\t".to_string(),
        c if c < ' ' => format!("\\x{:02x}", u32::from(c)),
        c => format!("\\u{:04x}", u32::from(c)),
    };
    Cow::Owned(text.chars().map(|c| if hidden(c) { escape(c) } else { c.to_string() }).collect())
}

/// Control characters (C0, DEL, C1), separators of lines and paragraphs, and marks, embeddings,
/// overrides and isolates of writing direction.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_shown_and_all_else_is_kept() {
        let hostile = "a\x1b[2J\x07\r\u{7f}\u{9b}1m\u{202e}b";
        assert_eq!(visible(hostile), r"a\x1b[2J\x07\r\u007f\u009b1m\u202eb");
        assert_eq!(visible("naïve 犬\t\\ 'x'\nü"), "naïve 犬\t\\ 'x'\nü");
        assert_eq!(visible_line("one\ntwo\t"), r"one\ntwo\t");
        let json = serde_json::to_string(hostile).unwrap();
        assert_eq!(serde_json::from_str::<String>(&visible(&json)).unwrap(), hostile);
    }
}
