//! `--set dotted.key=value`: overrides one key of a suite, in TOML's notation.

use crate::{Error, Result};

/// Applies one `dotted.key=value`.
pub(super) fn set(table: &mut toml::Table, setting: &str) -> Result<()> {
    let wrong = |why: String| Error::invalid(format!("--set {setting}"), why);
    let (key, text) = setting.split_once('=').ok_or_else(|| wrong("must have the form key=value".into()))?;
    let parsed: Result<toml::Table, _> = format!("value = {text}").parse();
    let value =
        parsed.ok().and_then(|mut table| table.remove("value")).unwrap_or_else(|| toml::Value::String(text.into()));
    let mut parts = path(key.trim());
    let last = parts.pop().filter(|part| !part.is_empty()).ok_or_else(|| wrong("names no key".into()))?;
    let mut place = table;
    for part in parts {
        let inner = place.entry(&part).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        place = inner.as_table_mut().ok_or_else(|| wrong(format!("`{part}` is not a table")))?;
    }
    place.insert(last, value);
    Ok(())
}

/// The parts of a dotted key. A part may be quoted; TOML requires it for characters other than
/// letters, digits, dash and underscore.
fn path(key: &str) -> Vec<String> {
    let parsed: Result<toml::Table, _> = format!("{key} = 0").parse();
    let Ok(mut table) = parsed else { return key.split('.').map(str::to_string).collect() };
    let mut parts = Vec::new();
    while let Some((part, inner)) = table.into_iter().next() {
        parts.push(part);
        table = if let toml::Value::Table(inner) = inner { inner } else { toml::Table::new() };
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::set;

    #[test]
    fn settings_reach_nested_keys_and_bare_words_are_strings() {
        let mut table: toml::Table = "[recipe]\nepochs = 3".parse().expect("TOML");
        set(&mut table, "recipe.epochs=5").expect("a number");
        set(&mut table, "data.path=some/folder").expect("a bare word");
        assert_eq!(table["recipe"]["epochs"].as_integer(), Some(5));
        assert_eq!(table["data"]["path"].as_str(), Some("some/folder"));
        assert!(set(&mut table, "recipe.epochs.deeper=1").is_err());
        set(&mut table, "downstream.\"a.b/c\".path=folder").expect("a key in quotes");
        assert_eq!(table["downstream"]["a.b/c"]["path"].as_str(), Some("folder"));
        set(&mut table, "attacks.mine/frame.size=3").expect("a key that TOML would have in quotes");
        assert_eq!(table["attacks"]["mine/frame"]["size"].as_integer(), Some(3));
    }
}
