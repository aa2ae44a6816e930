//! The C allocator's handling of freed memory.

/// Makes glibc keep freed memory for the next tensor instead of returning it to the kernel: a
/// training step frees and allocates the same megabytes again, and each page from the kernel costs
/// a fault and its zeroing. Does nothing without glibc.
///
/// Call it at the start of a program: it applies to the whole process.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: changes two numbers of the allocator, which it reads at the next allocation or free.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 30);
        libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
    }
}
