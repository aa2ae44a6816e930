//! CIFAR-10 and CIFAR-100 (Krizhevsky 2009), as python pickles or in the binary version. Pictures stay in their files: a batch is
//! looked through once for its labels and for where its rows of pixels start.

use super::items::Rows;
use super::pickle::Pickle;
use super::{About, Archive, Found, Items, Metric, Size};
use crate::data::canvas::intake::{MAX_BYTES, read_span};
use crate::{Error, Result};
use std::fs::{self, File};
use std::path::Path;

/// Ten classes.
pub(super) const CIFAR10: About = About {
    name: "cifar10",
    title: "CIFAR-10: things and animals, 32 x 32 pixels",
    size: Size { classes: 10, fit: 50_000, test: 10_000 },
    metric: Metric::Accuracy,
    licence: "none stated; its authors ask to be cited",
    home: "https://www.cs.toronto.edu/~kriz/cifar.html",
    layout: "
DIR/cifar-10-batches-py/        the python version
  data_batch_1 .. data_batch_5
  test_batch
  batches.meta
DIR/cifar-10-batches-bin/       or the binary version
  data_batch_1.bin .. data_batch_5.bin
  test_batch.bin
  batches.meta.txt",
    archives: &[Archive {
        url: "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
        md5: "c58f30108f718f92721af3b95e74349a",
        into: "",
        inner: None,
    }],
    by_hand: "",
    read: |root, _| read(root, &TEN),
};

/// A hundred classes.
pub(super) const CIFAR100: About = About {
    name: "cifar100",
    title: "CIFAR-100: things, plants, animals and people, 32 x 32 pixels",
    size: Size { classes: 100, ..CIFAR10.size },
    layout: "
DIR/cifar-100-python/           the python version
  train
  test
  meta
DIR/cifar-100-binary/           or the binary version
  train.bin
  test.bin
  fine_label_names.txt",
    archives: &[Archive {
        url: "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
        md5: "eb9058c3a382ffc7106e4002c42a8d85",
        into: "",
        inner: None,
    }],
    read: |root, _| read(root, &HUNDRED),
    ..CIFAR10
};

/// What the two sets differ in.
struct Kind {
    about: &'static About,
    /// Folder of the python version, and the file with the names.
    python: [&'static str; 2],
    /// The same of the binary version.
    binary: [&'static str; 2],
    fit: &'static [&'static str],
    test: &'static str,
    /// Keys of labels and of names in the pickles.
    keys: [&'static str; 2],
    /// Bytes of labels before the pixels of a row in the binary version; the last is the label.
    label_bytes: usize,
}

const TEN: Kind = Kind {
    about: &CIFAR10,
    python: ["cifar-10-batches-py", "batches.meta"],
    binary: ["cifar-10-batches-bin", "batches.meta.txt"],
    fit: &["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5"],
    test: "test_batch",
    keys: ["labels", "label_names"],
    label_bytes: 1,
};

const HUNDRED: Kind = Kind {
    about: &CIFAR100,
    python: ["cifar-100-python", "meta"],
    binary: ["cifar-100-binary", "fine_label_names.txt"],
    fit: &["train"],
    test: "test",
    keys: ["fine_labels", "fine_label_names"],
    label_bytes: 2,
};

const SIDE: u32 = 32;
const ROW: usize = 3 * (SIDE * SIDE) as usize;

fn read(root: &Path, kind: &Kind) -> Result<Found> {
    let folders = [kind.python, kind.binary].map(|[folder, names]| [(folder, names), ("", names)]).concat();
    let exists = |(folder, names): &(&str, &str)| root.join(folder).join(names).is_file();
    let Some(&(folder, names)) = folders.iter().find(|place| exists(place)) else {
        let ([python, meta], [binary, text]) = (kind.python, kind.binary);
        let why = format!("it holds neither {python}/{meta} nor {binary}/{text}");
        return Err(Error::invalid("this folder", why));
    };
    let (folder, binary) = (root.join(folder), names == kind.binary[1]);
    let labels = names_in(&folder.join(names), kind, binary)?;
    let rows = |batch: &&str| match binary {
        true => rows_of_binary(&folder.join(format!("{batch}.bin")), kind, labels.len()),
        false => rows_of_pickle(&folder.join(batch), kind, labels.len()),
    };
    let fit = Items::rows(kind.fit.iter().map(rows).collect::<Result<_>>()?)?;
    let test = Items::rows(vec![rows(&kind.test)?])?;
    Ok(Found { labels, fit, test, published: kind.about.size, named: true, notes: Vec::new() })
}

/// The names of the classes.
fn names_in(path: &Path, kind: &Kind, binary: bool) -> Result<Vec<String>> {
    let wrong = |why| Error::invalid(path.display().to_string(), why);
    if binary {
        let text = fs::read_to_string(path).map_err(Error::io(path))?;
        return Ok(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_string).collect());
    }
    let (_, bytes) = whole(path)?;
    Pickle::read(&bytes).and_then(|pickle| pickle.strings(kind.keys[1])).map_err(wrong)
}

fn rows_of_pickle(path: &Path, kind: &Kind, classes: usize) -> Result<Rows> {
    let wrong = |why| Error::invalid(path.display().to_string(), why);
    let (file, bytes) = whole(path)?;
    let pickle = Pickle::read(&bytes).map_err(wrong)?;
    let (pixels, labels) = (pickle.array("data").map_err(wrong)?, pickle.numbers(kind.keys[0]).map_err(wrong)?);
    let count = labels.len();
    if pixels.shape != [count, ROW] {
        return Err(wrong(format!("pixels of shape {:?} for {count} labels, not [{count}, {ROW}]", pixels.shape)));
    }
    let labels = labels.iter().map(|&label| checked(label, classes)).collect::<Result<_, _>>().map_err(wrong)?;
    let start = pixels.bytes.start as u64;
    Ok(Rows { path: path.into(), file, start, stride: ROW as u64, side: SIDE, labels })
}

fn rows_of_binary(path: &Path, kind: &Kind, classes: usize) -> Result<Rows> {
    let wrong = |why| Error::invalid(path.display().to_string(), why);
    let (file, bytes) = whole(path)?;
    let stride = kind.label_bytes + ROW;
    if !bytes.len().is_multiple_of(stride) {
        return Err(wrong(format!("{} bytes are no whole number of rows of {stride}: it is cut short", bytes.len())));
    }
    let label = |row: &[u8]| checked(row[kind.label_bytes - 1].into(), classes);
    let labels = bytes.chunks_exact(stride).map(label).collect::<Result<_, _>>().map_err(wrong)?;
    Ok(Rows { path: path.into(), file, start: kind.label_bytes as u64, stride: stride as u64, side: SIDE, labels })
}

fn checked(label: i64, classes: usize) -> Result<u32, String> {
    let label_of = u32::try_from(label).ok().filter(|label| (*label as usize) < classes);
    label_of.ok_or_else(|| format!("label {label} of {classes} classes"))
}

fn whole(path: &Path) -> Result<(File, Vec<u8>)> {
    let file = File::open(path).map_err(Error::io(path))?;
    let size = file.metadata().map_err(Error::io(path))?.len().min(MAX_BYTES + 1);
    let bytes = read_span(&file, 0, size).map_err(|why| Error::invalid(path.display().to_string(), why))?;
    Ok((file, bytes))
}
