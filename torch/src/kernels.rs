//! Whether our own CUDA kernels (`cpp/kernels.cu`) are used.

unsafe extern "C" {
    fn gauntlet_use_kernels(wanted: bool);
    fn gauntlet_uses_kernels() -> bool;
}

/// Uses our own CUDA kernels for batch norm and average pooling from now on, or libtorch's again.
/// They are not used unless asked for: they round at other places, and have not been timed. Where
/// they cannot be compiled, the operations that would use them fail.
pub fn use_kernels(wanted: bool) {
    // SAFETY: sets an atomic.
    unsafe { gauntlet_use_kernels(wanted) }
}

/// Whether they were asked for.
pub fn uses_kernels() -> bool {
    // SAFETY: reads an atomic.
    unsafe { gauntlet_uses_kernels() }
}
