//! Selects this project's CUDA kernels (`cpp/kernels.cu`) or libtorch's.

unsafe extern "C" {
    fn gauntlet_use_kernels(wanted: bool);
    fn gauntlet_uses_kernels() -> bool;
}

/// Uses this project's CUDA kernels for batch norm and average pooling from now on, or libtorch's
/// again. They are off by default, because their rounding differs and they have not been timed. If
/// they cannot be compiled, the operations that would use them fail.
pub fn use_kernels(wanted: bool) {
    // SAFETY: sets an atomic.
    unsafe { gauntlet_use_kernels(wanted) }
}

/// Whether they are in use.
pub fn uses_kernels() -> bool {
    // SAFETY: reads an atomic.
    unsafe { gauntlet_uses_kernels() }
}
