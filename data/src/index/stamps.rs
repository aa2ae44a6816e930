//! Sizes and times of the images of a table, to detect images that were replaced, repaired, added
//! or removed since the table was indexed.
//!
//! The metadata of every row's file is read whenever the data is opened, bad rows included.
//! `stamps.bin` holds eight bytes per row, and its hash is part of the index's key, and so of the
//! keys of the canvases and of the poison. If images changed and nothing was made of the old ones,
//! the index is made again. If something was, it is an error: results of old and new images would
//! be mixed, with nothing to tell them apart.

use crate::files::{Part, Writer, remove_folder};
use crate::ordered::cores;
use crate::source::{Row, Source, Stamp};
use crate::{Error, Progress, Result};
use gauntlet_torch::Map;
use std::fs::{self, File};
use std::path::Path;

/// Bytes per row.
const SEEN: usize = 8;

/// This file exists once a data set was made of the index.
const USED: &str = "used";

/// Writes the stamps; returns the index's key with them.
pub(super) fn write(source: &dyn Source, part: &Part, key: &str, progress: &dyn Progress) -> Result<String> {
    let path = part.path("stamps.bin");
    let mut file = Writer::create(path.clone())?;
    source.stamps(cores(), progress, &mut |stamp| {
        progress.check_stopped()?;
        file.write(&short(&stamp))
    })?;
    file.finish()?;
    Ok(self::key(key, &Map::open(&path).map_err(Error::io(&path))?))
}

/// The key of an index: that of its source, with the stamps of the images if the source has any.
pub(super) fn key(source: &str, stamps: &[u8]) -> String {
    match stamps.is_empty() {
        true => source.to_string(),
        false => blake3::Hasher::new().update(source.as_bytes()).update(stamps).finalize().to_hex().to_string(),
    }
}

/// Images that changed since they were indexed.
pub(super) struct Changed {
    /// The name of the first.
    first: String,
    changed: usize,
    /// Of how many rows.
    rows: usize,
}

/// Checks every image of an existing index.
pub(super) fn find(source: &dyn Source, folder: &Path, progress: &dyn Progress) -> Result<Option<Changed>> {
    let path = folder.join("stamps.bin");
    let known = Map::open(&path).map_err(Error::io(&path))?;
    let (mut rows, mut changed, mut first) = (0, 0, None);
    source.stamps(cores(), progress, &mut |stamp| {
        if known.get(rows * SEEN..(rows + 1) * SEEN) != Some(&short(&stamp)[..]) {
            changed += 1;
            first.get_or_insert((stamp.file, stamp.start));
        }
        rows += 1;
        progress.check_stopped()
    })?;
    let row = |(file, start)| Row {
        number: Default::default(),
        key: "",
        caption: "",
        class: None,
        file,
        start,
        size: 0,
        seen: 0,
    };
    Ok(first.map(|place| Changed { first: source.name(&row(place)), changed, rows }))
}

/// Removes an index whose images have changed, if nothing was made of it.
///
/// # Errors
/// If something was.
pub(super) fn remove(found: &Changed, folder: &Path, progress: &dyn Progress) -> Result<()> {
    let Changed { first: name, changed, rows } = found;
    let folder_name = folder.display();
    if folder.join(USED).exists() {
        let why = format!(
            "its image was changed, added or removed since the data was read, as were those of {changed} of {rows} rows \
             in all. Data of the old images must not be mixed with data of the new ones: give another folder (--out or \
             --store), or delete {folder_name} and everything made of it first"
        );
        return Err(Error::invalid(name, why));
    }
    remove_folder(folder)?;
    progress.tell(&format!(
        "the images of {changed} of {rows} rows were changed, added or removed ({name} first): the data is read again"
    ));
    Ok(())
}

/// Records that a data set was made of the index, if the source has stamps.
pub(super) fn mark_used(folder: &Path) -> Result<()> {
    let (stamps, used) = (folder.join("stamps.bin"), folder.join(USED));
    if fs::metadata(&stamps).map_err(Error::io(&stamps))?.len() == 0 || used.exists() {
        return Ok(());
    }
    File::create(&used).map(drop).map_err(Error::io(&used))
}

fn short(stamp: &Stamp) -> [u8; SEEN] {
    blake3::hash(stamp.seen.as_bytes()).as_bytes()[..SEEN].try_into().expect("a hash has 32 bytes")
}
