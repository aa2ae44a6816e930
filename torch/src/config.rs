//! The configuration of the libtorch that this process runs with, for `gauntlet doctor` and for the
//! records of a run.

use crate::message::{outcome, take};
use std::ffi::c_char;
use std::ptr::null_mut;
use tch::TchError;

/// The version that the pinned tch is written for; running with another one is not safe.
pub const LIBTORCH_VERSION: &str = "2.11.0";

unsafe extern "C" {
    fn gauntlet_show_config(text: *mut *mut c_char) -> *mut c_char;
}

/// The text of PyTorch's `torch.__config__.show()`: compiler, vector instructions in use, math
/// libraries, build settings.
///
/// It includes the CUDA part, so call it after [`load_cuda`](crate::load_cuda).
pub fn show_config() -> Result<String, TchError> {
    let mut text = null_mut();
    // SAFETY: C++ writes one pointer to `text`, from malloc and owned by the caller; so is the
    // message.
    unsafe {
        outcome(gauntlet_show_config(&mut text))?;
        Ok(take(text).unwrap_or_default())
    }
}

/// Version of the running libtorch, such as `2.11.0`. LD_LIBRARY_PATH can make it differ from the
/// version at build time. `None` if libtorch does not report it. As [`show_config`], only after
/// [`load_cuda`](crate::load_cuda).
pub fn libtorch_version() -> Result<Option<String>, TchError> {
    Ok(setting(&show_config()?, "TORCH_VERSION"))
}

/// A value among the build settings, which are a list `NAME=value, NAME=value, ...`.
fn setting(config: &str, name: &str) -> Option<String> {
    let (_, after) = config.split_once(&format!("{name}="))?;
    Some(after.split([',', '\n']).next().unwrap_or_default().trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_its_version() {
        assert_eq!(libtorch_version().unwrap().as_deref(), Some(LIBTORCH_VERSION));
    }

    #[test]
    fn a_setting_ends_at_the_comma() {
        assert_eq!(setting("Build settings: A=1, B=two words, C=3, \n", "B").as_deref(), Some("two words"));
        assert_eq!(setting("A=1", "B"), None);
    }
}
