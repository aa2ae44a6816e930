//! CIFAR-10 and CIFAR-100 (Krizhevsky 2009), as python pickles or in the binary version. Images
//! stay in their files: a batch is read once for its labels and for the offsets of its rows of
//! pixels.

use super::items::{Identity, Pixels, Rows, identity};
use super::list::{List, some};
use super::pickle::{Bytes, Pickle};
use super::{About, Archive, Found, Items, Metric, Size, names, stands};
use crate::intake::MAX_BYTES;
use crate::regular;
use crate::{Error, Result};
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
    // Barz and Denzler (2020, arXiv:1902.00423) found no exact copy of an image of the test split,
    // in either part. They did not compare images of the train split with each other: ten is a
    // bound with a margin, not a count.
    copies: [10, 0, 0],
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
    // Their lists (github.com/cvjena/cifair, meta/) have 39 exact copies between the parts and 2
    // within the test split, images that differ in a few pixels included. At the same rate the
    // train split, which they did not compare, would have some 100: the bound is twice that.
    copies: [200, 2, 39],
    read: |root, _| read(root, &HUNDRED),
    ..CIFAR10
};

/// The differences between the two sets.
struct Kind {
    about: &'static About,
    /// Folder of the python version, and the file with the names.
    python: [&'static str; 2],
    /// The same for the binary version.
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
    let ([python, meta], [binary, text]) = (kind.python, kind.binary);
    let places = [(python, meta), ("", meta), (binary, text), ("", text)];
    let nested = [(format!("{python}/{python}"), meta), (format!("{binary}/{binary}"), text)];
    let places = places.into_iter().map(|(folder, names)| (folder.to_string(), names)).chain(nested);
    let Some((folder, names)) = places.into_iter().find(|(folder, names)| stands(&root.join(folder).join(names)))
    else {
        let why = format!("it holds neither {python}/{meta} nor {binary}/{text}");
        return Err(Error::invalid(root.display(), why));
    };
    let (folder, is_binary) = (root.join(folder), names == text);
    let labels_in = folder.join(names);
    let labels = names_in(&labels_in, kind, is_binary)?;
    let rows = |batch: &&str| rows_of(&folder, batch, is_binary, kind, labels.len());
    let batches: Vec<Rows> = kind.fit.iter().map(rows).collect::<Result<_>>()?;
    let test = rows(&kind.test)?;
    let sizes: Vec<String> = batches.iter().map(|batch| batch.labels.len().to_string()).collect();
    let uneven = sizes.iter().any(|size| *size != sizes[0]);
    let differs = uneven.then(|| format!("its batches are not of one size, but of {} images", sizes.join(", ")));
    let (fit, test) = (Items::rows(batches)?, Items::rows(vec![test])?);
    let (differs, published) = (differs.into_iter().collect(), kind.about.size);
    Ok(Found { labels, labels_in, fit, test, published, named: true, differs, notes: Vec::new() })
}

/// The names of the classes, in the order of their numbers.
fn names_in(path: &Path, kind: &Kind, is_binary: bool) -> Result<Vec<String>> {
    let wrong = |why| Error::invalid(path.display(), why);
    let names = if is_binary {
        List::read(path)?.classes()?
    } else {
        let bytes = regular::read(path, MAX_BYTES).map_err(Error::io(path))?;
        Pickle::read(&bytes).and_then(|pickle| pickle.strings(kind.keys[1])).map_err(wrong)?
    };
    let twice: Vec<&String> =
        names.iter().zip(0..).filter(|(name, at)| names[..*at].contains(name)).map(|x| x.0).collect();
    if !twice.is_empty() {
        return Err(wrong(format!("classes appear twice: {}", some(&twice))));
    }
    names::in_order(kind.about.name, &names, &path.display().to_string())?;
    Ok(names)
}

fn rows_of(folder: &Path, batch: &str, is_binary: bool, kind: &Kind, classes: usize) -> Result<Rows> {
    match is_binary {
        true => rows_of_binary(&folder.join(format!("{batch}.bin")), kind, classes),
        false => rows_of_pickle(&folder.join(batch), kind, classes),
    }
}

fn rows_of_pickle(path: &Path, kind: &Kind, classes: usize) -> Result<Rows> {
    let wrong = |why| Error::invalid(path.display(), why);
    let file = regular::open(path).map_err(Error::io(path))?;
    let bytes = regular::read(path, MAX_BYTES).map_err(Error::io(path))?;
    let pickle = Pickle::read(&bytes).map_err(wrong)?;
    let (pixels, labels) = (pickle.array("data").map_err(wrong)?, pickle.numbers(kind.keys[0]).map_err(wrong)?);
    let count = labels.len();
    if pixels.shape != [count, ROW] {
        return Err(wrong(format!("pixels of shape {:?} for {count} labels, not [{count}, {ROW}]", pixels.shape)));
    }
    let labels = labels.into_iter().zip(0..).map(|(label, row)| checked(path, row, label, classes));
    let labels = labels.collect::<Result<Vec<u32>>>()?;
    let identities = identities(path, pickle.bytes(&pixels.bytes).chunks_exact(ROW))?;
    let pixels = match &pixels.bytes {
        Bytes::Here(place) => Pixels::File { file, start: place.start as u64, stride: ROW as u64 },
        Bytes::Decoded(bytes) => Pixels::Memory(bytes.to_vec()),
    };
    Ok(Rows { path: path.into(), pixels, side: SIDE, labels, identities })
}

fn rows_of_binary(path: &Path, kind: &Kind, classes: usize) -> Result<Rows> {
    let wrong = |why| Error::invalid(path.display(), why);
    let file = regular::open(path).map_err(Error::io(path))?;
    let bytes = regular::read(path, MAX_BYTES).map_err(Error::io(path))?;
    let stride = kind.label_bytes + ROW;
    if !bytes.len().is_multiple_of(stride) {
        return Err(wrong(format!(
            "{} bytes are not a whole number of rows of {stride} bytes: it is cut short",
            bytes.len()
        )));
    }
    let rows = bytes.chunks_exact(stride);
    let labels = rows.clone().zip(0..).map(|(row, at)| checked(path, at, row[kind.label_bytes - 1].into(), classes));
    let labels = labels.collect::<Result<_>>()?;
    let identities = identities(path, rows.map(|row| &row[kind.label_bytes..]))?;
    let pixels = Pixels::File { file, start: kind.label_bytes as u64, stride: stride as u64 };
    Ok(Rows { path: path.into(), pixels, side: SIDE, labels, identities })
}

/// Identifies each image by its pixels.
fn identities<'a>(path: &Path, rows: impl Iterator<Item = &'a [u8]>) -> Result<Vec<Identity>> {
    let identities: Vec<Identity> = rows.map(identity).collect();
    match identities.is_empty() {
        true => Err(Error::invalid(path.display(), "it has no image")),
        false => Ok(identities),
    }
}

fn checked(path: &Path, row: usize, label: f64, classes: usize) -> Result<u32> {
    if label.fract() == 0.0 && (0.0..classes as f64).contains(&label) {
        return Ok(label as u32);
    }
    let why = format!("label {label} is not a whole number from 0 to {}", classes - 1);
    Err(Error::invalid(format!("{}, row {row}", path.display()), why))
}
