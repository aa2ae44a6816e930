//! `sums.json`: size and hash of the files of a finished folder. A disk, a copy or a hand that
//! changes a file later is detected before a result is made of it. Files that carry their own hash
//! (safetensors, canvases) are left out.

use super::{read_json, write_json};
use crate::ordered::{cores, ordered};
use crate::{Error, Result};
use blake3::hazmat::{ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};
use blake3::{Hash, Hasher};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The name of the file.
pub const SUMS: &str = "sums.json";

/// Bytes that one thread hashes at a time; a power of two.
const BLOCK: u64 = 1 << 20;

/// Files with fewer blocks are hashed by one thread: starting more takes longer.
const SHARED: u64 = 8;

/// Size and hash of a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sum {
    /// Its size.
    pub bytes: u64,
    /// Its BLAKE3 in hexadecimal digits, as `b3sum` prints it.
    pub blake3: String,
}

impl Sum {
    /// Of a file that will have these bytes.
    pub fn of_bytes(bytes: &[u8]) -> Sum {
        Sum { bytes: bytes.len() as u64, blake3: hash_bytes(bytes).to_hex().to_string() }
    }

    fn of_file(path: &Path) -> Result<Sum> {
        let (bytes, hash) = hash_file(path).map_err(Error::io(path))?;
        Ok(Sum { bytes, blake3: hash.to_hex().to_string() })
    }
}

/// The sums of a folder by the names of its files.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sums(pub BTreeMap<String, Sum>);

impl Sums {
    /// Hashes the files of a folder, not of the folders in it, for which `counts` holds.
    pub fn of(folder: &Path, counts: impl Fn(&str) -> bool) -> Result<Sums> {
        let mut sums = BTreeMap::new();
        for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
            let path = entry.map_err(Error::io(folder))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name != SUMS && path.is_file() && counts(&name) {
                sums.insert(name, Sum::of_file(&path)?);
            }
        }
        Ok(Sums(sums))
    }

    /// Writes them into the folder.
    pub fn write(&self, folder: &Path) -> Result<()> {
        write_json(&folder.join(SUMS), self)
    }

    /// Reads them.
    ///
    /// # Errors
    /// If they are missing or damaged: a finished folder has them.
    pub fn read(folder: &Path) -> Result<Sums> {
        let path = folder.join(SUMS);
        match path.exists() {
            true => read_json(&path).map_err(|error| changed(folder, SUMS, &error.chain())),
            false => Err(changed(folder, SUMS, "it is missing")),
        }
    }

    /// Compares a file of the folder with its sum.
    ///
    /// # Errors
    /// If it is missing, or has another size or content.
    pub fn check(&self, folder: &Path, name: &str) -> Result<()> {
        let path = folder.join(name);
        let wanted = self.0.get(name).ok_or_else(|| changed(folder, name, "it has no sum"))?;
        let found = fs::metadata(&path).map_err(|error| changed(folder, name, &error.to_string()))?.len();
        if found != wanted.bytes {
            return Err(changed(folder, name, &format!("it has {found} bytes instead of {}", wanted.bytes)));
        }
        match Sum::of_file(&path)? == *wanted {
            true => Ok(()),
            false => Err(changed(folder, name, "its content does not match its hash")),
        }
    }
}

/// Reads every file of a finished folder that has a sum, and compares it.
///
/// # Errors
/// Names the first file that was changed, and the remedy.
pub fn check_sums(folder: &Path) -> Result<()> {
    let sums = Sums::read(folder)?;
    sums.0.keys().try_for_each(|name| sums.check(folder, name))
}

/// A file of a finished folder is not as it was written.
pub fn changed(folder: &Path, name: &str, how: &str) -> Error {
    let remedy = format!("delete the folder {}, it is made again", folder.display());
    Error::invalid(folder.join(name).display(), format!("was changed after it was written ({how}); {remedy}"))
}

/// BLAKE3 of bytes, on all cores if they are many.
pub fn hash_bytes(bytes: &[u8]) -> Hash {
    let block = |start: u64, count: usize, hasher: &mut Hasher| {
        hasher.update(&bytes[start as usize..][..count]);
        Ok::<_, Infallible>(())
    };
    match tree(bytes.len() as u64, block) {
        Ok(hash) => hash,
        Err(never) => match never {},
    }
}

fn hash_file(path: &Path) -> std::io::Result<(u64, Hash)> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    let (file, mut buffer) = (&file, Vec::new());
    // Not mapped: a file that is cut meanwhile would end the process.
    let block = move |start: u64, count: usize, hasher: &mut Hasher| {
        buffer.resize(count, 0);
        file.read_exact_at(&mut buffer, start)?;
        hasher.update(&buffer);
        Ok::<_, std::io::Error>(())
    };
    Ok((size, tree(size, block)?))
}

/// BLAKE3 of `size` bytes; `block` adds the bytes of a block, given by its start and size.
fn tree<E: Send>(
    size: u64,
    mut block: impl FnMut(u64, usize, &mut Hasher) -> Result<(), E> + Clone + Send,
) -> Result<Hash, E> {
    if size <= BLOCK {
        let mut hasher = Hasher::new();
        return block(0, size as usize, &mut hasher).map(|()| hasher.finalize());
    }
    let value = move |start: u64| {
        let mut hasher = Hasher::new();
        hasher.set_input_offset(start);
        block(start, BLOCK.min(size - start) as usize, &mut hasher).map(|()| hasher.finalize_non_root())
    };
    let threads = if size < SHARED * BLOCK { 1 } else { cores() };
    let mut values = Vec::new();
    ordered((0..size).step_by(BLOCK as usize), vec![value; threads], |value| {
        values.push(value?);
        Ok::<_, E>(())
    })?;
    let (left, right) = values.split_at(left(values.len()));
    Ok(merge_subtrees_root(&join(left), &join(right), Mode::Hash))
}

fn join(values: &[ChainingValue]) -> ChainingValue {
    match values {
        [one] => *one,
        _ => {
            let (left, right) = values.split_at(left(values.len()));
            merge_subtrees_non_root(&join(left), &join(right), Mode::Hash)
        }
    }
}

/// Blocks in the left subtree of this many: the largest power of two that leaves some.
fn left(blocks: usize) -> usize {
    blocks.div_ceil(2).next_power_of_two()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_on_several_threads_is_blake3() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("file");
        for size in [0, 5, BLOCK, BLOCK + 1, 3 * BLOCK - 1, 9 * BLOCK + 77, 16 * BLOCK] {
            let bytes: Vec<u8> = (0..size).map(|place| ((place * 7919) >> 5) as u8).collect();
            fs::write(&path, &bytes).unwrap();
            let whole = blake3::hash(&bytes);
            assert_eq!((hash_bytes(&bytes), hash_file(&path).unwrap()), (whole, (size, whole)), "{size}");
        }
    }

    #[test]
    fn a_changed_cut_or_missing_file_is_named_with_the_remedy() {
        type Damage<'a> = (fn(&Path), &'a str);
        let damage: [Damage; 5] = [
            (|folder| fs::write(folder.join("a"), "onf").unwrap(), "a: was changed"),
            (|folder| fs::write(folder.join("a"), "on").unwrap(), "it has 2 bytes instead of 3"),
            (|folder| fs::remove_file(folder.join("a")).unwrap(), "a: was changed"),
            (|folder| fs::remove_file(folder.join(SUMS)).unwrap(), "it is missing"),
            (|folder| fs::write(folder.join(SUMS), "{").unwrap(), "sums.json: was changed"),
        ];
        for (damage, expected) in damage {
            let home = tempfile::tempdir().unwrap();
            let folder = home.path();
            ["a", "b", "other"].iter().for_each(|name| fs::write(folder.join(name), "one").unwrap());
            Sums::of(folder, |name| name != "other").unwrap().write(folder).unwrap();
            fs::write(folder.join("other"), "two").unwrap();
            check_sums(folder).unwrap();
            damage(folder);
            let message = check_sums(folder).unwrap_err().chain();
            assert!(message.contains(expected), "{message}");
            assert!(message.contains("after it was written") && message.contains("delete the folder"), "{message}");
        }
    }
}
