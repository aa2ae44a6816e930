//! The canvas cache: every row as one u8 picture `[3, S, S]` in a memory-mapped file, made once per (data, S) and shared
//! by all trials of a suite.
//!
//! One picture becomes a canvas in `canvas/picture.rs`; all of them become a cache folder in `canvas/build.rs`:
//! `pixels.u8` (rows of planar RGB), `rows.jsonl`, `dropped.jsonl` (rows that could not be used, and why), `data.json`.

mod build;
pub(super) mod intake;
mod picture;

pub use picture::picture;

use super::{ClassFile, Classes, DataConfig, Dataset, Row, Source};
use crate::{Error, Progress, Result};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;
use tch::{Device, Kind, Tensor};

/// Part of every key: raised whenever the same source would give other files, so that old caches are left alone.
const FORMAT: u32 = 1;

/// The pixels of a data set, mapped from the cache: pages are read when touched and shared between processes.
pub struct Canvas {
    /// u8 `[N, 3, S, S]`
    pixels: Tensor,
}

impl Canvas {
    /// Maps `rows` canvases; a file of another length is refused.
    fn map(path: &Path, rows: usize, size: u32) -> Result<Self> {
        let shape = [rows as i64, 3, size.into(), size.into()];
        let bytes: i64 = shape.iter().product();
        let found = fs::metadata(path).map_err(Error::io(path))?.len();
        if found != bytes as u64 {
            return Err(damaged(path, &format!("it has {found} bytes instead of {bytes}")));
        }
        let name = path.to_str().ok_or_else(|| Error::invalid(path.display().to_string(), "the path is not UTF-8"))?;
        let pixels = Tensor::f_from_file(name, false, bytes, (Kind::Uint8, Device::Cpu))?;
        Ok(Canvas { pixels: pixels.f_view(shape)? })
    }

    /// S: pixels on a side.
    pub fn size(&self) -> u32 {
        self.pixels.size()[3] as u32
    }

    /// Number of canvases.
    pub fn len(&self) -> usize {
        self.pixels.size()[0] as usize
    }

    /// Whether there are none; a cache never is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A copy of these rows, in this order: u8 `[rows, 3, S, S]`.
    pub fn gather(&self, rows: &[u32]) -> Tensor {
        let rows: Vec<i64> = rows.iter().map(|&row| row.into()).collect();
        // Not `index_select`: it starts and joins libtorch's threads once a row, ten times slower where cores are busy.
        self.pixels.index(&[Some(&Tensor::from_slice(&rows))])
    }

    /// The same pixels for another thread: a tensor may move between threads, but not be shared by them.
    pub fn shallow_clone(&self) -> Self {
        Canvas { pixels: self.pixels.shallow_clone() }
    }
}

/// `data.json`: what a cache folder holds.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Summary {
    key: String,
    config: DataConfig,
    size: u32,
    rows: usize,
    dropped: usize,
    classes: ClassFile,
}

/// The data set that `config` describes, with canvases of `size` pixels: from the cache under `store` where it is there
/// already (nothing is decoded then), otherwise built.
///
/// # Errors
/// If the source cannot be read, has more bad rows than `max_bad` allows or no usable one, or has a label that its class
/// file lacks.
pub fn open(config: &DataConfig, size: u32, store: &Path, progress: &dyn Progress) -> Result<Dataset> {
    let source = config.open()?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    open_source(&*source, config, size, store, threads, progress)
}

fn open_source(
    source: &dyn Source,
    config: &DataConfig,
    size: u32,
    store: &Path,
    threads: usize,
    progress: &dyn Progress,
) -> Result<Dataset> {
    if !(0.0..=1.0).contains(&source.max_bad()) {
        return Err(Error::invalid("max_bad", format!("{} is not a share between 0 and 1", source.max_bad())));
    }
    let key = key(source, config, size)?;
    let folder = store.join(format!("canvas-{}", &key[..16]));
    if !folder.exists() {
        build::build(&build::Job { source, config, size, key: &key, folder: &folder, threads, progress })?;
    }
    load(source, size, &key, &folder)
}

/// Content key of the cache: configuration, size, and everything about the files that would change what is read.
fn key(source: &dyn Source, config: &DataConfig, size: u32) -> Result<String> {
    let config = serde_json::to_string(config).map_err(|error| Error::invalid("data", error.to_string()))?;
    let parts = [config, size.to_string(), source.fingerprint(), FORMAT.to_string()];
    Ok(blake3::hash(parts.join("\n").as_bytes()).to_hex().to_string())
}

fn load(source: &dyn Source, size: u32, key: &str, folder: &Path) -> Result<Dataset> {
    let path = folder.join("data.json");
    let text = fs::read_to_string(&path).map_err(Error::io(&path))?;
    let summary: Summary = serde_json::from_str(&text).map_err(|error| damaged(&path, &error.to_string()))?;
    let rows = read_rows(&folder.join("rows.jsonl"))?;
    if summary.key != key || summary.rows != rows.len() {
        return Err(damaged(folder, "its files do not belong together"));
    }
    let canvas = Canvas::map(&folder.join("pixels.u8"), rows.len(), size)?;
    let classes = Classes::new(Vec::new(), Some(summary.classes));
    Ok(Dataset::new(rows, classes, source, canvas, summary.key))
}

fn read_rows(path: &Path) -> Result<Vec<Row>> {
    let lines = BufReader::new(File::open(path).map_err(Error::io(path))?).lines();
    let parse = |line: std::io::Result<String>| {
        serde_json::from_str(&line.map_err(Error::io(path))?).map_err(|error| damaged(path, &error.to_string()))
    };
    lines.map(parse).collect()
}

/// Folders appear whole, by a rename; one that is not whole was changed from outside.
fn damaged(path: &Path, why: &str) -> Error {
    Error::invalid(
        path.display().to_string(),
        format!("the canvas cache is damaged ({why}); delete its folder to rebuild it"),
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::data::webdataset::Webdataset;
    use crate::data::{BadRow, Pair};
    use crate::progress::Silent;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// A hundred rows of one colour each; every tenth is bad, and the fourth makes its decoder panic.
    #[derive(Default)]
    struct Fake {
        reads: AtomicUsize,
        max_bad: f64,
        class_file: Option<ClassFile>,
    }

    impl Source for Fake {
        fn len(&self) -> usize {
            100
        }

        fn fingerprint(&self) -> String {
            String::new()
        }

        fn read(&self, row: usize, size: u32) -> Result<Pair, BadRow> {
            self.reads.fetch_add(1, Ordering::Relaxed);
            assert_ne!(row, 4, "a decoder's bug");
            let name = format!("row {row}");
            if row.is_multiple_of(10) {
                return Err(BadRow { name, why: "it is bad".into() });
            }
            let canvas = vec![row as u8; 3 * (size * size) as usize];
            Ok(Pair {
                name,
                caption: "x".into(),
                label: Some(format!("label {}", row % 3)),
                canvas,
                source_hash: [0; 32],
            })
        }

        fn classes(&self) -> Result<Option<ClassFile>> {
            Ok(self.class_file.clone())
        }

        fn max_bad(&self) -> f64 {
            self.max_bad
        }
    }

    fn open_fake(source: &Fake, store: &Path) -> Result<Dataset> {
        open_source(source, &DataConfig::Webdataset(Webdataset::default()), 4, store, 2, &Silent)
    }

    #[test]
    fn a_cache_is_built_once_and_then_mapped() {
        let store = tempfile::tempdir().unwrap();
        let source = Fake { max_bad: 0.11, ..Default::default() };
        let built = open_fake(&source, store.path()).unwrap();
        let found = open_fake(&source, store.path()).unwrap();
        assert_eq!(source.reads.load(Ordering::Relaxed), 100);
        assert_eq!((found.rows.len(), found.canvas.len(), found.canvas.size()), (89, 89, 4));
        assert_eq!((&built.rows, &built.classes), (&found.rows, &found.classes));
        let two = found.canvas.gather(&[88, 0]); // rows 99 and 1 of the source
        assert_eq!(two.size(), [2, 3, 4, 4]);
        assert_eq!(Vec::<u8>::try_from(two.flatten(0, -1)).unwrap(), [[99u8; 48], [1; 48]].concat());
        assert_eq!((found.rows[0].class, &found.classes.labels[1]), (Some(1), &"label 1".to_string()));
        assert_eq!(fs::read_dir(store.path()).unwrap().count(), 1, "nothing is left beside the cache");
    }

    #[test]
    fn too_many_bad_rows_stop_with_counts_reasons_and_a_list() {
        let store = tempfile::tempdir().unwrap();
        let message = open_fake(&Fake { max_bad: 0.1, ..Default::default() }, store.path()).err().unwrap().chain();
        assert!(
            message.contains("11 of 100 rows") && message.contains("row 0: it is bad; row 4: the decoder"),
            "{message}"
        );
        let list = store.path().read_dir().unwrap().next().unwrap().unwrap().path();
        assert!(message.ends_with(list.to_str().unwrap()), "{message}");
        assert_eq!(fs::read_to_string(list).unwrap().lines().count(), 11);
    }

    #[test]
    fn a_label_that_the_class_file_lacks_stops_the_build() {
        let names = ["label 0", "label 1", "label two"].map(|name| (name.to_string(), vec![name.to_string()]));
        let class_file = ClassFile { classes: names.into(), templates: vec!["a {}".into()] };
        let store = tempfile::tempdir().unwrap();
        let source = Fake { max_bad: 1.0, class_file: Some(class_file), ..Default::default() };
        let message = open_fake(&source, store.path()).err().unwrap().chain();
        assert!(message.contains("row 2") && message.contains("no class named `label 2`; did you mean"), "{message}");
        assert_eq!(fs::read_dir(store.path()).unwrap().count(), 0, "a build that fails leaves nothing");
    }

    #[test]
    fn the_number_of_threads_changes_no_byte() {
        let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/clipart");
        let config = Webdataset { path: fixture.into(), class_field: "category".into(), ..Default::default() };
        let config = DataConfig::Webdataset(config);
        let build = |threads| {
            let store = tempfile::tempdir().unwrap();
            let source = config.open().unwrap();
            let data = open_source(&*source, &config, 32, store.path(), threads, &Silent).unwrap();
            assert_eq!((data.rows.len(), data.classes.len()), (200, 5));
            let folder = store.path().join(format!("canvas-{}", &data.key[..16]));
            ["pixels.u8", "rows.jsonl", "dropped.jsonl", "data.json"].map(|file| fs::read(folder.join(file)).unwrap())
        };
        assert!(build(1) == build(4));
    }
}
