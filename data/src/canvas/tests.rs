//! Canvases of a source that counts its calls, with and without a cache, with rows that turn out to
//! be bad.

use super::*;
use crate::progress::Silent;
use crate::webdataset::Webdataset;
use crate::{ClassFile, DataConfig, Dataset, Entry};
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A hundred rows of one colour each. A scan refuses every tenth; the fourth makes its decoder
/// panic.
#[derive(Default)]
struct Fake {
    scans: AtomicUsize,
    decoded: AtomicUsize,
    max_bad: f64,
    class_file: Option<ClassFile>,
}

impl Source for Fake {
    fn fingerprint(&self) -> String {
        String::new()
    }

    fn scan(
        &self,
        _threads: usize,
        _progress: &dyn Progress,
        each: &mut dyn FnMut(Result<Entry, BadRow>) -> Result<()>,
    ) -> Result<()> {
        self.scans.fetch_add(1, Ordering::Relaxed);
        (0..100u64).try_for_each(|row| match row % 10 {
            0 => each(Err(BadRow::new(format!("row {row}"), "it is bad".to_string()))),
            _ => each(Ok(Entry {
                caption: "x".into(),
                label: Some(format!("label {}", row % 3)),
                start: row,
                ..Entry::default()
            })),
        })
    }

    fn image(&self, row: &Row, size: u32) -> Result<Vec<u8>, String> {
        self.decoded.fetch_add(1, Ordering::Relaxed);
        assert_ne!(row.start, 4, "a decoder's bug");
        Ok(vec![row.start as u8; 3 * (size * size) as usize])
    }

    fn name(&self, row: &Row) -> String {
        format!("row {}", row.start)
    }

    fn classes(&self) -> Result<Option<ClassFile>> {
        Ok(self.class_file.clone())
    }

    fn max_bad(&self) -> f64 {
        self.max_bad
    }
}

fn config() -> DataConfig {
    DataConfig::Webdataset(Webdataset::default())
}

fn open_fake(source: &Arc<Fake>, store: &Path, cache_bytes: u64) -> Result<Canvas> {
    let index = Arc::new(Index::open(&**source, &config(), store, &Silent)?);
    Canvas::open(source.clone(), index, 4, cache_bytes, store, &Silent)
}

fn first_pixels(canvases: &Tensor) -> Vec<u8> {
    Vec::try_from(canvases.select(3, 0).select(2, 0).select(1, 0)).unwrap()
}

/// Number of entries in a store, whose leases stay.
fn entries(store: &Path) -> usize {
    fs::read_dir(store).unwrap().filter(|entry| entry.as_ref().unwrap().file_name() != "leases").count()
}

#[test]
fn index_and_cache_are_built_once_and_then_mapped() {
    let store = tempfile::tempdir().unwrap();
    let source = Arc::new(Fake { max_bad: 0.11, ..Default::default() });
    let built = open_fake(&source, store.path(), u64::MAX).unwrap();
    let found = open_fake(&source, store.path(), u64::MAX).unwrap();
    let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
    assert_eq!((count(&source.scans), count(&source.decoded)), (1, 90));
    assert_eq!(
        (found.index.len(), found.dropped(), found.size()),
        (90, [DataRow(3)].as_slice(), 4),
        "row 3 is the source's fourth"
    );
    assert_eq!((built.key(), built.index.classes.file()), (found.key(), found.index.classes.file()));
    let two = found.gather(&[DataRow(89), DataRow(0)]).unwrap(); // rows 99 and 1 of the source
    assert_eq!(Vec::<u8>::try_from(two.flatten(0, -1)).unwrap(), [[99u8; 48], [1; 48]].concat());
    assert_eq!((found.index.row(DataRow(0)).class, &found.index.classes.labels[1]), (Some(1), &"label 1".to_string()));
    assert_eq!(entries(store.path()), 2, "nothing is left beside index and cache");
}

#[test]
fn where_the_cache_would_not_fit_rows_are_decoded_each_time_to_the_same_pixels() {
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/clipart");
    let config = Webdataset { path: fixture.into(), class_field: "category".into(), ..Default::default() };
    let config = DataConfig::Webdataset(config);
    let store = tempfile::tempdir().unwrap();
    let bytes = 200 * 3 * 32 * 32;
    let open = |cache_bytes| Dataset::open(&config, 32, cache_bytes, store.path(), &Silent).unwrap();
    let [cached, decoded] = [open(bytes), open(bytes - 1)];
    assert_eq!((cached.canvas.is_cached(), decoded.canvas.is_cached()), (true, false));
    let rows: Vec<DataRow> = DataRow::first(200).rev().collect();
    assert!(cached.canvas.gather(&rows).unwrap().equal(&decoded.canvas.gather(&rows).unwrap()));
    assert_eq!(cached.key, decoded.key, "so that they share their poison");
}

#[test]
fn a_row_that_turns_out_to_be_bad_gives_its_place_to_another_within_the_limit() {
    let store = tempfile::tempdir().unwrap();
    let canvas = open_fake(&Arc::new(Fake { max_bad: 0.11, ..Default::default() }), store.path(), 0).unwrap();
    let wanted = |place: usize, attempt: u64| DataRow([2, 3][place] + 5 * attempt as u32);
    let (rows, pixels) = canvas.gather_or(2, wanted).unwrap();
    assert_eq!((rows, first_pixels(&pixels)), ([2, 8].map(DataRow).to_vec(), vec![3, 9]), "rows 3 and 9 of the source");
    assert_eq!(canvas.met().into_iter().collect::<Vec<_>>(), [(DataRow(3), "the decoder panicked".to_string())]);
    assert!(!canvas.readable(DataRow(3)) && canvas.readable(DataRow(4)) && canvas.gather(&[DataRow(3)]).is_err());
    let strict = open_fake(&Arc::new(Fake { max_bad: 0.1, ..Default::default() }), store.path(), 0).unwrap();
    let message = strict.gather_or(2, wanted).err().unwrap().chain();
    assert!(message.contains("11 of 100 rows") && message.contains("row 4: the decoder panicked"), "{message}");
}

#[test]
fn too_many_bad_rows_stop_with_counts_reasons_and_a_list() {
    for (max_bad, expected) in [(0.09, "10 of 100 rows"), (0.1, "11 of 100 rows")] {
        let store = tempfile::tempdir().unwrap();
        let source = Arc::new(Fake { max_bad, ..Default::default() });
        let message = open_fake(&source, store.path(), u64::MAX).err().unwrap().chain();
        assert!(message.contains(expected) && message.contains("it is bad") == (max_bad < 0.1), "{message}");
        let list = message.rsplit(" in ").next().unwrap();
        assert_eq!(fs::read_to_string(list).unwrap().lines().count(), if max_bad < 0.1 { 10 } else { 1 });
    }
}

#[test]
fn a_label_that_the_class_file_lacks_stops_the_scan() {
    let names = ["label 0", "label 1", "label two"].map(|name| (name.to_string(), vec![name.to_string()]));
    let class_file = ClassFile { classes: names.into(), templates: vec!["a {}".into()], aliases: Default::default() };
    let store = tempfile::tempdir().unwrap();
    let source = Arc::new(Fake { max_bad: 1.0, class_file: Some(class_file), ..Default::default() });
    let message = open_fake(&source, store.path(), u64::MAX).err().unwrap().chain();
    assert!(message.contains("row 2") && message.contains("no class named `label 2`; did you mean"), "{message}");
    assert_eq!(entries(store.path()), 0, "a build that fails leaves nothing");
}

#[test]
fn the_number_of_threads_changes_no_byte() {
    let build = |threads| {
        let store = tempfile::tempdir().unwrap();
        let source = Arc::new(Fake { max_bad: 1.0, ..Default::default() });
        let canvas = open_fake(&source, store.path(), 0).unwrap();
        let folder = store.path().join("canvas");
        build::build(&canvas, threads, &folder, &Silent).unwrap();
        ["pixels.u8", "hashes.bin", "dropped.jsonl", "canvas.json", "sums.json"]
            .map(|file| fs::read(folder.join(file)).unwrap())
    };
    assert!(build(1) == build(4));
}

#[test]
fn one_flipped_bit_of_a_stored_file_is_an_error_that_names_it_and_the_remedy() {
    let files = [
        ("index", "rows.bin"),
        ("index", "text.bin"),
        ("index", "index.json"),
        ("index", "dropped.jsonl"),
        ("index", "sums.json"),
        ("canvas", "canvas.json"),
        ("canvas", "hashes.bin"),
        ("canvas", "dropped.jsonl"),
        ("canvas", "pixels.u8"),
    ];
    for (kind, file) in files {
        let store = tempfile::tempdir().unwrap();
        let source = Arc::new(Fake { max_bad: 0.11, ..Default::default() });
        drop(open_fake(&source, store.path(), u64::MAX).unwrap());
        let entries = fs::read_dir(store.path()).unwrap().map(|entry| entry.unwrap().path());
        let folder = entries.into_iter().find(|path| path.to_string_lossy().contains(&format!("{kind}-"))).unwrap();
        let mut bytes = fs::read(folder.join(file)).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(folder.join(file), bytes).unwrap();
        let used = open_fake(&source, store.path(), u64::MAX).and_then(|canvas| {
            drop(canvas.gather(&[DataRow(0)]).unwrap());
            canvas.gather(&DataRow::first(90).collect::<Vec<_>>())
        });
        let message = used.err().unwrap_or_else(|| panic!("{file} was believed")).chain();
        // A flip in the sums may hit the hash of any other file.
        assert!(message.contains(file) || file == "sums.json", "{message}");
        assert!(message.contains("was changed after it was written"), "{message}");
        assert!(message.contains(&format!("delete the folder {}", folder.display())), "{message}");
        assert_eq!(message.contains("the canvas of row 51 "), file == "pixels.u8", "{message}");
        let mut damaged = Vec::new();
        if file == "pixels.u8" {
            check_all(&folder, &Silent, |error| damaged.push(error.chain())).unwrap();
            assert!(damaged.len() == 1 && damaged[0].contains("row 45"), "{damaged:?}");
        }
    }
}

/// A training must not go on with images of another file, and they are no bad rows.
#[test]
fn an_image_or_a_shard_that_is_exchanged_while_it_is_used_is_an_error_that_names_the_file() {
    let home = tempfile::tempdir().unwrap();
    let fixture = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/clipart"));
    let shard = fs::read_dir(fixture).unwrap().map(|entry| entry.unwrap().path());
    let shard = shard.into_iter().find(|path| path.extension().is_some_and(|ending| ending == "tar")).unwrap();
    let tar = home.path().join("a.tar");
    fs::copy(shard, &tar).unwrap();
    let images = ["one.png", "two.png"].map(|name| home.path().join(name));
    let pixels = [1u8, 2].map(|shade| crate::decode::png::encode(&[shade; 3 * 64], 8));
    images.iter().for_each(|path| fs::write(path, &pixels[0]).unwrap());
    let table = home.path().join("t.csv");
    fs::write(&table, "image,caption\none.png,a cat\ntwo.png,a dog\n").unwrap();
    let configs = [
        (DataConfig::Webdataset(Webdataset { path: tar.clone(), ..Default::default() }), tar.clone()),
        (DataConfig::Csv(crate::csv::Csv { path: table, max_bad: 1.0, ..Default::default() }), images[0].clone()),
    ];
    for (config, file) in configs {
        let open = |store: &Path| Dataset::open(&config, 8, 0, store, &Silent).unwrap();
        let [store, other] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let data = open(store.path());
        let row = |_: usize, attempt: u64| DataRow(attempt as u32);
        drop(data.canvas.gather_or(1, row).unwrap());
        let bytes = fs::read(&file).unwrap();
        fs::write(&file, if file == tar { bytes } else { pixels[1].clone() }).unwrap();
        for used in [data.canvas.gather_or(1, row).map(drop), data.canvas.gather(&[DataRow(0)]).map(drop)] {
            let message = used.expect_err("it was exchanged").chain();
            assert!(message.contains(&file.display().to_string()) && message.contains("was changed"), "{message}");
        }
        assert_ne!(open(other.path()).identity, data.identity, "a checkpoint does not fit either");
    }
}
