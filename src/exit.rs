//! The exit codes of every command. docs/ci.md and `gauntlet --help` list them.

use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// It did what was asked, and found nothing wrong.
    Done = 0,
    /// It did what was asked, and the answer is bad: a trial failed, a score moved, files differ.
    Failed = 1,
    /// A mistake in what was asked: arguments, suite, a file.
    Mistake = 2,
    /// It could not tell: scores are missing, or the seeds cannot show what was asked.
    CannotTell = 3,
    /// Stopped by a signal; the same command goes on.
    Interrupted = 130,
}

/// The list, for `gauntlet --help`.
pub const CODES: &str = "\
Exit codes:
  0    done
  1    a trial failed, a score moved, or files are not as they should be
  2    a mistake in what was asked: arguments, a suite, a file
  3    could not tell: scores are missing, or the seeds cannot show what was asked (`check`)
  130  interrupted; the same command goes on";

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{CODES, Exit};

    #[test]
    fn every_code_is_listed_once_in_the_help_and_in_the_documents() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let documents = ["docs/ci.md", "README.md"].map(|file| std::fs::read_to_string(root.join(file)).unwrap());
        for exit in [Exit::Done, Exit::Failed, Exit::Mistake, Exit::CannotTell, Exit::Interrupted] {
            let code = exit as u8;
            assert_eq!(CODES.matches(&format!("\n  {code} ")).count(), 1, "{exit:?} in --help");
            for document in &documents {
                assert_eq!(document.matches(&format!("\n| {code} |")).count(), 1, "{exit:?}: {document}");
            }
        }
    }
}
