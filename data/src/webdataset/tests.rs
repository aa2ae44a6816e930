//! Well-formed shards, and cut ones.

use super::*;
use crate::progress::Silent;
use std::collections::BTreeMap;
use std::fs;

pub(super) fn shard(path: &Path, members: &[(&str, &[u8])]) {
    let mut tar = tar::Builder::new(File::create(path).unwrap());
    for (name, bytes) in members {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, name, *bytes).unwrap();
    }
    tar.finish().unwrap();
}

pub(super) fn png() -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image::RgbImage::new(5, 4).write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// Rows as `key = caption [label]`, bad ones as `name! why`.
pub(super) fn rows(config: &Webdataset) -> Vec<String> {
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
        ("3.txt", b"no image"),
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
    let reasons = ["no caption", "no image", "is empty", "no letter", "not UTF-8", "not text"];
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
    let members: &[(&str, &[u8])] =
        &[("0.png", &png), ("0.txt", b"zero"), ("1.png", &png), ("1.txt", b"one"), ("2.png", &png), ("2.txt", b"two")];
    shard(&path, members);
    let whole = fs::read(&path).unwrap();
    let config = Webdataset { path: path.clone(), cut_shards: CutShards::Allow, ..Default::default() };
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
