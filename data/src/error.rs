//! The only error type. Every message names the file, the row or the key at fault, and the remedy.

use std::fmt::Display;
use std::path::{Path, PathBuf};

/// The result of every fallible function of gauntlet.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation failed. `Display` prints one lower-case fragment; `source` leads to the cause.
#[derive(Debug)]
pub enum Error {
    /// A file or folder could not be read or written.
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why, by the system.
        source: std::io::Error,
    },
    /// What a person wrote (a key, a file, a row) is wrong: what it is, and why it is refused.
    Invalid {
        /// The key, file or row.
        what: String,
        /// Why it is refused, and the cure.
        why: String,
    },
    /// A name that does not exist among those that do.
    Unknown {
        /// What it would name, as `defense`.
        kind: &'static str,
        /// The name that was given.
        name: String,
        /// The names that there are.
        known: Vec<String>,
    },
    /// A plugin panicked, or returned what it may not.
    Plugin {
        /// Its name.
        name: String,
        /// The method, and what it did.
        why: String,
    },
    /// libtorch refused an operation.
    Tensor(tch::TchError),
    /// The training diverged; the message names the step and the rows.
    NotFinite(String),
    /// SIGINT or SIGTERM: a checkpoint was written, and the same command resumes from it.
    Interrupted,
    /// Another process makes a file that is needed here.
    Busy {
        /// The folder that it works in.
        folder: PathBuf,
        /// The process.
        holder: String,
    },
    /// Another error, and what was being done when it came.
    While {
        /// What was being done.
        doing: String,
        /// The error.
        source: Box<Error>,
    },
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

    /// An error about the behaviour of a plugin.
    pub fn plugin(name: impl Display, why: impl Display) -> Self {
        Error::Plugin { name: name.to_string(), why: why.to_string() }
    }

    /// The error itself, without what was being done.
    pub fn root(&self) -> &Error {
        if let Error::While { source, .. } = self { source.root() } else { self }
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
            Error::Plugin { name, why } => write!(f, "plugin `{name}`: {why}"),
            Error::Tensor(_) => write!(f, "libtorch"),
            Error::NotFinite(what) => write!(f, "{what}"),
            Error::Interrupted => write!(f, "interrupted; the same command resumes from the last checkpoint"),
            Error::Busy { folder, holder } => write!(f, "{}: {holder} works in it", folder.display()),
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
        Error::Tensor(match source {
            tch::TchError::Torch(text) => tch::TchError::Torch(without_frames(&text)),
            other => other,
        })
    }
}

/// A message of libtorch without the C++ frames that it ends with, which say nothing of the mistake.
/// Rust's text of a panic over one, which quotes the message, becomes the message.
pub fn without_frames(text: &str) -> String {
    // A panic escapes the end of the line.
    let marks = ["\nException raised from ", "\\nException raised from ", "\nframe #0: ", "\\nframe #0: "];
    let end = marks.into_iter().filter_map(|mark| text.find(mark)).min();
    let Some(end) = end else { return text.to_string() };
    let message = text[..end].trim_end();
    match message.split_once("` on an `Err` value: Torch(\"") {
        Some((_, message)) => format!("libtorch: {}", message.replace("\\n", "\n").replace("\\\"", "\"")),
        None => message.to_string(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Tensor;

    #[test]
    fn a_mistake_in_shapes_is_one_line_whether_it_is_returned_or_panics() {
        let [two, three] = [[1.0f32; 3].as_slice(), &[1.0; 4]].map(Tensor::from_slice);
        let said = "The size of tensor a (3) must match the size of tensor b (4) at non-singleton dimension 0";
        let raw = two.f_add(&three).map_err(|error| error.to_string());
        assert!(raw.is_err_and(|text| text.contains("frame #0")), "libtorch says more");
        let returned = two.f_add(&three).map_err(|error| Error::from(error).chain());
        assert!(returned.as_ref().is_err_and(|text| text.ends_with(said) && text.lines().count() == 1), "{returned:?}");
        let panic = std::panic::catch_unwind(|| &two + &three).map_err(|panic| panic.downcast::<String>());
        let Err(Ok(text)) = panic else { panic!("it does not panic with a text") };
        assert_eq!(without_frames(&text), format!("libtorch: {said}"));
        let memory = Tensor::f_empty([1 << 50], (tch::Kind::Float, tch::Device::Cpu)).map(drop);
        let memory = memory.map_err(|error| Error::from(error).chain());
        assert!(memory.as_ref().is_err_and(|text| text.contains("memory") && text.lines().count() == 1), "{memory:?}");
        assert_eq!(without_frames("index out of range"), "index out of range");
    }
}
