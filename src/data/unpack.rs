//! Unpacks untrusted archives: nothing is written outside of the folder, no link is made, and size
//! and number of files are limited.

use flate2::read::GzDecoder;
use gauntlet::data::regular;
use gauntlet::{Error, Result};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

/// Maximum content of an archive. ImageNet, which is not fetched, is larger; every fetched set is
/// much smaller.
pub struct Limits {
    /// Bytes of all its files.
    pub bytes: u64,
    /// Number of its files and folders.
    pub entries: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { bytes: 32 << 30, entries: 1_000_000 }
    }
}

/// Unpacks `.tar`, `.tar.gz`, `.tgz` and `.zip` into a folder; any other file is left unchanged.
///
/// # Errors
/// Names the entry that leads out of the folder, is a link, or exceeds a limit.
pub fn unpack(archive: &Path, into: &Path, limits: &Limits) -> Result<()> {
    let name = archive.to_string_lossy().to_lowercase();
    let open = || regular::open(archive).map_err(Error::io(archive)).map(io::BufReader::new);
    let unpacked = if name.ends_with(".tar.gz") || name.ends_with(".tgz") {
        untar(GzDecoder::new(open()?), into, limits)
    } else if name.ends_with(".tar") {
        untar(open()?, into, limits)
    } else if name.ends_with(".zip") {
        unzip(open()?, into, limits)
    } else {
        Ok(())
    };
    unpacked.map_err(|why| Error::invalid(archive.display().to_string(), why))
}

/// Unpacks one archive that is inside a `.zip`, and nothing else of it.
pub fn unpack_inner(archive: &Path, inner: &str, into: &Path, limits: &Limits) -> Result<()> {
    let wrong = |why: String| Error::invalid(archive.display().to_string(), why);
    let file = regular::open(archive).map_err(Error::io(archive))?;
    let mut zip = zip::ZipArchive::new(io::BufReader::new(file)).map_err(|error| wrong(error.to_string()))?;
    let entry = zip.by_name(inner).map_err(|error| wrong(format!("{inner}: {error}")))?;
    untar(GzDecoder::new(entry), into, limits).map_err(|why| wrong(format!("{inner}: {why}")))
}

/// Counts the written files and bytes.
struct Writer<'a> {
    into: &'a Path,
    bytes_left: u64,
    entries_left: u64,
}

impl<'a> Writer<'a> {
    fn new(into: &'a Path, limits: &Limits) -> Self {
        Writer { into, bytes_left: limits.bytes, entries_left: limits.entries }
    }

    /// The path of an entry in the folder.
    fn place(&mut self, name: &Path) -> Result<PathBuf, String> {
        self.entries_left = self.entries_left.checked_sub(1).ok_or("it contains more files than any of these sets")?;
        let inside = |part: &Component| matches!(part, Component::Normal(_) | Component::CurDir);
        match name.components().all(|part| inside(&part)) {
            true => Ok(self.into.join(name)),
            false => Err(format!("`{}` leads out of the folder", name.display())),
        }
    }

    fn folder(&self, place: &Path) -> Result<(), String> {
        fs::create_dir_all(place).map_err(|error| format!("{}: {error}", place.display()))
    }

    fn file(&mut self, place: &Path, contents: impl Read) -> Result<(), String> {
        let wrong = |error: io::Error| format!("{}: {error}", place.display());
        self.folder(place.parent().unwrap_or(self.into))?;
        let mut file = File::create(place).map_err(wrong)?;
        let written = io::copy(&mut contents.take(self.bytes_left + 1), &mut file).map_err(wrong)?;
        self.bytes_left = self.bytes_left.checked_sub(written).ok_or("it contains more than any of these sets")?;
        Ok(())
    }
}

fn untar(archive: impl Read, into: &Path, limits: &Limits) -> Result<(), String> {
    let mut writer = Writer::new(into, limits);
    let mut archive = tar::Archive::new(archive);
    for entry in archive.entries().map_err(|error| error.to_string())? {
        let entry = entry.map_err(|error| error.to_string())?;
        let name = entry.path().map_err(|error| error.to_string())?.into_owned();
        let kind = entry.header().entry_type();
        if kind.is_pax_global_extensions() {
            continue;
        }
        let place = writer.place(&name)?;
        match kind {
            kind if kind.is_dir() => writer.folder(&place)?,
            kind if kind.is_file() || kind.is_contiguous() => writer.file(&place, entry)?,
            _ => return Err(format!("`{}` is a link or a device, not a file", name.display())),
        }
    }
    Ok(())
}

fn unzip(archive: impl Read + io::Seek, into: &Path, limits: &Limits) -> Result<(), String> {
    let mut writer = Writer::new(into, limits);
    let mut archive = zip::ZipArchive::new(archive).map_err(|error| error.to_string())?;
    for number in 0..archive.len() {
        let entry = archive.by_index(number).map_err(|error| error.to_string())?;
        let name = entry.name().map_err(|error| error.to_string())?.into_owned();
        let place = writer.place(Path::new(&name))?;
        if entry.is_symlink() {
            return Err(format!("`{name}` is a link, not a file"));
        }
        if entry.is_dir() { writer.folder(&place)? } else { writer.file(&place, entry)? }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;
    use zip::write::SimpleFileOptions;

    /// A tar with entries that `tar` itself would refuse to write.
    fn tar_of(entries: &[(&str, tar::EntryType, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, kind, contents) in entries {
            let mut header = tar::Header::new_old();
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(*kind);
            header.set_size(contents.len() as u64);
            if kind.is_symlink() || kind.is_hard_link() {
                header.set_link_name("/etc/passwd").unwrap();
            }
            header.set_cksum();
            builder.append(&header, *contents).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn zip_of(entries: &[(&str, &[u8])]) -> Vec<u8> {
        let mut zip = zip::ZipWriter::new(io::Cursor::new(Vec::new()));
        for (name, contents) in entries {
            zip.start_file(*name, SimpleFileOptions::default()).unwrap();
            zip.write_all(contents).unwrap();
        }
        zip.finish().unwrap().into_inner()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// Unpacks into a new folder; returns the message, or the files afterwards.
    fn try_it(name: &str, bytes: &[u8], limits: &Limits) -> Result<Vec<String>, String> {
        let home = tempfile::tempdir().unwrap();
        let (archive, into) = (home.path().join(name), home.path().join("into"));
        fs::write(&archive, bytes).unwrap();
        fs::create_dir(&into).unwrap();
        let unpacked = unpack(&archive, &into, limits);
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 2, "{name} wrote outside of its folder");
        let names = |folder: &Path| {
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
        };
        unpacked.map(|()| names(&into)).map_err(|error| error.chain())
    }

    const FILE: tar::EntryType = tar::EntryType::Regular;

    #[test]
    fn files_and_folders_are_unpacked_and_what_is_no_archive_stays() {
        let entries: [(&str, tar::EntryType, &[u8]); 2] =
            [("./jpg/", tar::EntryType::Directory, b""), ("./jpg/a.jpg", FILE, b"image")];
        for (name, bytes) in [
            ("a.tar", tar_of(&entries)),
            ("a.tgz", gzip(&tar_of(&entries))),
            ("a.zip", zip_of(&[("jpg/a.jpg", b"image")])),
        ] {
            assert_eq!(try_it(name, &bytes, &Limits::default()).unwrap(), ["jpg"]);
        }
        assert_eq!(try_it("setid.mat", b"MATLAB", &Limits::default()).unwrap(), [] as [String; 0]);
        let home = tempfile::tempdir().unwrap();
        let archive = home.path().join("caltech.zip");
        fs::write(&archive, zip_of(&[("c/x.tar.gz", &gzip(&tar_of(&entries))), ("c/show.m", b"code")])).unwrap();
        unpack_inner(&archive, "c/x.tar.gz", &home.path().join("into"), &Limits::default()).unwrap();
        assert_eq!(fs::read(home.path().join("into/jpg/a.jpg")).unwrap(), b"image");
        assert!(!home.path().join("into/c").exists());
    }

    #[test]
    fn no_path_and_no_link_leads_out_of_the_folder() {
        let bad = [
            ("a.tar", tar_of(&[("../evil", FILE, b"x")]), "`../evil` leads out"),
            ("b.tar", tar_of(&[("/tmp/evil", FILE, b"x")]), "`/tmp/evil` leads out"),
            ("c.tgz", gzip(&tar_of(&[("a/../../evil", FILE, b"x")])), "leads out"),
            ("d.tar", tar_of(&[("link", tar::EntryType::Symlink, b"")]), "`link` is a link"),
            ("e.tar", tar_of(&[("hard", tar::EntryType::Link, b"")]), "`hard` is a link"),
            ("f.tar", tar_of(&[("pipe", tar::EntryType::Fifo, b"")]), "`pipe` is a link or a device"),
            ("g.zip", zip_of(&[("../evil", b"x")]), "`../evil` leads out"),
            ("h.zip", zip_of(&[("/tmp/evil", b"x")]), "`/tmp/evil` leads out"),
        ];
        for (name, bytes, expected) in bad {
            let message = try_it(name, &bytes, &Limits::default()).unwrap_err();
            assert!(message.contains(expected) && message.contains(name), "{message}");
        }
        let mut zip = zip::ZipWriter::new(io::Cursor::new(Vec::new()));
        zip.add_symlink("link", "/etc/passwd", SimpleFileOptions::default()).unwrap();
        let message = try_it("i.zip", &zip.finish().unwrap().into_inner(), &Limits::default()).unwrap_err();
        assert!(message.contains("`link` is a link"), "{message}");
    }

    #[test]
    fn an_archive_that_holds_too_much_or_is_cut_is_refused() {
        let limits = Limits { bytes: 1 << 20, entries: 10 };
        let bomb = vec![0; 3 << 20];
        for (name, bytes) in [("a.tgz", gzip(&tar_of(&[("bomb", FILE, &bomb)]))), ("a.zip", zip_of(&[("bomb", &bomb)]))]
        {
            let message = try_it(name, &bytes, &limits).unwrap_err();
            assert!(message.contains("more than any"), "{message}");
        }
        let many: Vec<(String, tar::EntryType, &[u8])> =
            (0..11).map(|number| (number.to_string(), FILE, &b""[..])).collect();
        let many: Vec<(&str, tar::EntryType, &[u8])> =
            many.iter().map(|(name, kind, bytes)| (name.as_str(), *kind, *bytes)).collect();
        assert!(try_it("a.tar", &tar_of(&many), &limits).unwrap_err().contains("more files"));
        let whole = gzip(&tar_of(&[("a", FILE, b"image")]));
        assert!(try_it("a.tgz", &whole[..whole.len() / 2], &limits).is_err());
    }
}
