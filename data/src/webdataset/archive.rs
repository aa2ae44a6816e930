//! What lies in a tar file: its members, in order, and whether the file is whole. Files that `cat`
//! joined are read to their last byte, as `tar --ignore-zeros` reads them: what follows an end mark
//! would otherwise be lost without a word. `sample.rs` makes samples of members.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use tar::{Archive, Entry, EntryType};

/// Where bytes lie in a shard.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Span {
    /// The first.
    pub start: u64,
    /// How many.
    pub size: u64,
}

/// What a member is; only the bytes of a plain file can be read in place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Place {
    /// A plain file.
    File(Span),
    /// A file with its runs of zeros left out.
    Sparse,
    /// Another name of another member, or of a file that is not here.
    Link,
    /// A device, a pipe, a part of a file that another volume goes on with.
    Special,
}

/// What is met on the way through a shard.
pub(super) enum Met<'a> {
    /// A member, by its name.
    Member(&'a [u8], Place),
    /// The end of an archive that another one follows.
    Joined,
}

/// Why a shard is not whole. How many rows are lost by it cannot be told.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fault {
    /// What is wrong with it.
    pub why: String,
    /// Whether it is no tar at all, but a file of another kind.
    pub foreign: bool,
}

impl Fault {
    fn damaged(why: impl Into<String>) -> Self {
        Fault { why: why.into(), foreign: false }
    }
}

const BLOCK: u64 = 512;

/// An archive may be padded with zeros, to 10 KiB as a rule. More than this (1 MiB) is a hole that
/// an unfinished download left.
const PADDING: u64 = 1 << 20;

/// Calls `each` for every member of a shard; returns how many archives it joins. What was met
/// before a fault was called, too.
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
            let why =
                format!("there are {zeros} bytes of zeros from byte {position} on, as an unfinished download leaves");
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

/// The first block from `position` on that is not zeros alone; none if there is none. Bytes that
/// fill no block are a block.
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

/// A file from `start` on: a reader of tar takes the place where it begins for the first byte.
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

/// One archive; returns where its end mark ends.
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
    // Skipping over the end of a file is no error, so that a cut member or a cut between members shows only here.
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

/// Name and place of what may belong to a sample; none for a folder, or for what is about the archive.
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
    // Archives older than tar's word for a folder write one as a file whose name ends in a slash.
    if name.ends_with(b"/") {
        return Ok(None);
    }
    // Newer archives of GNU tar say in extensions that a file is sparse, and what its name is.
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

/// What is wrong with an archive that begins at `start`.
fn fault(file: &File, start: u64, why: &str) -> Fault {
    if start > 0 {
        let why = format!(
            "the archive that begins at byte {start}, after another one's end, is cut short or damaged ({why})"
        );
        return Fault::damaged(why);
    }
    let mut first = [0; 512];
    let read = file.read_at(&mut first, 0).unwrap_or(0);
    match other_kind(&first[..read]) {
        Some(kind) if !is_header(&first) => Fault { why: format!("it is no tar, but {kind}"), foreign: true },
        _ => Fault::damaged(format!("it is cut short or damaged ({why})")),
    }
}

/// Whether a block's checksum is right, as that of a member's header is.
fn is_header(block: &[u8; 512]) -> bool {
    let header = tar::Header::from_byte_slice(block);
    let mut counted = header.clone();
    counted.set_cksum();
    header.cksum().ok().is_some_and(|said| counted.cksum().ok() == Some(said))
}

/// What begins with these bytes, and what to do about it, where it is something that is found in the place of shards.
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
        (b"version https://git-lfs", "a pointer of Git LFS: fetch the file that it stands for (`git lfs pull`)"),
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
        return Some("a web page (HTML or XML), as a server sends in the place of a file: fetch it again");
    }
    // A header has zeros in it, whatever the name that it begins with. A letter may be cut at the end of what was read.
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
