//! Downloads a set from the official address, checks the published checksum, and unpacks it.
//!
//! A file is named NAME.part until its checksum is right, so a file under its own name is complete.
//! A download whose connection is interrupted continues where it ended, in the same run and in a
//! later run.

use super::unpack::{Limits, unpack, unpack_inner};
use crate::bars::Bar;
use gauntlet::data::regular;
use gauntlet::downstream::{About, Archive};
use gauntlet::{Error, Progress, Result};
use md5::{Digest, Md5};
use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

/// Downloads a set; returns the result, or instructions to get it by hand.
pub fn fetch(about: &About, to: &Path, mirror: &str) -> Result<String> {
    if about.archives.is_empty() {
        let place = to.display().to_string();
        let layout = about.layout.replace("DIR", &place);
        return Ok(format!(
            "{} cannot be downloaded automatically.\n\n{}\n\nIt must look like this:\n{layout}\n",
            about.name, about.by_hand
        ));
    }
    let bar = Bar::new();
    for archive in about.archives {
        let folder = to.join(archive.into);
        fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
        let name = file_name(archive.url);
        let url = if mirror.is_empty() {
            archive.url.to_string()
        } else {
            format!("{}/{name}", mirror.trim_end_matches('/'))
        };
        let file = folder.join(name);
        download(&url, archive.md5, &file, &Patience::default(), &bar)?;
        open_up(archive, &file, &folder, to)?;
    }
    Ok(format!(
        "{} is in {}; `gauntlet data verify {} {}` checks every image\n",
        about.name,
        to.display(),
        about.name,
        to.display()
    ))
}

/// Unpacks an archive; other files are left unchanged.
fn open_up(archive: &Archive, file: &Path, folder: &Path, to: &Path) -> Result<()> {
    let limits = Limits::default();
    match archive.inner {
        Some((inner, into)) => unpack_inner(file, inner, &to.join(into), &limits),
        None => unpack(file, folder, &limits),
    }
}

fn file_name(url: &str) -> &str {
    url.rsplit('/').next().unwrap_or(url)
}

/// Limit of a download in bytes, whose checksum is known only at its end: 8 GiB. The largest set,
/// Food-101, has 5.
const MOST: u64 = 8 << 30;

/// How long, and how much, a download is tried.
pub struct Patience {
    /// Consecutive tries without progress.
    tries: u32,
    /// The wait after the first of them; it doubles with each further try.
    wait: Duration,
    /// Time limit of one connection. A larger file needs several connections.
    connection: Duration,
    /// Limit of the file in bytes.
    most: u64,
}

impl Default for Patience {
    fn default() -> Self {
        Patience { tries: 5, wait: Duration::from_secs(1), connection: Duration::from_secs(300), most: MOST }
    }
}

/// How one connection ended.
enum End {
    Whole,
    Cut(String),
}

/// Makes sure that `file` exists and has this checksum.
fn download(url: &str, md5: &str, file: &Path, patience: &Patience, bar: &dyn Progress) -> Result<()> {
    if file.symlink_metadata().is_ok() {
        let found = md5_of(file)?;
        let why = format!("its MD5 is {found}, not the published {md5}; delete it to fetch it again");
        return if found == md5 { Ok(()) } else { Err(Error::invalid(file.display().to_string(), why)) };
    }
    let part = file.with_file_name(format!("{}.part", file.file_name().unwrap_or_default().to_string_lossy()));
    let (mut fruitless, mut before) = (0, length(&part)?);
    while let End::Cut(why) = connect(url, &part, patience, bar)? {
        let now = length(&part)?;
        fruitless = if now > before { 0 } else { fruitless + 1 };
        before = now.max(before);
        if fruitless == patience.tries {
            let why = format!("{why}; {now} bytes are in {}; run the same command again to continue", part.display());
            return Err(Error::invalid(url, why));
        }
        std::thread::sleep(patience.wait * 2u32.pow(fruitless.saturating_sub(1)));
    }
    let found = md5_of(&part)?;
    if found != md5 {
        fs::remove_file(&part).map_err(Error::io(&part))?;
        return Err(Error::invalid(
            url,
            format!("the MD5 of the download is {found}, not the published {md5}; the file was deleted"),
        ));
    }
    fs::rename(&part, file).map_err(Error::io(file))
}

fn length(part: &Path) -> Result<u64> {
    match regular::look(part) {
        Ok(about) => Ok(about.len()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(Error::io(part)(error)),
    }
}

/// One connection: requests the missing bytes and appends them.
fn connect(url: &str, part: &Path, patience: &Patience, bar: &dyn Progress) -> Result<End> {
    let mut done = length(part)?;
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_connect(Some(patience.connection.min(Duration::from_secs(30))))
        .timeout_recv_response(Some(patience.connection.min(Duration::from_secs(60))))
        .timeout_recv_body(Some(patience.connection))
        .http_status_as_error(false)
        .build()
        .into();
    let mut request = agent.get(url);
    if done > 0 {
        request = request.header("Range", format!("bytes={done}-"));
    }
    let response = match request.call() {
        Ok(response) => response,
        Err(error) => return Ok(End::Cut(error.to_string())),
    };
    let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_string);
    let total = match response.status().as_u16() {
        // A server without support for ranges starts again.
        200 => {
            done = 0;
            header("content-length").and_then(|length| length.parse().ok())
        }
        206 => {
            let range = header("content-range").unwrap_or_default();
            if !range.starts_with(&format!("bytes {done}-")) {
                return Err(Error::invalid(
                    url,
                    format!("asked for bytes from {done} on, but the server sends `{range}`"),
                ));
            }
            range.rsplit('/').next().and_then(|total| total.parse().ok())
        }
        416 if done > 0 => return Ok(End::Whole), // the file is complete; the checksum decides
        status @ (429 | 500..) => return Ok(End::Cut(format!("the server answers {status}"))),
        status => return Err(Error::invalid(url, format!("the server answers {status}"))),
    };
    let large = |size: u64| {
        Error::invalid(url, format!("the server sends {size} bytes or more; a download may have {}", patience.most))
    };
    if let Some(size) = total.filter(|size| *size > patience.most) {
        return Err(large(size));
    }
    let mut file = OpenOptions::new().create(true).append(true).open(part).map_err(Error::io(part))?;
    file.set_len(done).map_err(Error::io(part))?;
    let (mut body, mut bytes) = (response.into_body().into_reader(), vec![0; 1 << 16]);
    loop {
        let count = match body.read(&mut bytes) {
            Ok(0) if total.is_some_and(|total| done < total) => return Ok(End::Cut("the connection was cut".into())),
            Ok(0) => return Ok(End::Whole),
            Ok(count) => count,
            Err(error) => return Ok(End::Cut(error.to_string())),
        };
        done += count as u64;
        if done > patience.most {
            fs::remove_file(part).map_err(Error::io(part))?;
            return Err(large(done));
        }
        file.write_all(&bytes[..count]).map_err(Error::io(part))?;
        bar.report(file_name(url), done >> 10, total.unwrap_or(done) >> 10, "KiB");
    }
}

fn md5_of(path: &Path) -> Result<String> {
    let (mut file, mut hasher, mut bytes) =
        (regular::open(path).map_err(Error::io(path))?, Md5::new(), vec![0; 1 << 16]);
    loop {
        match file.read(&mut bytes).map_err(Error::io(path))? {
            0 => return Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            count => hasher.update(&bytes[..count]),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
