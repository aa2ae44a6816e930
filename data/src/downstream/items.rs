//! Labelled images of a set, decoded on request: files, or rows of pixels inside larger files.
//!
//! Every image of a list must exist, and be listed once: [`Items::files`] checks the metadata of
//! every file, which also gives the fingerprint and detects one file under two names.

use crate::decode::{canvas_of, image};
use crate::intake::{MAX_BYTES, read_span};
use crate::ordered::{cores, ordered};
use crate::regular;
use crate::{Error, Result};
use image::RgbImage;
use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Component, Path, PathBuf};

/// Images with labels, in torchvision's order. Threads may share them.
#[derive(Debug)]
pub struct Items {
    labels: Vec<u32>,
    images: Images,
    fingerprint: String,
    /// The place of each in a list, if there is one.
    places: Vec<String>,
    /// The identity of each while a set is opened: see [`Identity`].
    pub(super) identities: Vec<Option<Identity>>,
}

/// Equal for two items that are the same image: device and inode of a file, or a hash of the pixels
/// of a row.
pub type Identity = u128;

/// A file from a list or a folder.
#[derive(Debug)]
pub struct Listed {
    /// Path relative to a folder.
    pub path: String,
    /// The class.
    pub label: u32,
    /// File and line of the list; empty if it was found in a folder.
    pub place: String,
}

#[derive(Debug)]
enum Images {
    /// Paths relative to a folder.
    Files { folder: PathBuf, paths: Vec<String> },
    /// Images inside files of rows: the number of the file, and of the row in it.
    Rows { files: Vec<Rows>, places: Vec<(u32, u32)> },
}

/// A file that holds images as rows of planar RGB, `3 * side * side` bytes each.
#[derive(Debug)]
pub(super) struct Rows {
    pub(super) path: PathBuf,
    pub(super) pixels: Pixels,
    pub(super) side: u32,
    /// One per image.
    pub(super) labels: Vec<u32>,
    /// One per image, made by [`identity`].
    pub(super) identities: Vec<Identity>,
}

/// The place of the rows.
#[derive(Debug)]
pub(super) enum Pixels {
    /// In the file: from `start` on, `stride` bytes from one to the next.
    File { file: File, start: u64, stride: u64 },
    /// In memory, one after the other: the file stores them in another form.
    Memory(Vec<u8>),
}

/// The identity of an image, from its bytes.
pub(super) fn identity(bytes: &[u8]) -> Identity {
    let hash = blake3::hash(bytes);
    u128::from_le_bytes(hash.as_bytes()[..16].try_into().expect("a hash has 32 bytes"))
}

/// Files that one thread checks at a time.
const CHUNK: usize = 1024;

impl Listed {
    /// Its line of the fingerprint, and the identity of the file.
    fn look(&self, folder: &Path) -> Result<(String, Option<Identity>), String> {
        let Listed { path, label, place } = self;
        let file = look_at(folder, path).map_err(|why| match place.is_empty() {
            true => format!("{path}: {why}"),
            false => format!("{path} ({place}): {why}"),
        })?;
        let stamp = format!("{} {}.{:09}", file.len(), file.mtime(), file.mtime_nsec());
        // Some file systems have no inode numbers.
        let identity = (file.ino() > 0).then(|| u128::from(file.dev()) << 64 | u128::from(file.ino()));
        Ok((format!("{path} {label} {stamp}\n"), identity))
    }
}

impl Items {
    /// Image files, by path relative to `folder`, and their labels.
    ///
    /// # Errors
    /// Names files that are missing or are not regular files, and those that a list names twice.
    pub fn files(folder: &Path, items: Vec<Listed>) -> Result<Self> {
        each_once(&items)?;
        let (mut hasher, mut missing, mut identities) = (blake3::Hasher::new(), Vec::new(), Vec::new());
        // Two parts of a set can have the same names, sizes and times; the key of stored features
        // is this fingerprint.
        let whole = folder.canonicalize().unwrap_or_else(|_| folder.into());
        hasher.update(format!("{}\n", whole.display()).as_bytes());
        let look = |chunk: &[Listed]| chunk.iter().map(|item| item.look(folder)).collect::<Vec<_>>();
        ordered(items.chunks(CHUNK), vec![look; cores()], |found| {
            for found in found {
                match found {
                    Ok((line, identity)) => {
                        hasher.update(line.as_bytes());
                        identities.push(identity);
                    }
                    Err(why) => missing.push(why),
                }
            }
            Ok::<_, Error>(())
        })?;
        if !missing.is_empty() {
            let first = missing[..missing.len().min(3)].join("; ");
            let why = format!("{} of its {} images cannot be used: {first}", missing.len(), items.len());
            return Err(Error::invalid(folder.display(), why));
        }
        let (mut paths, mut labels, mut places) = (Vec::new(), Vec::new(), Vec::new());
        for Listed { path, label, place } in items {
            paths.push(path);
            labels.push(label);
            if !place.is_empty() {
                places.push(place);
            }
        }
        let fingerprint = hasher.finalize().to_hex().to_string();
        let images = Images::Files { folder: folder.into(), paths };
        Ok(Items { labels, images, fingerprint, places, identities })
    }

    /// Images in files of rows, one file after the other.
    pub(super) fn rows(files: Vec<Rows>) -> Result<Self> {
        let mut hasher = blake3::Hasher::new();
        let (mut labels, mut places, mut identities) = (Vec::new(), Vec::new(), Vec::new());
        for (file, number) in files.iter().zip(0..) {
            let about = regular::look(&file.path).map_err(Error::io(&file.path))?;
            let stamp = format!("{} {}.{:09}", about.len(), about.mtime(), about.mtime_nsec());
            hasher.update(format!("{} {} {stamp}\n", file.path.display(), file.labels.len()).as_bytes());
            labels.extend(&file.labels);
            identities.extend(file.identities.iter().copied().map(Some));
            places.extend((0..file.labels.len() as u32).map(|row| (number, row)));
        }
        let fingerprint = hasher.finalize().to_hex().to_string();
        Ok(Items { labels, images: Images::Rows { files, places }, fingerprint, places: Vec::new(), identities })
    }

    /// Renumbers the classes.
    pub(super) fn renumber(&mut self, number_of: &[u32]) {
        self.labels.iter_mut().for_each(|label| *label = number_of[*label as usize]);
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are no images.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The class of an image: an index into the set's classes.
    pub fn label(&self, item: usize) -> u32 {
        self.labels[item]
    }

    /// The classes of all images.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// The name of an image in messages: its path below the set's folder, or file and row.
    pub fn name(&self, item: usize) -> String {
        match &self.images {
            Images::Files { paths, .. } => paths[item].clone(),
            Images::Rows { files, places } => {
                let (file, row) = places[item];
                let name = files[file as usize].path.file_name().unwrap_or_default();
                format!("{}, row {row}", name.to_string_lossy())
            }
        }
    }

    /// The canvas of an image, with CLIP's preprocessing: planar RGB, `3 * size * size` bytes. The
    /// error describes the fault, but does not name the image.
    pub fn canvas(&self, item: usize, size: u32) -> Result<Vec<u8>, String> {
        // If the decoder panics on a malicious file, that image is lost and not the program.
        let read = catch_unwind(AssertUnwindSafe(|| match &self.images {
            Images::Files { folder, paths } => image(&read_file(&folder.join(&paths[item]))?, size),
            Images::Rows { files, places } => {
                let (file, row) = places[item];
                files[file as usize].canvas(row, size)
            }
        }));
        read.unwrap_or_else(|_| Err("the decoder panicked".into()))
    }

    /// The identity of an image by content: equal for two images that are the same, byte for byte
    /// (pixel for pixel in files of rows).
    pub fn content(&self, item: usize) -> Result<Identity, String> {
        match &self.images {
            Images::Files { folder, paths } => Ok(identity(&read_file(&folder.join(&paths[item]))?)),
            Images::Rows { files, places } => {
                let (file, row) = places[item];
                Ok(identity(&files[file as usize].planes(row)?))
            }
        }
    }

    /// Paths of image files, relative to their folder; none for rows.
    pub(super) fn paths(&self) -> &[String] {
        if let Images::Files { paths, .. } = &self.images { paths } else { &[] }
    }

    /// An image's name, and its place in a list.
    pub(super) fn place(&self, item: usize) -> String {
        match self.places.get(item) {
            Some(place) => format!("{} ({place})", self.name(item)),
            None => self.name(item),
        }
    }

    /// An image that is in both, if they come from one folder of files.
    pub(super) fn shared(&self, other: &Items) -> Option<(usize, usize)> {
        let (Images::Files { folder, paths }, Images::Files { folder: of_other, paths: others }) =
            (&self.images, &other.images)
        else {
            return None;
        };
        let others: HashMap<String, usize> =
            others.iter().zip(0..).filter(|_| folder == of_other).map(|(path, at)| (plain(path), at)).collect();
        paths.iter().zip(0..).find_map(|(path, at)| Some((at, *others.get(&plain(path))?)))
    }

    /// Changes whenever images, their order or their labels could have changed. It covers names,
    /// sizes and modification times of files.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }
}

impl Rows {
    /// The three planes of a row.
    fn planes(&self, row: u32) -> Result<Vec<u8>, String> {
        let size = 3 * (self.side * self.side) as usize;
        match &self.pixels {
            Pixels::File { file, start, stride } => read_span(file, start + u64::from(row) * stride, size as u64),
            Pixels::Memory(bytes) => Ok(bytes[row as usize * size..][..size].to_vec()),
        }
    }

    fn canvas(&self, row: u32, size: u32) -> Result<Vec<u8>, String> {
        let (planes, area) = (self.planes(row)?, (self.side * self.side) as usize);
        let pixels = (0..3 * area).map(|at| planes[at % 3 * area + at / 3]).collect();
        let image = RgbImage::from_raw(self.side, self.side, pixels).ok_or("a row is not an image")?;
        canvas_of(&image, size)
    }
}

/// Refuses a list that names a file twice, in any spelling of the path.
fn each_once(items: &[Listed]) -> Result<()> {
    let mut seen: HashMap<String, &str> = HashMap::new();
    // Files found in a folder are unique.
    for Listed { path, place, .. } in items.iter().filter(|item| !item.place.is_empty()) {
        if let Some(first) = seen.insert(plain(path), place) {
            return Err(Error::invalid(place, format!("image {path} is listed twice; the first time in {first}")));
        }
    }
    Ok(())
}

/// A normalised path: `a/./b` and `a//b` become `a/b`.
fn plain(path: &str) -> String {
    Path::new(path).components().collect::<PathBuf>().to_string_lossy().into_owned()
}

/// Reads the metadata of a listed file. A path that leads out of the folder is refused.
fn look_at(folder: &Path, path: &str) -> Result<Metadata, String> {
    if Path::new(path).components().any(|part| !matches!(part, Component::Normal(_))) {
        return Err("it leads out of the folder".into());
    }
    let file = regular::look(&folder.join(path)).map_err(|error| error.to_string())?;
    match file.len() {
        0 => Err("it is empty".into()),
        size if size > MAX_BYTES => Err(format!("{size} bytes are more than the limit of {MAX_BYTES}")),
        _ => Ok(file),
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    regular::read(path, MAX_BYTES).map_err(|error| error.to_string())
}
