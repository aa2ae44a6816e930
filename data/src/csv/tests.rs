//! Tables found in practice: columns, quotes, encodings, paths, and the errors of damaged ones.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::progress::Silent;
use crate::{DataConfig, DataRow, Dataset, index::Index};
use std::fs;

/// A folder `images` with `a.png`, an image outside of it, a link to that image, and a table.
fn table(text: &str) -> (tempfile::TempDir, Csv) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("images");
    fs::create_dir(&root).unwrap();
    image::RgbImage::new(5, 4).save(root.join("a.png")).unwrap();
    fs::copy(root.join("a.png"), folder.path().join("outside.png")).unwrap();
    std::os::unix::fs::symlink(folder.path().join("outside.png"), root.join("link.png")).unwrap();
    let path = root.join("table.csv");
    fs::write(&path, text.replace("ROOT", root.to_str().unwrap())).unwrap();
    (folder, Csv { path, class_column: "class".into(), ..Default::default() })
}

/// Rows as `line = caption [label]`, bad ones as `name! why`; images are read.
fn rows(config: &Csv) -> Vec<String> {
    let (store, config) = (tempfile::tempdir().unwrap(), DataConfig::Csv(Csv { max_bad: 1.0, ..config.clone() }));
    let source = config.open().unwrap();
    let mut rows = Vec::new();
    let scanned = source.scan(2, &Silent, &mut |row| {
        rows.push(row.map_err(|bad| format!("{}! {}", bad.name, bad.why)));
        Ok(())
    });
    scanned.unwrap();
    let index = Index::open(&*source, &config, store.path(), &Silent);
    let (index, mut number) = (index.ok(), 0);
    let mut show = |row: Entry| {
        let found = index.as_ref().unwrap().row(DataRow(number));
        number += 1;
        match source.image(&found, 8) {
            Ok(_) => format!("{} = {} {:?}", source.name(&found), row.caption, row.label),
            Err(why) => format!("{}! {why}", source.name(&found)),
        }
    };
    rows.into_iter().map(|row| row.map_or_else(|bad| bad, &mut show)).collect()
}

#[test]
fn rows_come_from_named_columns_whatever_their_order() {
    let (_folder, config) = table("\u{feff}class\timage\tcaption\ncat\ta.png\t\"one\ntwo\"\n\tROOT/a.png\tthree\n");
    let config = Csv { delimiter: "tab".into(), ..config };
    assert_eq!(rows(&config), ["table.csv:2 = one\ntwo Some(\"cat\")", "table.csv:4 = three None"]);
}

#[test]
fn images_outside_the_folder_and_missing_ones_are_bad_rows() {
    let lines = "../outside.png,a,\nROOT/../outside.png,b,\nlink.png,c,\nnone.png,d,\n.,e,\n../images/a.png,f,\n";
    let (_folder, config) = table(&format!("image,caption,class\n{lines}"));
    let found = rows(&config);
    let reasons = ["outside", "outside", "outside", "No such file", "not a regular file", "= f"];
    for (row, reason) in found.iter().zip(reasons) {
        assert!(row.contains(reason), "{row} should say `{reason}`");
    }
    assert_eq!(found.len(), reasons.len());
}

#[test]
fn ragged_lines_cost_only_their_own_rows() {
    let (_folder, config) = table("image,caption,class\na.png,one\na.png,\"two\nlines\"\na.png,three,\na.png,four,\n");
    let found = rows(&config);
    let expected = ["table.csv:5 = three None", "table.csv:6 = four None"];
    assert!(found[0].contains("2 fields") && found[1].contains("2 fields"), "{found:?}");
    assert_eq!(found[2..], expected);
}

/// The error of opening or scanning a table.
fn refusal(config: &Csv) -> String {
    let config = DataConfig::Csv(config.clone());
    let source = match config.open() {
        Ok(source) => source,
        Err(error) => return error.chain(),
    };
    source.scan(2, &Silent, &mut |_| Ok(())).expect_err("the table should be refused").chain()
}

#[test]
fn a_quote_that_never_closes_is_refused_with_the_line_on_which_it_opens() {
    let line = |row: usize| format!("a.png,row {row},cat\n");
    let rows: Vec<String> = (0..2000).map(line).collect();
    for at in [0, 1000, 1998, 1999] {
        for broken in ["\"a.png,row,cat\n", "a.png,\"row,cat\n", "a.png,row,\"cat\n", "a.png,row,\"cat"] {
            let text = rows[..at].concat() + broken + &rows[at + 1..].concat();
            let (_folder, config) = table(&format!("image,caption,class\n{text}"));
            let message = refusal(&config);
            assert!(message.contains(&format!("table.csv, line {}: a quote opens here", at + 2)), "{message}");
            assert!(message.contains("quoting = \"none\""), "{message}");
        }
    }
}

#[test]
fn a_quote_that_swallows_rows_up_to_the_next_quote_is_refused() {
    let tables = [
        // The next quoted caption closes it in the middle of a field.
        ("image,caption,class\na.png,\"one,x\na.png,two,x\na.png,\"three, four\",x\n", 2),
        // The number of fields is right, and two rows are gone.
        ("image,caption,class\na.png,zero,x\na.png,\"one,x\na.png,two,x\na.png,a 5\",x\n", 3),
        ("image,class,caption\na.png,x,\"one\na.png,x,two\na.png,x,three\"\na.png,x,four\n", 2),
        // One row is gone.
        ("image,caption,class\na.png,\"one,x\na.png,a 5\",x\n", 2),
        ("caption,image,class\n\"one,a.png,x\ntwo\",a.png,x\n", 2),
        // The open quote is not the first on its line, nor in its record.
        ("image,caption,class\n\"a.png\",\"one,x\n\"a.png\",two,x\n", 2),
        ("image,caption,class\na.png,\"one\ntwo\",\"x\na.png,three,x\n", 3),
        // It has no image extension, but there is such a file.
        ("image,caption,class\nlink,\"one,x\nlink,two,x\nlink,a 5\",x\n", 2),
    ];
    for (text, line) in tables {
        let (folder, config) = table(text);
        fs::copy(folder.path().join("outside.png"), folder.path().join("images/link")).unwrap();
        let message = refusal(&config);
        assert!(message.contains(&format!("table.csv, line {line}: a quote opens here")), "{text}: {message}");
    }
}

#[test]
fn captions_over_several_lines_and_quotes_within_them_are_legal() {
    let text = "image,caption,class\r\na.png,\"one, \"\"two\"\",\r\nred, green\r\n\r\n3\",\"a\nb\"\r\n\
                a.png,a 5\" disk,\n\n\
                a.png,\"\"\"six\"\"\n\",\na.png,lone\rreturn,x\r\na.png,last,\"y\"";
    let (_folder, config) = table(text);
    let expected = [
        "table.csv:2 = one, \"two\",\r\nred, green\r\n\r\n3 Some(\"a\\nb\")",
        "table.csv:7 = a 5\" disk None",
        "table.csv:9 = \"six\" None",
        "table.csv:11 = lone\rreturn Some(\"x\")",
        "table.csv:12 = last Some(\"y\")",
    ];
    assert_eq!(rows(&config), expected);
}

#[test]
fn without_quoting_a_line_is_a_row_and_quotes_are_characters() {
    let (_folder, config) = table("image,caption,class\na.png,\"The Best of Me,\na.png,\"two\",x\n");
    let config = Csv { quoting: Quoting::None, ..config };
    let expected = ["table.csv:2 = \"The Best of Me None", "table.csv:3 = \"two\" Some(\"x\")"];
    assert_eq!(rows(&config), expected);
    let keys = |config: Csv| serde_json::to_value(config).unwrap().as_object().unwrap().contains_key("quoting");
    assert!(keys(config) && !keys(Csv::default()), "a default is not hashed");
}

#[test]
fn a_file_that_is_no_table_says_what_it_is() {
    let utf16 =
        |mark: &[u8]| [mark, &"image,caption\n".encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>()].concat();
    let files: [(Vec<u8>, &str); 10] = [
        (utf16(b"\xFF\xFE"), "iconv -f UTF-16 -t UTF-8"),
        (utf16(b""), "iconv -f UTF-16LE"),
        (b"\xFF\xFE\0\0i\0\0\0".to_vec(), "UTF-32"),
        (b"image,cap\0tion\na.png,x\n".to_vec(), "zero bytes"),
        (b"image,caption\ra.png,one\ra.png,two\r".to_vec(), "carriage return alone"),
        (b"".to_vec(), "the table is empty"),
        (b"image,caption,class\r\n".to_vec(), "no row below its header"),
        (b"image\tcaption\tclass\na.png\tone\tx\n".to_vec(), "set `delimiter = \"tab\"`"),
        (b"image,caption,class,caption\na.png,one,x,two\n".to_vec(), "2 columns have this name"),
        (b"PK\x03\x04\x14\0\x06\0\x08\0\0\0!\0[Content_Types].xml".to_vec(), "not a table of text"),
    ];
    for (bytes, why) in files {
        let (_folder, config) = table("");
        fs::write(&config.path, bytes).unwrap();
        let message = refusal(&config);
        assert!(message.contains("table.csv") && message.contains(why), "{message} should say {why}");
    }
    let (_folder, config) = table("image,caption,class\na.png,o\0e,\na.png,two,\n");
    assert_eq!(rows(&config), ["table.csv:2! it has a zero byte in it", "table.csv:3 = two None"]);
}

/// Records the messages.
#[derive(Default)]
struct Reported(std::sync::Mutex<Vec<String>>);

impl Progress for Reported {
    fn report(&self, _stage: &str, _done: u64, _total: u64, _note: &str) {}

    fn tell(&self, line: &str) {
        self.0.lock().unwrap().push(line.into());
    }
}

#[test]
fn windows_separators_are_read_where_no_file_has_that_very_name() {
    let (folder, config) = table("image,caption,class\nsub\\b.png,one,\nsub\\none.png,two,\nodd\\c.png,three,\n");
    let root = folder.path().join("images");
    fs::create_dir(root.join("sub")).unwrap();
    fs::copy(root.join("a.png"), root.join("sub/b.png")).unwrap();
    fs::copy(root.join("a.png"), root.join("odd\\c.png")).unwrap();
    let found = rows(&config);
    assert_eq!((&*found[0], &*found[2]), ("table.csv:2 = one None", "table.csv:4 = three None"));
    assert!(found[1].contains("No such file"), "{found:?}");
    let remarks = Reported::default();
    config.open().unwrap().scan(1, &remarks, &mut |_| Ok(())).unwrap();
    let remarks = remarks.0.into_inner().unwrap();
    assert!(remarks.len() == 1 && remarks[0].contains("1 paths have `\\`"), "{remarks:?}");
}

#[test]
fn a_missing_column_is_named_with_those_there_are() {
    let (_folder, config) = table("image,title,class\n");
    let message = config.open().err().unwrap().chain();
    assert!(message.contains("table.csv") && message.contains("image, title, class"), "{message}");
}

/// Rows of the data set, and the messages while it was opened.
fn open(config: &Csv, store: &Path) -> Result<(Vec<String>, Vec<String>)> {
    let remarks = Reported::default();
    let config = DataConfig::Csv(Csv { max_bad: 0.5, ..config.clone() });
    let data = Dataset::open(&config, 8, u64::MAX, store, &remarks)?;
    let rows = data.rows().filter(|row| data.canvas.readable(*row)).map(|row| data.row(row).caption.into()).collect();
    Ok((rows, remarks.0.into_inner().unwrap()))
}

/// Four rows: images `0.png` to `2.png` of one size, and one that is missing.
fn four_rows() -> (tempfile::TempDir, Csv) {
    let (folder, config) = table("image,caption,class\n0.png,zero,\n1.png,one,\n2.png,two,\n3.png,three,\n");
    for number in 0..3 {
        fs::copy(folder.path().join("outside.png"), folder.path().join(format!("images/{number}.png"))).unwrap();
    }
    (folder, config)
}

#[test]
fn an_image_exchanged_with_one_of_equal_size_is_told_and_so_is_one_that_comes_or_goes() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 4] = [
        ("2", |root| fs::write(root.join("0.png"), fs::read(root.join("1.png")).unwrap()).unwrap()),
        ("4", |root| fs::write(root.join("2.png"), "another size").unwrap()),
        ("3", |root| fs::remove_file(root.join("1.png")).unwrap()),
        ("5", |root| fs::write(root.join("3.png"), fs::read(root.join("0.png")).unwrap()).unwrap()),
    ];
    for (line, change) in changes {
        let (folder, config) = four_rows();
        let store = tempfile::tempdir().unwrap();
        let same = open(&config, store.path()).unwrap();
        assert_eq!(same.0, ["zero", "one", "two"]);
        assert_eq!(open(&config, store.path()).unwrap().0, same.0);
        change(&folder.path().join("images"));
        let message = open(&config, store.path()).expect_err(line).chain();
        assert!(message.contains(&format!("table.csv:{line}: ")) && message.contains("1 of 4 rows"), "{message}");
        assert!(message.contains("delete"), "{message}");
        assert!(open(&config, tempfile::tempdir().unwrap().path()).is_ok(), "another folder is free");
    }
}

#[test]
fn what_was_refused_is_read_anew_once_its_images_are_repaired() {
    let (folder, config) = four_rows();
    let (store, root) = (tempfile::tempdir().unwrap(), folder.path().join("images"));
    for number in 0..3 {
        fs::write(root.join(format!("{number}.png")), "no image").unwrap();
    }
    let message = open(&config, store.path()).err().unwrap().chain();
    assert!(message.contains("4 of 4 rows cannot be used"), "{message}");
    for number in 0..4 {
        fs::copy(folder.path().join("outside.png"), root.join(format!("{number}.png"))).unwrap();
    }
    let (rows, remarks) = open(&config, store.path()).unwrap();
    assert_eq!(rows, ["zero", "one", "two", "three"]);
    assert!(
        remarks.len() == 1 && remarks[0].contains("4 of 4 rows were changed") && remarks[0].contains("read again"),
        "{remarks:?}"
    );
}

#[test]
fn other_images_have_other_canvases_though_the_folder_of_the_index_alone_was_deleted() {
    let (folder, config) = four_rows();
    let store = tempfile::tempdir().unwrap();
    // Without compression all images are of one size.
    let draw = |value| {
        let image = image::RgbImage::from_pixel(5, 4, image::Rgb([value; 3]));
        image.save_with_format(folder.path().join("images/0.png"), image::ImageFormat::Bmp).unwrap();
    };
    let config = DataConfig::Csv(Csv { max_bad: 0.5, ..config });
    let open = || Dataset::open(&config, 8, u64::MAX, store.path(), &Silent).unwrap();
    draw(9);
    let (old, digest) = (open().key, open().index.digest.clone());
    draw(200);
    let folders = fs::read_dir(store.path()).unwrap().map(|entry| entry.unwrap().path());
    let index = folders.into_iter().find(|path| path.to_string_lossy().contains("index-")).unwrap();
    fs::remove_dir_all(index).unwrap();
    let new = open();
    assert_ne!(new.key, old);
    assert_eq!(new.canvas.gather(&[DataRow(0)]).unwrap().max().int64_value(&[]), 200, "the canvas is of the new image");
    assert_eq!(new.index.digest, digest, "sizes are equal, and times are not part of it");
}
