//! The members of a tar file, in order, and whether the file is complete. Files joined by `cat` are
//! read to their last byte, as by `tar --ignore-zeros`: otherwise data after an end mark would be
//! lost silently. `sample.rs` groups members into samples.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use tar::{Archive, Entry, EntryType};

/// A range of bytes in a shard.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Span {
    /// The first byte.
    pub start: u64,
    /// Number of bytes.
    pub size: u64,
}

/// The type of a member; only the bytes of a regular file can be read in place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Place {
    /// A regular file.
    File(Span),
    /// A sparse file: its runs of zeros are left out.
    Sparse,
    /// A link to another member, or to a file that is not here.
    Link,
    /// A device, a pipe, a part of a file that continues in another volume.
    Special,
}

/// An event while reading a shard.
pub(super) enum Met<'a> {
    /// A member, by its name.
    Member(&'a [u8], Place),
    /// The end of an archive that is followed by another one.
    Joined,
}

/// Why a shard is incomplete. The number of lost rows is unknown.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fault {
    /// What is wrong with it.
    pub why: String,
    /// Whether it is not a tar at all, but a file of another kind.
    pub foreign: bool,
}

impl Fault {
    fn damaged(why: impl Into<String>) -> Self {
        Fault { why: why.into(), foreign: false }
    }
}

const BLOCK: u64 = 512;

/// An archive may be padded with zeros, usually to 10 KiB. More than this (1 MiB) is a hole from an
/// unfinished download.
const PADDING: u64 = 1 << 20;

/// Calls `each` for every member of a shard; returns the number of archives joined in it. Members
/// before a fault are reported, too.
pub(super) fn walk(file: &File, mut each: impl FnMut(Met)) -> Result<u64, Fault> {
    let length = file.metadata().map_err(|error| Fault::damaged(error.to_string()))?.len();
    if length == 0 {
        return Err(Fault::damaged("it is empty (0 bytes)"));
    }
    let (mut position, mut archives) = (0, 0);
    loop {
        let start = after_zeros(file, position, length)?;
        if archives == 0 && start.is_none() {
            return Err(Fault::damaged(format!("it has no members, only {length} bytes of zeros")));
        }
        let zeros = start.unwrap_or(length) - position;
        if zeros > PADDING || (archives == 0 && zeros > 0) {
            let why = format!("there are {zeros} bytes of zeros from byte {position} on, as in an unfinished download");
            return Err(Fault::damaged(why));
        }
        let Some(start) = start else { return Ok(archives) };
        if archives > 0 {
            each(Met::Joined);
        }
        position = one(file, start, length, &mut each).map_err(|why| fault(file, start, &why))?;
        archives += 1;
    }
}

/// The first block from `position` on that is not all zeros; `None` if there is none. A last,
/// incomplete block counts as a block.
fn after_zeros(file: &File, mut position: u64, length: u64) -> Result<Option<u64>, Fault> {
    let mut bytes = vec![0; 1 << 16];
    while position < length {
        let size = (length - position).min(bytes.len() as u64) as usize;
        let read = file.read_exact_at(&mut bytes[..size], position);
        read.map_err(|error| Fault::damaged(format!("byte {position} cannot be read: {error}")))?;
        if let Some(first) = bytes[..size].iter().position(|&byte| byte != 0) {
            return Ok(Some(position + first as u64 / BLOCK * BLOCK));
        }
        position += size as u64;
    }
    Ok(None)
}

/// A file from `start` on. The tar reader counts bytes from where its input begins.
struct From<'a> {
    file: &'a File,
    start: u64,
    position: u64,
}

impl Read for From<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(bytes, self.start.saturating_add(self.position))?;
        self.position += read as u64;
        Ok(read)
    }
}

impl Seek for From<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let moved = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(_) => None,
        };
        self.position = moved.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.position)
    }
}

/// Reads one archive; returns the end of its end mark.
fn one(file: &File, start: u64, length: u64, each: &mut impl FnMut(Met)) -> Result<u64, String> {
    let mut archive = Archive::new(From { file, start, position: 0 });
    let mut end = start;
    for entry in archive.entries_with_seek().map_err(|error| error.to_string())? {
        let mut entry = entry.map_err(|error| error.to_string())?;
        let sparse = entry.header().entry_type().is_gnu_sparse();
        let size = if sparse { entry.header().entry_size() } else { Ok(entry.size()) };
        let size = size.map_err(|error| error.to_string())?;
        let span = Span { start: start.saturating_add(entry.raw_file_position()), size };
        end = span.start.saturating_add(size).checked_next_multiple_of(BLOCK).unwrap_or(u64::MAX);
        if let Some((name, place)) = member(&mut entry, span).map_err(|error| error.to_string())? {
            each(Met::Member(&name, place));
        }
    }
    // Seeking past the end of a file is not an error, so a cut member, or a cut between members, is
    // detected only here.
    if end > length {
        return Err(format!("it has {length} bytes, and its last member ends at byte {end}"));
    }
    let position = start.saturating_add(archive.into_inner().position);
    let mut mark = [0; BLOCK as usize];
    let marked = position <= length && position >= end.saturating_add(BLOCK);
    match marked && file.read_exact_at(&mut mark, position - BLOCK).is_ok() && mark == [0; BLOCK as usize] {
        true => Ok(position),
        false => Err(format!("it ends at byte {length} without an end mark")),
    }
}

/// Name and place of a possible member of a sample; `None` for a folder, or for metadata of the
/// archive.
fn member(entry: &mut Entry<impl Read>, span: Span) -> io::Result<Option<(Vec<u8>, Place)>> {
    let (kind, mut name) = (entry.header().entry_type(), entry.path_bytes().into_owned());
    let mut place = match kind {
        EntryType::Regular | EntryType::Continuous => Place::File(span),
        EntryType::GNUSparse => Place::Sparse,
        EntryType::Link | EntryType::Symlink => Place::Link,
        EntryType::Directory | EntryType::XGlobalHeader => return Ok(None),
        // The name of the volume.
        other if other.as_byte() == b'V' => return Ok(None),
        _ => Place::Special,
    };
    // Before tar had a type for folders, a folder was a file whose name ends in a slash.
    if name.ends_with(b"/") {
        return Ok(None);
    }
    // Newer versions of GNU tar use extensions to mark a file as sparse and to give its name.
    for extension in entry.pax_extensions()?.into_iter().flatten().flatten() {
        if extension.key_bytes().starts_with(b"GNU.sparse.") {
            place = Place::Sparse;
        }
        if extension.key_bytes() == b"GNU.sparse.name" {
            name = extension.value_bytes().to_vec();
        }
    }
    Ok(Some((name, place)))
}

/// The fault of an archive that begins at `start`.
fn fault(file: &File, start: u64, why: &str) -> Fault {
    if start > 0 {
        let why = format!(
            "the archive that begins at byte {start}, after the end of another one, is cut short or damaged ({why})"
        );
        return Fault::damaged(why);
    }
    let mut first = [0; 512];
    let read = file.read_at(&mut first, 0).unwrap_or(0);
    match other_kind(&first[..read]) {
        Some(kind) if !is_header(&first) => Fault { why: format!("it is not a tar file but {kind}"), foreign: true },
        _ => Fault::damaged(format!("it is cut short or damaged ({why})")),
    }
}

/// Whether a block has the checksum of a member's header.
fn is_header(block: &[u8; 512]) -> bool {
    let header = tar::Header::from_byte_slice(block);
    let mut counted = header.clone();
    counted.set_cksum();
    header.cksum().ok().is_some_and(|said| counted.cksum().ok() == Some(said))
}

/// The kind of a file with these first bytes, and the remedy, for kinds that are often found in
/// place of shards.
fn other_kind(bytes: &[u8]) -> Option<&'static str> {
    const KINDS: [(&[u8], &str); 12] = [
        (b"\x1f\x8b", "compressed by gzip: unpack it (`gzip -d`)"),
        (b"\x28\xb5\x2f\xfd", "compressed by zstd: unpack it (`zstd -d`)"),
        (b"BZh", "compressed by bzip2: unpack it (`bzip2 -d`)"),
        (b"\xfd7zXZ\0", "compressed by xz: unpack it (`xz -d`)"),
        (b"\x04\x22\x4d\x18", "compressed by lz4: unpack it (`lz4 -d`)"),
        (b"PK\x03\x04", "a zip file: unpack it, and pack its files with `tar`"),
        (b"7z\xbc\xaf", "a 7z file: unpack it, and pack its files with `tar`"),
        (b"PAR1", "a Parquet file: shards are tar files"),
        (b"version https://git-lfs", "a pointer of Git LFS: fetch the file itself (`git lfs pull`)"),
        (b"\0\x05\x16\x07", "a macOS resource fork (AppleDouble): delete it"),
        (b"\x89PNG", "a PNG image: pack images and captions with `tar`"),
        (b"\xff\xd8\xff", "a JPEG image: pack images and captions with `tar`"),
    ];
    if let Some((_, kind)) = KINDS.iter().find(|(magic, _)| bytes.starts_with(magic)) {
        return Some(kind);
    }
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii_start().to_ascii_lowercase();
    let page = [&b"<!doctype"[..], b"<html", b"<head", b"<?xml", b"<error"].iter().any(|tag| text.starts_with(tag));
    if page {
        return Some("a web page (HTML or XML), sent by a server instead of a file: fetch it again");
    }
    // A header contains zeros, whatever name it begins with. The last character of the buffer may
    // be cut.
    let letters = std::str::from_utf8(bytes).or_else(|error| match error.error_len() {
        None => std::str::from_utf8(&bytes[..error.valid_up_to()]),
        Some(_) => Err(error),
    });
    let plain = letters.is_ok_and(|text| !text.is_empty() && is_plain(text));
    plain.then_some("a text file: fetch the shard again")
}

fn is_plain(text: &str) -> bool {
    text.chars().all(|letter| !letter.is_control() || letter.is_whitespace())
}
