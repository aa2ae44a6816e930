//! img2dataset/webdataset tar shards, read in place: one pass over headers, captions and labels
//! finds the rows, after which any image is read in any order. Nothing is extracted, and no name
//! inside a shard is used as a path.
//!
//! `webdataset/archive.rs` reads the members of a tar and checks that it is complete,
//! `webdataset/sample.rs` groups them into samples by webdataset's rule, `webdataset/report.rs`
//! collects remarks for the user. `index.rs` stores the rows.

mod archive;
mod files;
#[cfg(test)]
mod hostile;
mod sample;
pub mod shard;
mod shard_report;

use archive::{Fault, Place, Span};
use files::{FoundShards, find_shards, shard_name};
use sample::{Again, Sample, Samples, cls, kept, shown};
use shard_report::ShardReport;

pub use crate::config::{CutShards, Webdataset};

use crate::decode::image;
use crate::intake::{MAX_JSON, MAX_TEXT, caption, changed, read_span, stamp};
use crate::ordered::ordered;
use crate::rows::{Loss, Remarks, Why};
use crate::source::{Entry, Row, Source};
use crate::{BadRow, ClassFile, Error, Progress, Result, json, regular};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

impl Webdataset {
    /// Finds the shards; reads nothing of them.
    ///
    /// # Errors
    /// If there is no shard, or the class file cannot be used.
    pub fn open(&self) -> Result<impl Source + use<>> {
        if self.path.as_os_str().is_empty() {
            return Err(Error::invalid("path", "it is empty; set it to a folder of `.tar` shards"));
        }
        let FoundShards { shards, passed_over } = find_shards(&self.path)?;
        let (mut stamps, mut seen) = (String::new(), Vec::new());
        for path in &shards {
            seen.push(stamp(path).map_err(Error::io(path))?);
            stamps += &format!("{} {}\n", shard_name(&self.path, path), seen[seen.len() - 1]);
        }
        stamps.extend(passed_over.iter().map(|name| format!("{name} passed over\n")));
        let (config, remarks, class_file) =
            (self.clone(), Mutex::default(), ClassFile::read_if_named(&self.class_file)?);
        Ok(Shards { config, shards, seen, passed_over, stamps, class_file, remarks })
    }
}

/// Shards, opened.
struct Shards {
    config: Webdataset,
    shards: Vec<PathBuf>,
    /// Size and time of each when this was opened.
    seen: Vec<String>,
    /// Files of the folder that may hold rows but are not shards: compressed ones, unfinished
    /// downloads.
    passed_over: Vec<String>,
    /// Name, size and time of every shard.
    stamps: String,
    class_file: Option<ClassFile>,
    /// The remarks of the last scan.
    remarks: Mutex<Remarks>,
}

/// The result of one shard.
struct Shard {
    rows: Vec<Result<Entry, BadRow>>,
    report: ShardReport,
}

impl Shards {
    /// The rows of one shard.
    fn rows(&self, shard: usize, seen: &SeenFields) -> Result<Shard> {
        let path = &self.shards[shard];
        let file = regular::open(path).map_err(Error::io(path))?;
        let mut samples = Samples::default();
        let mut walked = archive::walk(&file, |met| samples.meet(met));
        // Members of the sample at a cut may be missing without a trace, for example its label.
        let at_the_cut = walked.as_ref().err().and_then(|_| samples.last());
        if let (Err(fault), Some(last)) = (&mut walked, &at_the_cut) {
            fault.why += &format!("; `{}` and the samples after it cannot be read", last.name());
        }
        let mut report = ShardReport::of(shard_name(&self.config.path, path), &samples, &walked);
        let Again { whole, mut scattered } = samples.again();
        report.twice(whole.iter().map(|&number| samples.list[number].name()));
        let mut rows = Vec::new();
        for (number, sample) in samples.list.iter().enumerate() {
            let name = || format!("{}:{}", shard_name(&self.config.path, path), sample.name());
            if let Some(lost) = scattered.remove(&number) {
                rows.extend(lost.map(|(why, count)| Err(BadRow::several(name(), why, count))));
            } else if let Some((why, count)) = sample.repeated() {
                rows.push(Err(BadRow::several(name(), why, count)));
            } else {
                let dotted = sample.lost_to_dots();
                if dotted.is_none() || sample.image_count() > 0 {
                    report.images(sample);
                    rows.push(self.entry(shard, &file, sample, seen).map_err(|why| BadRow::new(name(), why)));
                }
                rows.extend(dotted.map(|(why, count)| Err(BadRow::several(name(), why, count))));
            }
        }
        if let Err(Fault { why, .. }) = walked {
            let lost = at_the_cut.iter().len() as u64;
            rows.push(Err(BadRow::several(shard_name(&self.config.path, path), Loss::CutShard.because(why), lost)));
        }
        self.check(shard)?;
        Ok(Shard { rows, report })
    }

    /// Checks that a shard is the file that it was when this was opened.
    fn check(&self, shard: usize) -> Result<()> {
        let path = &self.shards[shard];
        match stamp(path) {
            Ok(now) if now == self.seen[shard] => Ok(()),
            _ => Err(changed(path)),
        }
    }

    fn entry(&self, shard: usize, file: &File, sample: &Sample, seen: &SeenFields) -> Result<Entry, Why> {
        let image = sample.image()?;
        let too_large = |_| Loss::UnreadableImage.because(format!("its image has {} bytes", image.size));
        let size = u32::try_from(image.size).map_err(too_large)?;
        let text = sample.member("txt").filter(|_| self.config.caption == "auto");
        let json = match sample.member("json").filter(|_| text.is_none() || !self.config.class_field.is_empty()) {
            Some(place) => {
                let caption = if text.is_some() { None } else { Some(self.caption_field()) };
                let wanted = [caption, Some(&*self.config.class_field)].into_iter().flatten().collect::<Vec<_>>();
                let parsed = member(file, place, "json", MAX_JSON).and_then(|bytes| parse_json(&bytes, &wanted));
                Some(parsed.map_err(|why| Loss::UnreadableJson.because(why))?)
            }
            None => None,
        };
        let caption = match text {
            Some(text) => {
                let long = matches!(text, Place::File(Span { size, .. }) if size > MAX_TEXT);
                let kind = if long { Loss::LongCaption } else { Loss::NoCaption };
                caption(&member(file, text, "txt", MAX_TEXT).map_err(|why| kind.because(why))?)?
            }
            None => self.json_caption(json.as_ref(), sample)?,
        };
        let label = match sample.member("cls").filter(|_| self.config.class_field.is_empty()) {
            Some(place) => member(file, place, "cls", MAX_TEXT)
                .and_then(|bytes| cls(&bytes))
                .map_err(|why| Loss::UnreadableLabel.because(why))?,
            None => json.as_ref().and_then(|json| label(json.get(&self.config.class_field)?)),
        };
        seen.note(json.as_ref(), &self.config.class_field);
        Ok(Entry { key: kept(&sample.key), caption, label, file: shard as u32, start: image.start, size, seen: 0 })
    }

    fn caption_field(&self) -> &str {
        if self.config.caption == "auto" { "caption" } else { &self.config.caption }
    }

    fn json_caption(&self, json: Option<&Map<String, Value>>, sample: &Sample) -> Result<String, Why> {
        let (auto, field) = (self.config.caption == "auto", self.caption_field());
        match json.and_then(|json| json.get(field)) {
            Some(Value::String(text)) => caption(text.as_bytes()),
            Some(other) => Err(Loss::NoCaption.because(format!("the caption is not text: {other}"))),
            None => {
                let where_to =
                    if auto { "no .txt, and no `caption` in a .json" } else { &format!("no `{field}` in a .json") };
                let why = format!("it has no caption ({where_to}); its members: {}", sample.seen());
                Err(Loss::NoCaption.because(why))
            }
        }
    }
}

/// The contents of a member with this extension and at most `most` bytes.
fn member(file: &File, place: Place, extension: &str, most: u64) -> Result<Vec<u8>, String> {
    let Span { start, size } = place.span(extension.as_bytes())?;
    if size > most {
        return Err(format!("its .{extension} has {size} bytes, and the limit is {most}"));
    }
    read_span(file, start, size)
}

fn parse_json(bytes: &[u8], wanted: &[&str]) -> Result<Map<String, Value>, String> {
    json::fields(bytes, wanted).map_err(|error| format!("its JSON cannot be read: {error}"))
}

/// Whether the class field was found, and which fields exist: otherwise a misspelt field would show
/// only as data without labels.
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

/// Text and numbers are labels; nothing else is.
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
        let (seen, mut done, mut all) = (SeenFields::default(), 0, ShardReport::default());
        let read = |shard| self.rows(shard, &seen);
        ordered(0..self.shards.len(), vec![read; threads], |shard| {
            let Shard { rows, report } = shard?;
            all.join(report);
            done += 1;
            progress.report("index", done, self.shards.len() as u64, "shards");
            rows.into_iter().try_for_each(&mut *each)
        })?;
        all.refuse(&self.config, self.shards.len())?;
        *self.remarks.lock().expect("no thread panics with it") = all.remarks(&self.passed_over);
        seen.check(&self.config.class_field, &self.config.path)
    }

    fn remarks(&self) -> Remarks {
        self.remarks.lock().expect("no thread panics with it").clone()
    }

    fn image(&self, row: &Row, size: u32) -> Result<Vec<u8>, String> {
        let file = regular::open(&self.shards[row.file as usize]).map_err(|error| error.to_string())?;
        image(&read_span(&file, row.start, row.size.into())?, size)
    }

    fn check_unchanged(&self, row: &Row) -> Result<()> {
        self.check(row.file as usize)
    }

    fn name(&self, row: &Row) -> String {
        format!("{}:{}", shard_name(&self.config.path, &self.shards[row.file as usize]), shown(row.key.as_bytes()))
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
mod tests;
