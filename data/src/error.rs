//! The only error type. Every message names the file, the row or the key at fault, and the remedy.

use std::fmt::Display;
use std::path::{Path, PathBuf};

/// The result of every fallible function of gauntlet.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation failed. `Display` prints one lower-case fragment; `source` leads to the cause.
#[derive(Debug)]
pub enum Error {
    /// A file or folder could not be read or written.
    Io { path: PathBuf, source: std::io::Error },
    /// User input (a key, a file, a row) is invalid: its name, and the reason.
    Invalid { what: String, why: String },
    /// A name that does not exist; `known` lists those that do.
    Unknown { kind: &'static str, name: String, known: Vec<String> },
    /// libtorch refused an operation.
    Tensor(tch::TchError),
    /// The training diverged; the message names the step and the rows.
    NotFinite(String),
    /// SIGINT or SIGTERM: a checkpoint was written, and the same command resumes from it.
    Interrupted,
    /// Another error, and the operation during which it occurred.
    While { doing: String, source: Box<Error> },
}

impl Error {
    /// An error about user input.
    pub fn invalid(what: impl Display, why: impl Display) -> Self {
        Error::Invalid { what: what.to_string(), why: why.to_string() }
    }

    /// For `map_err`: an I/O error with its path.
    pub fn io(path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| Error::Io { path, source }
    }

    /// Adds the operation during which this error occurred.
    pub fn during(self, doing: impl Into<String>) -> Self {
        Error::While { doing: doing.into(), source: Box::new(self) }
    }

    /// The error and its causes, outermost first, joined by ": ".
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        text
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Error::Io { path, .. } => write!(f, "{}", path.display()),
            Error::Invalid { what, why } => write!(f, "{what}: {why}"),
            Error::Unknown { kind, name, known } => {
                write!(f, "no {kind} named `{name}`")?;
                if let Some(guess) = closest(name, known) {
                    write!(f, "; did you mean `{guess}`?")?;
                }
                write!(f, " (there are: {})", known.join(", "))
            }
            Error::Tensor(_) => write!(f, "libtorch"),
            Error::NotFinite(what) => write!(f, "{what}"),
            Error::Interrupted => write!(f, "interrupted; the same command resumes from the last checkpoint"),
            Error::While { doing, .. } => write!(f, "{doing}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io { source, .. } => Some(source),
            Error::Tensor(source) => Some(source),
            Error::While { source, .. } => Some(source.as_ref()),
            _ => None,
        }
    }
}

impl From<tch::TchError> for Error {
    fn from(source: tch::TchError) -> Self {
        Error::Tensor(source)
    }
}

/// Reads `T` from JSON. An error names the key, the known keys and the closest of them. `place`
/// names the table of the keys.
pub fn from_json<T: serde::de::DeserializeOwned>(json: serde_json::Value, place: &str) -> Result<T> {
    serde_path_to_error::deserialize(json).map_err(|error| {
        let key = error.path().to_string();
        let what = if key == "." { place.to_string() } else { format!("{place}: key `{key}`") };
        Error::invalid(what, with_guess(error.inner().to_string()))
    })
}

/// serde's message about an unknown key lists the known ones; this adds a guess.
fn with_guess(message: String) -> String {
    let quoted: Vec<String> = message.split('`').skip(1).step_by(2).map(str::to_string).collect();
    match quoted.split_first() {
        Some((name, known)) if message.starts_with("unknown") => match closest(name, known) {
            Some(guess) => format!("{message}; did you mean `{guess}`?"),
            None => message,
        },
        _ => message,
    }
}

/// The known name closest to `name`, if it is similar enough.
pub fn closest<'a>(name: &str, known: &'a [String]) -> Option<&'a str> {
    known
        .iter()
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate.as_str()))
        .filter(|(similarity, _)| *similarity > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}
