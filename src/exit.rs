//! The exit codes of every command. docs/ci.md and `gauntlet --help` list them.

use gauntlet::Error;
use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// The command succeeded and found nothing wrong.
    Done = 0,
    /// The command ran, and the answer is bad: a trial or a plugin failed, a score moved, files
    /// differ.
    Failed = 1,
    /// The request is wrong: arguments, suite, a file.
    Mistake = 2,
    /// No answer: scores are missing, or the seeds cannot show the change asked for.
    CannotTell = 3,
    /// A trial of a suite ended early, because another process trains the undefended model that it
    /// needs; the suite starts it again. No command that a user gives ends so.
    PutBack = 75,
    /// Stopped by a signal; the same command resumes.
    Interrupted = 130,
}

/// The list, for `gauntlet --help`.
pub const CODES: &str = "\
Exit codes:
  0    success
  1    a trial or a plugin failed, a score moved, or files differ or are damaged
  2    the request is wrong: arguments, a suite, a file
  3    undecided: scores are missing, or the seeds cannot show the change asked for (`check`)
  130  interrupted; the same command resumes";

impl Exit {
    /// How a command ends that gives this error. The request may be right where a plugin is broken.
    pub fn of(error: &Error) -> Exit {
        match error {
            Error::Interrupted => Exit::Interrupted,
            error if matches!(error.root(), Error::Plugin { .. }) => Exit::Failed,
            _ => Exit::Mistake,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{CODES, Exit};
    use gauntlet::Error;

    #[test]
    fn a_broken_plugin_is_a_failure_and_no_wrong_request() {
        let broken = Error::plugin("mine", "`loss` panicked: no").during("defense `row`");
        assert_eq!(broken.chain(), "defense `row`: plugin `mine`: `loss` panicked: no");
        assert_eq!(Exit::of(&broken), Exit::Failed);
        assert_eq!(Exit::of(&Error::invalid("key `rate`", "must be below 1").during("attack `a`")), Exit::Mistake);
        assert_eq!(Exit::of(&Error::Interrupted), Exit::Interrupted);
    }

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
