//! Tests on malformed shards: nothing is lost silently, and no caption is paired with another
//! sample's image.

#![allow(clippy::unwrap_used)]

use super::tests::{png, rows, shard};
use super::{CutShards, Webdataset};
use crate::Progress;
use crate::rows::{Loss, Tally};
use crate::{DataConfig, Dataset};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Mutex;
use tar::{Builder, EntryType, Header};

/// Records the remarks about the data.
#[derive(Default)]
struct Listener(Mutex<Vec<String>>);

impl Progress for Listener {
    fn report(&self, _stage: &str, _done: u64, _total: u64, _note: &str) {}

    fn remark(&self, line: &str) {
        self.0.lock().unwrap().push(line.into());
    }
}

fn config(path: &Path) -> Webdataset {
    Webdataset { path: path.into(), max_bad: 1.0, ..Default::default() }
}

/// Counts and remarks of a data set that is opened twice, the second time from the store.
fn opened(config: &Webdataset) -> (Tally, Vec<String>) {
    let (store, config) = (tempfile::tempdir().unwrap(), DataConfig::Webdataset(config.clone()));
    let open = || {
        let listener = Listener::default();
        let data = Dataset::open(&config, 8, u64::MAX, store.path(), &listener).unwrap();
        (data.tally(&[]), listener.0.into_inner().unwrap())
    };
    let (first, second) = (open(), open());
    assert_eq!(first, second, "the store gives the same counts and remarks");
    first
}

fn lost(tally: &Tally) -> Vec<(Loss, u64)> {
    tally.lost.iter().map(|lost| (lost.kind, lost.rows)).collect()
}

/// Good samples with the given member names.
fn good<'a>(names: &'a [String], png: &'a [u8]) -> Vec<(&'a str, &'a [u8])> {
    names
        .iter()
        .map(|name| (name.as_str(), if name.ends_with(".png") { png } else { b"a caption".as_slice() }))
        .collect()
}

fn names(prefix: &str, count: usize) -> Vec<String> {
    (0..count).flat_map(|k| [format!("{prefix}{k}.png"), format!("{prefix}{k}.txt")]).collect()
}

#[test]
fn a_key_that_comes_twice_costs_both_rows_and_mixes_nothing() {
    let home = tempfile::tempdir().unwrap();
    let (path, png, names) = (home.path().join("s.tar"), png(), names("g", 4));
    let twice: [(&str, &[u8]); 5] =
        [("x.png", &png), ("x.json", b"{}"), ("x.png", &png), ("x.txt", b"of the second"), ("x.json", b"{}")];
    shard(&path, &[good(&names, &png), twice.to_vec()].concat());
    let found = rows(&config(&path));
    assert!(found.len() == 5 && found[4].starts_with("s.tar:x! its key appears 2 times"), "{found:?}");
    let (tally, said) = opened(&config(&path));
    assert_eq!((tally.found, tally.kept, lost(&tally)), (6, 4, vec![(Loss::RepeatedKey, 2)]));
    assert_eq!(said[0], "rows: 6 found, 4 kept, 2 lost (repeated-key 2)");
    let strict = Webdataset { max_bad: 0.01, ..config(&path) };
    let store = tempfile::tempdir().unwrap();
    let error = Dataset::open(&DataConfig::Webdataset(strict), 8, u64::MAX, store.path(), &Listener::default());
    let error = error.err().unwrap().chain();
    assert!(error.contains("2 of 6 rows cannot be used (repeated-key 2)") && error.contains("s.tar:x: "), "{error}");
}

#[test]
fn names_with_dots_are_counted_in_rows() {
    let home = tempfile::tempdir().unwrap();
    let (path, png, names) = (home.path().join("s.tar"), png(), [names("g", 20), names("v1.", 50)].concat());
    shard(&path, &good(&names, &png));
    let (tally, said) = opened(&config(&path));
    assert_eq!((tally.found, tally.kept, lost(&tally)), (70, 20, vec![(Loss::DottedName, 50)]));
    assert!(said[1].contains("a key ends at the first dot") && said[1].contains("`v1_0.png`"), "{said:?}");
}

#[test]
fn members_of_one_sample_that_lie_apart_are_told_as_such() {
    let home = tempfile::tempdir().unwrap();
    let (path, png) = (home.path().join("s.tar"), png());
    let mut names = names("k", 30);
    names.sort_by_key(|name| name.ends_with(".txt"));
    let names =
        [names, ["w.png", "w.txt", "other.png", "other.txt", "w.png", "w.txt"].map(String::from).to_vec()].concat();
    shard(&path, &good(&names, &png));
    let (tally, said) = opened(&config(&path));
    assert_eq!((tally.found, tally.kept, lost(&tally)), (33, 3, vec![(Loss::ScatteredMembers, 30)]));
    assert!(said[1].contains("(.png; then .txt)") && said[1].contains("--sort=name"), "{said:?}");
    assert!(
        said[2].contains("not as neighbours, each time as a whole row: 1 ") && said[2].contains("s.tar:w"),
        "{said:?}"
    );
}

#[test]
fn keys_that_are_not_utf8_stay_two() {
    let home = tempfile::tempdir().unwrap();
    let (path, png) = (home.path().join("s.tar"), png());
    let mut tar = Builder::new(File::create(&path).unwrap());
    let members: [(&[u8], &[u8]); 4] =
        [(b"a\xe9.png", &png), (b"a\xe9.txt", b"with e9"), (b"a\xe8.png", &png), (b"a\xe8.txt", b"with e8")];
    for (name, bytes) in members {
        let mut header = Header::new_gnu();
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, OsStr::from_bytes(name), bytes).unwrap();
    }
    tar.finish().unwrap();
    assert_eq!(rows(&config(&path)), ["a\\xE9 = with e9 None", "a\\xE8 = with e8 None"]);
}

#[test]
fn joined_archives_are_read_to_the_last_byte() {
    let home = tempfile::tempdir().unwrap();
    let (path, png, [one, two]) = (home.path().join("s.tar"), png(), [names("k", 3), names("k", 4)]);
    shard(&path, &good(&one, &png));
    let first = fs::read(&path).unwrap();
    shard(&path, &good(&two, &png));
    let second = fs::read(&path).unwrap();
    fs::write(&path, [first.as_slice(), &[0; 9216], &second].concat()).unwrap();
    let (tally, said) = opened(&config(&path));
    assert_eq!((tally.found, tally.kept, tally.lost.len()), (7, 7, 0));
    assert!(
        said[1].contains("several joined archives, which are all read: 1 ") && said[1].contains("s.tar, of 2"),
        "{said:?}"
    );
    assert!(said[2].contains("not as neighbours, each time as a whole row: 3 "), "{said:?}");
    // Half of a sample at the end of one archive, the other half at the start of the next: two
    // samples with one key.
    shard(&path, &[("x.txt", b"of another")]);
    let (other, half) = (fs::read(&path).unwrap(), [("x.png", png.as_slice())]);
    shard(&path, &half);
    fs::write(&path, [fs::read(&path).unwrap(), other].concat()).unwrap();
    assert!(rows(&config(&path))[0].contains("its members are at 2 places"), "{:?}", rows(&config(&path)));
    for tail in [&second[..second.len() - 1024 - 256], b"trailing words".as_slice()] {
        fs::write(&path, [first.as_slice(), tail].concat()).unwrap();
        let error = rows(&config(&path)).pop().unwrap();
        assert!(error.contains(&format!("the archive that begins at byte {}", first.len())), "{error}");
    }
}

#[test]
fn every_shard_that_is_not_whole_is_named_unless_the_suite_allows_it() {
    let home = tempfile::tempdir().unwrap();
    let (path, png, names) = (|name: &str| home.path().join(name), png(), names("k", 4));
    for name in ["0.tar", "1.tar", "2.tar", "3.tar"] {
        shard(&path(name), &good(&names, &png));
    }
    let whole = fs::read(path("0.tar")).unwrap();
    fs::write(path("1.tar"), &whole[..whole.len() / 2]).unwrap();
    fs::write(path("2.tar"), b"").unwrap();
    fs::write(path("3.tar"), [0; 4096]).unwrap();
    fs::write(path("4.tar"), [whole.as_slice(), &vec![0; 2 << 20]].concat()).unwrap();
    let error = rows(&config(home.path())).pop().unwrap();
    assert!(
        error.contains("4 of 5 shards cannot be read to their end") && error.contains("cut_shards = \"allow\""),
        "{error}"
    );
    for part in ["1.tar: it is cut short", "2.tar: it is empty", "3.tar: it has no members", "4.tar: there are 20"] {
        assert!(error.contains(part), "{error} should say `{part}`");
    }
    let allowed = Webdataset { cut_shards: CutShards::Allow, max_bad: 0.0, ..config(home.path()) };
    let (tally, said) = opened(&allowed);
    assert_eq!((tally.kept, tally.found, tally.cut.len()), (9, 11, 4));
    assert_eq!(
        lost(&tally),
        [(Loss::CutShard, 2)],
        "the samples at the two cuts; the losses of the others are unknown"
    );
    assert!(said[0].ends_with("4 shards are not whole, and their missing rows are not counted"), "{said:?}");
    assert!(said.iter().any(|line| line.contains("not whole: 2.tar: it is empty (0 bytes)")), "{said:?}");
}

#[test]
fn a_file_that_is_no_tar_says_what_it_is_and_is_never_allowed() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("s.tar");
    let kinds: [(&[u8], &str); 8] = [
        (b"\x1f\x8b\x08\0\0\0\0\0", "compressed by gzip"),
        (b"\x28\xb5\x2f\xfd\0\0", "compressed by zstd"),
        (b"BZh91AY&SY", "compressed by bzip2"),
        (b"\xfd7zXZ\0\0", "compressed by xz"),
        (b"PK\x03\x04\0\0", "a zip file"),
        (b"\n<!DOCTYPE html><title>404</title>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (b"{\"error\": \"no such file\"}", "a text file"),
    ];
    for (bytes, kind) in kinds {
        // As long as a block, and longer.
        for length in [bytes.len(), 512, 5000] {
            let filler = if bytes.is_ascii() && !bytes.contains(&3) { b' ' } else { 0xa5 };
            let mut bytes = bytes.to_vec();
            bytes.resize(length, filler);
            fs::write(&path, bytes).unwrap();
            let error = rows(&Webdataset { cut_shards: CutShards::Allow, ..config(&path) }).pop().unwrap();
            assert!(
                error.contains(&format!("s.tar: it is not a tar file but {kind}")) || error.contains(kind),
                "{error}"
            );
            assert!(error.contains("1 of 1 shards"), "{error}");
        }
    }
}

#[test]
fn compressed_shards_in_a_folder_are_told() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("0.tar.gz"), b"\x1f\x8b").unwrap();
    let error = config(home.path()).open().err().unwrap().chain();
    assert!(
        error.contains("there is no .tar file in this folder, nor in the folders within it; files that were skipped")
            && error.contains("0.tar.gz"),
        "{error}"
    );
    shard(&home.path().join("1.tar"), &good(&names("k", 3), &png()));
    let (tally, said) = opened(&config(home.path()));
    assert_eq!((tally.kept, tally.notes.len()), (3, 1));
    assert!(said[1].contains("compressed or incomplete: 1 (") && said[1].contains("0.tar.gz"), "{said:?}");
}

#[test]
fn long_names_are_read_and_links_and_sparse_files_are_refused_by_name() {
    let home = tempfile::tempdir().unwrap();
    let (path, png, long) = (home.path().join("s.tar"), png(), "l".repeat(300));
    let mut tar = Builder::new(File::create(&path).unwrap());
    let add = |tar: &mut Builder<File>, name: &str, kind: EntryType, bytes: &[u8]| {
        let mut header = Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_entry_type(kind);
        if kind == EntryType::Link {
            header.set_link_name("other.png").unwrap();
        }
        if kind == EntryType::GNUSparse {
            let gnu = header.as_gnu_mut().unwrap();
            gnu.realsize = *b"00000000010\0";
            gnu.sparse[0].offset = *b"00000000000\0";
            gnu.sparse[0].numbytes = *b"00000000010\0";
        }
        tar.append_data(&mut header, name, bytes).unwrap();
    };
    add(&mut tar, "folder/", EntryType::Directory, b"");
    add(&mut tar, &format!("{long}.png"), EntryType::Regular, &png);
    add(&mut tar, &format!("{long}.txt"), EntryType::Continuous, b"a long name");
    add(&mut tar, "link.png", EntryType::Link, b"");
    add(&mut tar, "link.txt", EntryType::Regular, b"a link");
    add(&mut tar, "hole.png", EntryType::GNUSparse, b"8 bytes!");
    add(&mut tar, "hole.txt", EntryType::Regular, b"a hole");
    tar.append_pax_extensions([("GNU.sparse.major", b"1".as_slice()), ("GNU.sparse.name", b"new.png")]).unwrap();
    add(&mut tar, "GNUSparseFile.0/new.png", EntryType::Regular, b"1\n0\n8\n");
    add(&mut tar, "new.txt", EntryType::Regular, b"a hole as GNU tar writes it today");
    tar.finish().unwrap();
    let found = rows(&config(&path));
    assert_eq!(found[0], format!("{long} = a long name None"));
    for (row, expected) in found[1..].iter().zip([
        "s.tar:link! its member .png is a link",
        "s.tar:hole! its member .png is a sparse",
        "s.tar:new! its member .png is a sparse",
    ]) {
        assert!(row.starts_with(expected), "{row}");
    }
    assert_eq!(found.len(), 4);
}

#[test]
fn every_image_that_the_decoder_reads_is_one_and_bad_ones_are_counted_by_kind() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("s.tar");
    let formats =
        [("webp", image::ImageFormat::WebP), ("TIF", image::ImageFormat::Tiff), ("gif", image::ImageFormat::Gif)];
    let formats = [formats.as_slice(), &[("bmp", image::ImageFormat::Bmp), ("ppm", image::ImageFormat::Pnm)]].concat();
    let encode = |format| {
        let mut bytes = std::io::Cursor::new(Vec::new());
        image::RgbImage::new(5, 4).write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    };
    let images: Vec<(String, Vec<u8>)> = formats
        .iter()
        .enumerate()
        .map(|(k, (extension, format))| (format!("{k}.{extension}"), encode(*format)))
        .collect();
    let captions: Vec<String> = (0..images.len()).map(|k| format!("{k}.txt")).collect();
    let mut members: Vec<(&str, &[u8])> = Vec::new();
    for ((name, bytes), caption) in images.iter().zip(&captions) {
        members.extend([(name.as_str(), bytes.as_slice()), (caption.as_str(), b"a thing")]);
    }
    members.extend([
        ("bad.png", b"no image".as_slice()),
        ("bad.txt", b"a thing"),
        ("none.txt", b"a thing"),
        ("none.cls", b"1"),
    ]);
    shard(&path, &members);
    let (tally, said) = opened(&config(&path));
    assert_eq!((tally.found, tally.kept), (7, 5));
    assert_eq!(lost(&tally), [(Loss::NoImage, 1), (Loss::UnreadableImage, 1)]);
    assert!(said[1].contains("its members: .txt, .cls"), "{said:?}");
}

#[test]
fn a_cls_member_is_the_label_where_no_field_is_named() {
    let home = tempfile::tempdir().unwrap();
    let (path, png) = (home.path().join("s.tar"), png());
    let members: [(&str, &[u8]); 12] = [
        ("0.png", &png),
        ("0.txt", b"zero"),
        ("0.cls", b"7\n"),
        ("1.png", &png),
        ("1.json", br#"{"caption": "one", "kind": "cat"}"#),
        ("1.cls", b"dog"),
        ("2.png", &png),
        ("2.txt", b"two"),
        ("3.png", &png),
        ("3.txt", b"three"),
        ("3.cls", b"\xff"),
        ("3.jpg", &png),
    ];
    shard(&path, &members);
    let found = rows(&config(&path));
    assert_eq!(found[..3], [r#"0 = zero Some("7")"#, r#"1 = one Some("dog")"#, "2 = two None"]);
    assert!(found[3].contains("the label in its .cls is not UTF-8"), "{found:?}");
    let by_field = Webdataset { class_field: "kind".into(), ..config(&path) };
    assert_eq!(rows(&by_field)[..2], ["0 = zero None", r#"1 = one Some("cat")"#]);
}
