//! Labelled pictures of a set, decoded when they are asked for: files, or rows of pixels inside larger files.
//!
//! What a list names must be there: [`Items::files`] looks at every file once, which also gives the fingerprint.

use crate::data::canvas::intake::{MAX_BYTES, read_span, stamp};
use crate::data::canvas::{canvas_of, picture};
use crate::data::ordered::{cores, ordered};
use crate::{Error, Result};
use image::RgbImage;
use std::collections::HashSet;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Component, Path, PathBuf};

/// Pictures with labels, in torchvision's order. Threads may share them.
#[derive(Debug)]
pub struct Items {
    labels: Vec<u32>,
    pictures: Pictures,
    fingerprint: String,
}

#[derive(Debug)]
enum Pictures {
    /// Paths relative to a folder.
    Files { folder: PathBuf, paths: Vec<String> },
    /// Pictures inside files of rows: the number of the file, and of the row in it.
    Rows { files: Vec<Rows>, places: Vec<(u32, u32)> },
}

/// A file that holds pictures as rows of planar RGB, `3 * side * side` bytes each.
#[derive(Debug)]
pub(super) struct Rows {
    pub(super) path: PathBuf,
    pub(super) file: File,
    /// Where the first picture starts.
    pub(super) start: u64,
    /// Bytes from one picture to the next.
    pub(super) stride: u64,
    pub(super) side: u32,
    /// One a picture.
    pub(super) labels: Vec<u32>,
}

/// Files that one thread looks at in one go.
const CHUNK: usize = 1024;

impl Items {
    /// Picture files, by path relative to `folder`, and their labels.
    ///
    /// # Errors
    /// Names files that are not there.
    pub(crate) fn files(folder: &Path, items: Vec<(String, u32)>) -> Result<Self> {
        let (mut hasher, mut missing) = (blake3::Hasher::new(), Vec::new());
        // Two parts of a set can have the same names, sizes and times; features are kept by this fingerprint.
        let whole = folder.canonicalize().unwrap_or_else(|_| folder.into());
        hasher.update(format!("{}\n", whole.display()).as_bytes());
        let look = |chunk: &[(String, u32)]| -> Vec<Result<String, String>> {
            chunk.iter().map(|(path, label)| Ok(format!("{path} {label} {}\n", look_at(folder, path)?))).collect()
        };
        ordered(items.chunks(CHUNK), vec![look; cores()], |found| {
            for found in found {
                match found {
                    Ok(line) => drop(hasher.update(line.as_bytes())),
                    Err(why) => missing.push(why),
                }
            }
            Ok::<_, Error>(())
        })?;
        if !missing.is_empty() {
            let first = missing[..missing.len().min(3)].join("; ");
            let why = format!("{} of its {} pictures cannot be had: {first}", missing.len(), items.len());
            return Err(Error::invalid(folder.display().to_string(), why));
        }
        let (paths, labels) = items.into_iter().unzip();
        let fingerprint = hasher.finalize().to_hex().to_string();
        Ok(Items { labels, pictures: Pictures::Files { folder: folder.into(), paths }, fingerprint })
    }

    /// Pictures in files of rows, one file after the other.
    pub(super) fn rows(files: Vec<Rows>) -> Result<Self> {
        let mut hasher = blake3::Hasher::new();
        let (mut labels, mut places) = (Vec::new(), Vec::new());
        for (file, number) in files.iter().zip(0..) {
            let stamp = stamp(&file.path).map_err(Error::io(&file.path))?;
            hasher.update(format!("{} {} {stamp}\n", file.path.display(), file.labels.len()).as_bytes());
            labels.extend(&file.labels);
            places.extend((0..file.labels.len() as u32).map(|row| (number, row)));
        }
        let fingerprint = hasher.finalize().to_hex().to_string();
        Ok(Items { labels, pictures: Pictures::Rows { files, places }, fingerprint })
    }

    /// Gives every class another number.
    pub(super) fn renumber(&mut self, number_of: &[u32]) {
        self.labels.iter_mut().for_each(|label| *label = number_of[*label as usize]);
    }

    /// Number of pictures.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The class of a picture: an index into the set's classes.
    pub fn label(&self, item: usize) -> u32 {
        self.labels[item]
    }

    /// The classes of all pictures.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// What a person would call a picture: its path below the set's folder, or file and row.
    pub fn name(&self, item: usize) -> String {
        match &self.pictures {
            Pictures::Files { paths, .. } => paths[item].clone(),
            Pictures::Rows { files, places } => {
                let (file, row) = places[item];
                let name = files[file as usize].path.file_name().unwrap_or_default();
                format!("{}, row {row}", name.to_string_lossy())
            }
        }
    }

    /// The picture as CLIP's evaluation sees it: planar RGB, `3 * size * size` bytes. The error says what is wrong with it, not
    /// which one it is.
    pub fn canvas(&self, item: usize, size: u32) -> Result<Vec<u8>, String> {
        // A decoder that panics on a malicious file costs that picture, not the program.
        let read = catch_unwind(AssertUnwindSafe(|| match &self.pictures {
            Pictures::Files { folder, paths } => picture(&read_file(&folder.join(&paths[item]))?, size),
            Pictures::Rows { files, places } => {
                let (file, row) = places[item];
                files[file as usize].canvas(row, size)
            }
        }));
        read.unwrap_or_else(|_| Err("the decoder panicked".into()))
    }

    /// A picture that is among both, if they come from one folder of files.
    pub(super) fn shared(&self, other: &Items) -> Option<&str> {
        let (Pictures::Files { folder, paths }, Pictures::Files { folder: of_other, paths: others }) =
            (&self.pictures, &other.pictures)
        else {
            return None;
        };
        let others: HashSet<&String> = others.iter().filter(|_| folder == of_other).collect();
        paths.iter().find(|path| others.contains(path)).map(String::as_str)
    }

    /// Changes whenever pictures, their order or their labels could have changed: names, sizes and modification times of files.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }
}

impl Rows {
    fn canvas(&self, row: u32, size: u32) -> Result<Vec<u8>, String> {
        let area = (self.side * self.side) as usize;
        let planes = read_span(&self.file, self.start + u64::from(row) * self.stride, 3 * area as u64)?;
        let pixels = (0..3 * area).map(|at| planes[at % 3 * area + at / 3]).collect();
        let picture = RgbImage::from_raw(self.side, self.side, pixels).ok_or("a row is no picture")?;
        canvas_of(&picture, size)
    }
}

/// Size and time of a listed file. A list that leads out of its folder is refused.
fn look_at(folder: &Path, path: &str) -> Result<String, String> {
    if Path::new(path).components().any(|part| !matches!(part, Component::Normal(_))) {
        return Err(format!("{path}: it leads out of the folder"));
    }
    stamp(&folder.join(path)).map_err(|error| format!("{path}: {error}"))
}

fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let size = file.metadata().map_err(|error| error.to_string())?.len();
    if size > MAX_BYTES {
        return Err(format!("{size} bytes are more than the {MAX_BYTES} that are read"));
    }
    read_span(&file, 0, size)
}
