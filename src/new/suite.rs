//! `gauntlet new suite`: writes a short suite for your own pairs as a starting point. It contains
//! the properties of the data that can be detected (format, columns), and comments for the others.

use crate::say;
use gauntlet::data::regular;
use gauntlet::data::vocabulary;
use gauntlet::data::webdataset::Webdataset;
use gauntlet::{Error, Result};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

/// Common names of the columns of paths and of captions; the first that exists is used.
const PATHS: [&str; 8] = ["image", "filepath", "path", "file", "filename", "image_path", "img_path", "file_name"];
const CAPTIONS: [&str; 6] = ["caption", "title", "text", "captions", "description", "TEXT"];

/// Maximum length of a table's header line.
const HEADER: u64 = 1 << 16;

/// Writes the suite `path` for the pairs in `data`.
///
/// # Errors
/// If the file already exists, or the data is neither a table with the two columns nor a folder of
/// shards.
pub fn write(path: &Path, data: &Path, classes: &str) -> Result<()> {
    if path.exists() {
        return Err(Error::invalid(path.display().to_string(), "already exists; choose another name"));
    }
    vocabulary::read(classes).map_err(|error| error.during("--classes"))?;
    let name = path.file_stem().map_or_else(|| "mine".into(), |stem| stem.to_string_lossy().into_owned());
    let text = suite(&name, &source(data)?, classes);
    fs::write(path, text).map_err(Error::io(path))?;
    let shown = path.display();
    say(&format!(
        "wrote {shown}. Next:\n\n    gauntlet run {shown} --out out/{name} --dry-run    # opens all files that it names\n    \
         gauntlet run {shown} --out out/{name}\n    gauntlet report out/{name}\n"
    ));
    Ok(())
}

/// The `[data]` table.
fn source(data: &Path) -> Result<String> {
    let about = fs::metadata(data).map_err(Error::io(data))?;
    let path = data.display().to_string();
    if about.is_dir() || path.ends_with(".tar") {
        Webdataset { path: data.into(), ..Webdataset::default() }.open()?;
        return Ok(format!("kind = \"webdataset\"\npath = {}", quoted(&path)));
    }
    let mut header = String::new();
    let file = regular::open(data).map_err(Error::io(data))?;
    BufReader::new(file.take(HEADER)).read_line(&mut header).map_err(Error::io(data))?;
    let delimiter = if header.contains('\t') { '\t' } else { ',' };
    let columns: Vec<&str> = header.trim_start_matches('\u{feff}').trim().split(delimiter).map(unquoted).collect();
    let image = find(&path, &columns, &PATHS, "image paths")?;
    let caption = find(&path, &columns, &CAPTIONS, "captions")?;
    let tab = if delimiter == '\t' { "\ndelimiter = \"tab\"" } else { "" };
    let path = quoted(&path);
    Ok(format!("kind = \"csv\"\npath = {path}\npath_column = \"{image}\"\ncaption_column = \"{caption}\"{tab}"))
}

/// The column that has one of these names.
fn find(path: &str, columns: &[&str], names: &[&'static str], what: &str) -> Result<&'static str> {
    let found = names.iter().find(|name| columns.contains(*name)).copied();
    found.ok_or_else(|| {
        let why =
            format!("its first line names the columns {}; none is called {}", columns.join(", "), names.join(", "));
        Error::invalid(path, format!("{why}: rename the column of {what}, or write the suite by hand"))
    })
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a string")
}

fn unquoted(name: &str) -> &str {
    name.trim().trim_matches('"')
}

fn suite(name: &str, data: &str, classes: &str) -> String {
    format!(
        r#"# Poisoning and a backdoor on your own pairs: `gauntlet describe suite` explains every key.
name = "{name}"
seeds = [0]                     # six give a verdict
model = "small"                 # 64 pixels; or tiny, RN50, ViT-B-32, ...
classes = "{classes}"           # what attacks aim at: a downstream set's classes, or a class file (.json)
heldout = 0.1                   # share of the pairs that targets and victims are drawn from

[data]
{data}

[recipe]
epochs = 10
batch = 64
learning_rate = 1e-3
warmup_steps = 50

[attacks.targeted]              # held-out images re-labelled; each needs so many captions that name a class
targets = 32
captions = 8

[attacks.badnet]                # a patch that selects a class
poison = {{ rate = 0.01 }}
size = 12

[arenas]
targeted = ["targeted"]
backdoor = ["badnet"]

[defenses]
clip = {{}}
augmentation-control = {{ of = "roclip" }}
roclip = {{ every = 2, first = 6 }}

# Accuracy needs labels somewhere: a downstream set, and `accuracy = "cifar10"` above.
# [downstream.cifar10]
# path = "data/cifar10"         # `gauntlet data fetch cifar10 --to data`
"#
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_found_by_their_usual_names_and_a_table_without_them_says_what_it_has() {
        let folder = tempfile::tempdir().unwrap();
        let table = folder.path().join("t.tsv");
        fs::write(&table, "\u{feff}filepath\ttitle\nx.png\ta thing\n").unwrap();
        let found = source(&table).unwrap();
        assert!(found.contains("path_column = \"filepath\"") && found.contains("delimiter = \"tab\""), "{found}");
        fs::write(&table, "url,words\n").unwrap();
        let message = source(&table).unwrap_err().chain();
        assert!(message.contains("url, words") && message.contains("t.tsv"), "{message}");
        let parsed: toml::Table = suite("x", "kind = \"webdataset\"", "imagenet").parse().unwrap();
        assert_eq!(parsed["data"]["kind"].as_str(), Some("webdataset"));
    }
}
