//! img2dataset/webdataset tar shards, read in place: one pass over headers, captions and labels finds the rows, after which any
//! picture is read in any order. Nothing is extracted, and no name inside a shard ever touches the file system.
//!
//! Samples are grouped as webdataset groups them: neighbouring members that share their path up to the first dot of the
//! file name. `data/index.rs` says where the rows go.

pub mod shard;

use super::canvas::intake::{caption, class_file, read_span, stamp};
use super::canvas::picture;
use super::index::Row;
use super::ordered::ordered;
use super::{BadRow, ClassFile, DataConfig, Entry, Source, json};
use crate::{Error, Progress, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// Tar shards of pictures with captions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Webdataset {
    /// Folder of `.tar` shards (read in the order of their names), or one `.tar` file.
    pub path: PathBuf,
    /// Field of a sample's JSON that is its class label; empty for none. Without labels nothing can be held out.
    pub class_field: String,
    /// JSON file of class names and prompt templates; empty to let the labels name themselves.
    pub class_file: PathBuf,
    /// Field of a sample's JSON that is its caption; "auto" takes the `.txt` where there is one, otherwise the field `caption`.
    pub caption: String,
    /// Pairs that are held out, a source of their own; without it a share of the pairs is (`heldout`). It is read like any `[data]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation: Option<Box<DataConfig>>,
    /// Share of rows that may be unusable (corrupt, without caption, ..) before the data set is refused.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub max_bad: f64,
}

impl Default for Webdataset {
    fn default() -> Self {
        let (path, class_field, class_file) = Default::default();
        Webdataset { path, class_field, class_file, caption: "auto".into(), validation: None, max_bad: 0.01 }
    }
}

impl Webdataset {
    /// Finds the shards; reads nothing of them.
    ///
    /// # Errors
    /// If there is no shard, or the class file cannot be used.
    pub fn open(&self) -> Result<impl Source + use<>> {
        if self.path.as_os_str().is_empty() {
            return Err(Error::invalid("path", "it names no folder of `.tar` shards"));
        }
        let shards = find_shards(&self.path)?;
        let mut stamps = String::new();
        for path in &shards {
            stamps += &format!("{} {}\n", shard_name(path), stamp(path).map_err(Error::io(path))?);
        }
        Ok(Shards { config: self.clone(), shards, stamps, class_file: class_file(&self.class_file)? })
    }
}

/// Shards, opened.
struct Shards {
    config: Webdataset,
    shards: Vec<PathBuf>,
    /// Name, size and time of every shard.
    stamps: String,
    class_file: Option<ClassFile>,
}

/// Where the members of one key lie.
struct Sample {
    key: String,
    picture: Option<Span>,
    text: Option<Span>,
    json: Option<Span>,
}

#[derive(Clone, Copy)]
struct Span {
    start: u64,
    size: u64,
}

fn find_shards(path: &Path) -> Result<Vec<PathBuf>> {
    if fs::metadata(path).map_err(Error::io(path))?.is_file() {
        return Ok(vec![path.to_path_buf()]);
    }
    let mut shards = Vec::new();
    for entry in fs::read_dir(path).map_err(Error::io(path))? {
        let file = entry.map_err(Error::io(path))?.path();
        if file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("tar")) {
            shards.push(file);
        }
    }
    if shards.is_empty() {
        return Err(Error::invalid(path.display().to_string(), "there is no .tar file in this folder"));
    }
    shards.sort();
    Ok(shards)
}

fn shard_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// The samples of one shard. One that ends early gives the samples before its last, and what was lost.
fn samples(path: &Path, file: &File) -> Result<(Vec<Sample>, Option<BadRow>)> {
    let length = file.metadata().map_err(Error::io(path))?.len();
    let mut samples: Vec<Sample> = Vec::new();
    let fault = scan_members(file, length, |name, span| add_member(&mut samples, name, span));
    let cut = fault.err().map(|fault| {
        // Members of the last sample may be lost without a trace, its label for one. What is missing cannot be counted.
        let lost = samples.pop().map_or("everything".into(), |last| format!("`{}` and what followed it", last.key));
        let why = format!("the shard is cut short or damaged ({fault}): {lost} cannot be read");
        BadRow { name: shard_name(path), why }
    });
    Ok((samples, cut))
}

/// Calls `each` with the name and place of every file in a tar; the error says why the tar is not whole.
fn scan_members(file: &File, length: u64, mut each: impl FnMut(&str, Span)) -> Result<(), String> {
    let mut archive = tar::Archive::new(file);
    let mut end = 0;
    for entry in archive.entries_with_seek().map_err(|error| error.to_string())? {
        let entry = entry.map_err(|error| error.to_string())?;
        let span = Span { start: entry.raw_file_position(), size: entry.size() };
        if entry.header().entry_type().is_file() {
            end = span.start.saturating_add(span.size);
            each(&String::from_utf8_lossy(&entry.path_bytes()), span);
        }
    }
    // Skipping over the end of a file is no error, so that a cut member or a cut between members shows only here.
    let marker = end.checked_next_multiple_of(512).and_then(|end| end.checked_add(512));
    match marker {
        Some(marker) if marker <= length => Ok(()),
        _ => Err("it has no end mark".into()),
    }
}

/// Files a member under its key: a new sample if the key differs from the one before.
fn add_member(samples: &mut Vec<Sample>, name: &str, span: Span) {
    let file_name = name.rfind('/').map_or(0, |slash| slash + 1);
    let Some(dot) = name[file_name..].find('.').filter(|&dot| dot > 0) else { return };
    let (key, extension) = (&name[..file_name + dot], name[file_name + dot + 1..].to_lowercase());
    if samples.last().is_none_or(|last| last.key != key) {
        samples.push(Sample { key: key.into(), picture: None, text: None, json: None });
    }
    let sample = samples.last_mut().expect("one was just pushed if there was none");
    let member = match extension.as_str() {
        "jpg" | "jpeg" | "png" => &mut sample.picture,
        "txt" => &mut sample.text,
        "json" => &mut sample.json,
        _ => return,
    };
    member.get_or_insert(span);
}

impl Shards {
    /// The rows of one shard.
    fn rows(&self, shard: usize, seen: &SeenFields) -> Result<Vec<Result<Entry, BadRow>>> {
        let path = &self.shards[shard];
        let file = File::open(path).map_err(Error::io(path))?;
        let (samples, cut) = samples(path, &file)?;
        let row = |sample: Sample| {
            let bad = |why| BadRow { name: format!("{}:{}", shard_name(path), sample.key), why };
            self.entry(shard, &file, &sample, seen).map_err(bad)
        };
        Ok(samples.into_iter().map(row).chain(cut.map(Err)).collect())
    }

    fn entry(&self, shard: usize, file: &File, sample: &Sample, seen: &SeenFields) -> Result<Entry, String> {
        let picture = sample.picture.ok_or("it has no picture (.jpg, .jpeg or .png)")?;
        let size = u32::try_from(picture.size).map_err(|_| format!("its picture has {} bytes", picture.size))?;
        let text = sample.text.filter(|_| self.config.caption == "auto");
        let json = match sample.json.filter(|_| text.is_none() || !self.config.class_field.is_empty()) {
            Some(place) => {
                let caption = if text.is_some() { None } else { Some(self.caption_field()) };
                let wanted = [caption, Some(&*self.config.class_field)].into_iter().flatten().collect::<Vec<_>>();
                Some(parse_json(&read_span(file, place.start, place.size)?, &wanted)?)
            }
            None => None,
        };
        let caption = match text {
            Some(text) => caption(&read_span(file, text.start, text.size)?)?,
            None => self.json_caption(json.as_ref())?,
        };
        let label = json.as_ref().and_then(|json| label(json.get(&self.config.class_field)?));
        seen.note(json.as_ref(), &self.config.class_field);
        Ok(Entry { key: sample.key.clone(), caption, label, file: shard as u32, start: picture.start, size })
    }

    fn caption_field(&self) -> &str {
        if self.config.caption == "auto" { "caption" } else { &self.config.caption }
    }

    fn json_caption(&self, json: Option<&Map<String, Value>>) -> Result<String, String> {
        let (auto, field) = (self.config.caption == "auto", self.caption_field());
        match json.and_then(|json| json.get(field)) {
            Some(Value::String(text)) => caption(text.as_bytes()),
            Some(other) => Err(format!("the caption is not text: {other}")),
            None if auto => Err("it has no caption (no .txt, and no `caption` in a .json)".into()),
            None => Err(format!("it has no caption (no `{field}` in a .json)")),
        }
    }
}

fn parse_json(bytes: &[u8], wanted: &[&str]) -> Result<Map<String, Value>, String> {
    json::fields(bytes, wanted).map_err(|error| format!("its JSON cannot be read: {error}"))
}

/// Whether a class field was found, and what fields there were: a misspelt one would otherwise show only as data without labels.
#[derive(Default)]
struct SeenFields {
    found: AtomicBool,
    known: Mutex<BTreeSet<String>>,
}

impl SeenFields {
    fn note(&self, json: Option<&Map<String, Value>>, field: &str) {
        let Some(json) = json.filter(|_| !self.found.load(Ordering::Relaxed)) else { return };
        if json.contains_key(field) {
            self.found.store(true, Ordering::Relaxed);
        }
        self.known.lock().expect("no thread panics with it").extend(json.keys().cloned());
    }

    fn check(self, field: &str, path: &Path) -> Result<()> {
        if field.is_empty() || self.found.into_inner() {
            return Ok(());
        }
        let known = self.known.into_inner().expect("no thread panicked with it").into_iter().collect();
        let unknown = Error::Unknown { kind: "JSON field", name: field.into(), known };
        Err(unknown.during(format!("class_field of {}", path.display())))
    }
}

/// Numbers are labels too; nothing else is.
fn label(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.trim().to_string()).filter(|text| !text.is_empty()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

impl Source for Shards {
    fn fingerprint(&self) -> String {
        format!("{}{:?}", self.stamps, self.class_file)
    }

    fn scan(
        &self,
        threads: usize,
        progress: &dyn Progress,
        each: &mut dyn FnMut(Result<Entry, BadRow>) -> Result<()>,
    ) -> Result<()> {
        let (seen, mut done) = (SeenFields::default(), 0);
        let read = |shard| self.rows(shard, &seen);
        ordered(0..self.shards.len(), vec![read; threads], |rows| {
            done += 1;
            progress.report("index", done, self.shards.len() as u64, "shards");
            rows?.into_iter().try_for_each(&mut *each)
        })?;
        seen.check(&self.config.class_field, &self.config.path)
    }

    fn picture(&self, row: &Row, size: u32) -> Result<Vec<u8>, String> {
        let file = File::open(&self.shards[row.file as usize]).map_err(|error| error.to_string())?;
        picture(&read_span(&file, row.start, row.size.into())?, size)
    }

    fn name(&self, row: &Row) -> String {
        format!("{}:{}", shard_name(&self.shards[row.file as usize]), row.key)
    }

    fn classes(&self) -> Result<Option<ClassFile>> {
        Ok(self.class_file.clone())
    }

    fn max_bad(&self) -> f64 {
        self.config.max_bad
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::progress::Silent;
    use std::collections::BTreeMap;

    fn index(names: &[&str]) -> Vec<(String, [bool; 3])> {
        let mut samples = Vec::new();
        names.iter().for_each(|name| add_member(&mut samples, name, Span { start: 0, size: 0 }));
        let members = |s: &Sample| [s.picture.is_some(), s.text.is_some(), s.json.is_some()];
        samples.iter().map(|sample| (sample.key.clone(), members(sample))).collect()
    }

    #[test]
    fn members_group_by_path_up_to_the_first_dot_of_the_file_name() {
        let names = ["a.b/1.JPG", "a.b/1.seg.png", "a.b/1.txt", "2.png", "2.json", "a.b/._1.jpg", "plain"];
        let expected = [("a.b/1".to_string(), [true, true, false]), ("2".to_string(), [true, false, true])];
        assert_eq!(index(&names), expected);
    }

    fn shard(path: &Path, members: &[(&str, &[u8])]) {
        let mut tar = tar::Builder::new(File::create(path).unwrap());
        for (name, bytes) in members {
            let mut header = tar::Header::new_ustar();
            header.set_size(bytes.len() as u64);
            tar.append_data(&mut header, name, *bytes).unwrap();
        }
        tar.finish().unwrap();
    }

    fn png() -> Vec<u8> {
        let mut bytes = std::io::Cursor::new(Vec::new());
        image::RgbImage::new(5, 4).write_to(&mut bytes, image::ImageFormat::Png).unwrap();
        bytes.into_inner()
    }

    /// Rows as `key = caption [label]`, bad ones as `name! why`.
    fn rows(config: &Webdataset) -> Vec<String> {
        let mut rows = Vec::new();
        let source = config.open().unwrap();
        let scanned = source.scan(2, &Silent, &mut |row| {
            rows.push(match row {
                Ok(row) => format!("{} = {} {:?}", row.key, row.caption, row.label),
                Err(bad) => format!("{}! {}", bad.name, bad.why),
            });
            Ok(())
        });
        scanned.unwrap_or_else(|error| rows.push(error.chain()));
        rows
    }

    #[test]
    fn captions_come_from_txt_or_json_and_rows_without_are_bad() {
        let folder = tempfile::tempdir().unwrap();
        let png = png();
        let members: &[(&str, &[u8])] = &[
            ("0.png", &png),
            ("0.txt", b" a cat\n"),
            ("0.json", br#"{"kind": "cat"}"#),
            ("1.png", &png),
            ("1.json", br#"{"kind": 7, "caption": "two dogs"}"#),
            ("2.png", &png),
            ("3.txt", b"no picture"),
            ("4.png", &png),
            ("4.txt", b" \n"),
            ("5.png", &png),
            ("5.txt", b"-- !"),
            ("6.png", &png),
            ("6.txt", b"\xff\xfe"),
            ("7.png", &png),
            ("7.json", br#"{"caption": 3}"#),
        ];
        shard(&folder.path().join("b.tar"), members);
        let config = Webdataset { path: folder.path().into(), class_field: "kind".into(), ..Default::default() };
        let found = rows(&config);
        assert_eq!(found[..2], [r#"0 = a cat Some("cat")"#, r#"1 = two dogs Some("7")"#]);
        let reasons = ["no caption", "no picture", "is empty", "no letter", "not UTF-8", "not text"];
        for (row, reason) in found[2..].iter().zip(reasons) {
            assert!(row.contains('!') && row.contains(reason), "{row} should say `{reason}`");
        }
        let typo = Webdataset { class_field: "knid".into(), ..config };
        assert!(rows(&typo).last().unwrap().contains("did you mean `kind`?"));
    }

    #[test]
    fn a_truncated_shard_gives_the_rows_before_the_cut_and_one_bad_row() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.tar");
        let png = png();
        let members: &[(&str, &[u8])] = &[
            ("0.png", &png),
            ("0.txt", b"zero"),
            ("1.png", &png),
            ("1.txt", b"one"),
            ("2.png", &png),
            ("2.txt", b"two"),
        ];
        shard(&path, members);
        let whole = fs::read(&path).unwrap();
        let config = Webdataset { path: path.clone(), ..Default::default() };
        let mut seen = BTreeMap::new();
        for length in (0..=whole.len()).step_by(256) {
            fs::write(&path, &whole[..length]).unwrap();
            let found = rows(&config);
            let bad = found.iter().filter(|row| row.starts_with("a.tar! ")).count();
            let good = found.iter().filter(|row| row.contains('=')).count();
            assert_eq!((good + bad, bad), (found.len(), usize::from(length < 6 * 1024 + 512)), "{length}: {found:?}");
            seen.insert(length, good);
        }
        assert_eq!((seen[&0], seen[&2048], seen[&(5 * 1024)], seen[&whole.len()]), (0, 0, 2, 3));
    }

    #[test]
    fn names_inside_a_shard_never_touch_the_file_system() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.tar");
        shard(&path, &[("xx/1.txt", b"text"), ("xx/1.png", &png())]);
        let mut bytes = fs::read(&path).unwrap();
        for header in bytes.chunks_exact_mut(1024).take(2).map(|member| &mut member[..512]) {
            header[..2].copy_from_slice(b".."); // the writer refuses such a name
            let mut parsed = tar::Header::from_byte_slice(header).clone();
            parsed.set_cksum();
            header.copy_from_slice(parsed.as_bytes());
        }
        fs::write(&path, bytes).unwrap();
        let config = Webdataset { path, ..Default::default() };
        assert_eq!(rows(&config), ["../1 = text None"]);
    }
}
