//! What the C allocator does with memory that is freed.

/// Makes glibc keep freed memory for the next tensor instead of giving it back: a training step
/// frees and takes the same megabytes again, and each page that came back from the kernel costs a
/// fault and its zeroing. Elsewhere than on glibc nothing happens.
///
/// For a program's start: it holds for the whole process.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: changes two numbers of the allocator, which it reads when memory is next asked for or freed.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 30);
        libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
    }
}
