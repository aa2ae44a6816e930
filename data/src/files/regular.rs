//! Reads regular files, up to a given size. The folder of a data set may contain a named pipe, a
//! device or a link to one; reading those blocks or never ends. So the type of a file is checked
//! before it is opened, and its size before it is read.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

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
    let mut bytes = Vec::with_capacity(size as usize);
    // It may grow while it is read.
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit { Err(too_large(bytes.len() as u64)) } else { Ok(bytes) }
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
