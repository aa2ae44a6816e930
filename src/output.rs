//! What the program prints: results on standard output, everything else on standard error. Text
//! from files is made visible first.

use gauntlet::data::visible;
use gauntlet::{Error, Result};
use std::io::{self, ErrorKind, Write};
use std::sync::OnceLock;

/// Why a part of the results was not written.
static LOST: OnceLock<io::Error> = OnceLock::new();

/// Prints results to standard output. A failure is kept until [`check`], so that work that is
/// already done is finished. A closed pipe (`| head`) is no failure: its reader has seen enough.
pub fn say(text: &str) {
    let mut out = io::stdout().lock();
    let written = out.write_all(visible(text).as_bytes()).and_then(|()| out.flush());
    keep(written);
}

/// Keeps a failure to write to standard output.
pub fn keep(written: io::Result<()>) {
    if let Err(error) = written
        && error.kind() != ErrorKind::BrokenPipe
    {
        // Only the first one is told; the others follow from it.
        let _ = LOST.set(error);
    }
}

/// Whether all results were written.
///
/// # Errors
/// If the disk is full, or the device failed.
pub fn check() -> Result<()> {
    let copied = |error: &io::Error| error.raw_os_error().map_or(error.kind().into(), io::Error::from_raw_os_error);
    LOST.get().map_or(Ok(()), |error| Err(Error::io("standard output")(copied(error))))
}

/// Prints a line to standard error. If that fails, there is no place left to say so.
pub fn tell(line: &str) {
    let _ = writeln!(io::stderr(), "{}", visible(line));
}
