//! Memory: the C allocator's handling of freed memory, and the end of a process that gets none.

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

/// Ends an aborted process with a line of error and exit code 1. Rust aborts if it gets no memory,
/// and so does C++ if nothing catches libtorch's exception; a caller would see a signal.
///
/// Call it at the start of a program: it applies to the whole process.
pub fn report_aborts() {
    let handler: extern "C" fn(libc::c_int) = report_abort;
    // SAFETY: the handler calls only functions that a signal handler may call.
    unsafe { libc::signal(libc::SIGABRT, handler as libc::sighandler_t) };
}

extern "C" fn report_abort(_signal: libc::c_int) {
    const LINE: &[u8] = b"error: aborted, most likely because memory ran out; the lines above say where\n";
    // SAFETY: both functions may be called by a signal handler, and the bytes are a constant.
    unsafe {
        libc::write(libc::STDERR_FILENO, LINE.as_ptr().cast(), LINE.len());
        libc::_exit(1);
    }
}
