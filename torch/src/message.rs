//! Texts from C++: C++ allocates them, Rust copies and frees them. The C++ side is `cpp/error.h`.

use std::ffi::{CStr, c_char, c_void};
use tch::TchError;

unsafe extern "C" {
    fn free(memory: *mut c_void);
}

/// Copies and frees a text.
///
/// # Safety
/// `text` is null or a NUL-terminated string from malloc that nothing else refers to.
pub(crate) unsafe fn take(text: *mut c_char) -> Option<String> {
    if text.is_null() {
        return None;
    }
    // SAFETY: not null, and the caller guarantees that it is terminated.
    let copy = unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned();
    // SAFETY: from malloc and owned here alone, as the caller guarantees; `copy` does not refer to
    // it.
    unsafe { free(text.cast()) };
    Some(copy)
}

/// The outcome of a call into C++, which returns the message of an exception, or null.
///
/// # Safety
/// As for [`take`].
pub(crate) unsafe fn outcome(message: *mut c_char) -> Result<(), TchError> {
    // SAFETY: the caller gives the same guarantee.
    match unsafe { take(message) } {
        None => Ok(()),
        Some(message) => Err(TchError::Torch(message)),
    }
}
