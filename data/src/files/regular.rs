//! Reads regular files, up to a given size. The folder of a data set may contain a named pipe, a
//! device or a link to one; reading those blocks or never ends. So the type of a file is checked
//! before it is opened, and its size before it is read.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

/// Limit of a file that a person writes, such as a suite, a trial or the configuration of a model:
/// 64 MiB.
pub const WRITTEN: u64 = 64 << 20;

/// Limit of a list that grows with data or training, such as results, edits and losses: 4 GiB.
pub const LIST: u64 = 4 << 30;

/// Limit of a library of plugins: 4 GiB.
pub const LIBRARY: u64 = 4 << 30;

/// Limit of the weights of a model: 64 GiB.
pub const WEIGHTS: u64 = 64 << 30;

/// Limit of an image: 256 MiB.
pub const IMAGE: u64 = 256 << 20;

/// The metadata of a file; links are followed.
///
/// # Errors
/// If it is not a regular file: the message names its type.
pub fn look(path: &Path) -> io::Result<Metadata> {
    checked(fs::metadata(path)?)
}

/// Opens a regular file for reading. It never blocks, whatever the path is.
pub fn open(path: &Path) -> io::Result<File> {
    look(path)?;
    // The file may have been replaced since the check: with this flag even a named pipe opens at
    // once, and the second check refuses it.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    checked(file.metadata()?)?;
    Ok(file)
}

/// Reads a regular file of at most `limit` bytes.
pub fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let file = open(path)?;
    let size = file.metadata()?.len();
    let too_large = |size: u64| io::Error::other(format!("{size} bytes are more than the limit of {limit}"));
    if size > limit {
        return Err(too_large(size));
    }
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(size as usize).map_err(|_| io::Error::other(format!("no memory for its {size} bytes")))?;
    // It may grow while it is read.
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit { Err(too_large(bytes.len() as u64)) } else { Ok(bytes) }
}

/// Reads a regular file of at most `limit` bytes as text in UTF-8, without the byte order mark that
/// some editors put at its start.
pub fn read_to_string(path: &Path, limit: u64) -> io::Result<String> {
    let bytes = read(path, limit)?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        io::Error::new(io::ErrorKind::InvalidData, format!("byte {at} is not UTF-8; save it as UTF-8"))
    })?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_string).unwrap_or(text))
}

fn checked(file: Metadata) -> io::Result<Metadata> {
    let kind = file.file_type();
    let what = match () {
        () if kind.is_file() => return Ok(file),
        () if kind.is_dir() => "a folder",
        () if kind.is_fifo() => "a named pipe",
        () if kind.is_socket() => "a socket",
        () => "a device",
    };
    Err(io::Error::other(format!("it is {what}, not a regular file")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;
    use std::process::Command;

    #[test]
    fn only_regular_files_are_opened_and_only_so_much_of_them_is_read() {
        let home = tempfile::tempdir().unwrap();
        let path = |name: &str| home.path().join(name);
        fs::write(path("file"), "12345").unwrap();
        symlink(path("file"), path("link")).unwrap();
        assert_eq!(read(&path("link"), 5).unwrap(), b"12345");
        fs::write(path("marked"), "\u{feff}12345").unwrap();
        assert_eq!(read_to_string(&path("marked"), 8).unwrap(), "12345");
        fs::write(path("latin"), b"caf\xe9").unwrap();
        assert!(read_to_string(&path("latin"), 8).unwrap_err().to_string().contains("byte 3 is not UTF-8"));
        assert!(read(&path("file"), 4).unwrap_err().to_string().contains("5 bytes are more than the limit of 4"));

        assert!(Command::new("mkfifo").arg(path("pipe")).status().unwrap().success());
        let _socket = UnixListener::bind(path("socket")).unwrap();
        fs::create_dir(path("folder")).unwrap();
        symlink("/dev/zero", path("zero")).unwrap();
        symlink(path("pipe"), path("to pipe")).unwrap();
        symlink(path("nothing"), path("dangling")).unwrap();
        let expected = [
            ("pipe", "a named pipe"),
            ("to pipe", "a named pipe"),
            ("socket", "a socket"),
            ("folder", "a folder"),
            ("zero", "a device"),
            ("dangling", "No such file"),
        ];
        for (name, what) in expected {
            let message = read(&path(name), 100).unwrap_err().to_string();
            assert!(message.contains(what), "{name}: {message}");
        }
    }
}
