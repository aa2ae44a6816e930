//! One binary for CPU and GPU: it links only libtorch's CPU part, and loads the CUDA part at start
//! if it is installed.
//!
//! Loading registers the CUDA kernels with the running libtorch; after that `tch::Cuda` and
//! `Device::Cuda` work.

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

const CUDA: &str = "libtorch_cuda.so";
const CPU: &str = "libtorch_cpu.so";

/// Loads libtorch_cuda.so if it exists, for the lifetime of the process, and returns its path.
///
/// Call this first in `main`: libtorch checks once, at the first use of CUDA, whether its CUDA part
/// is loaded, and keeps the answer. Further calls change nothing and return the same result.
///
/// If the environment variable `GAUNTLET_LIBTORCH_CUDA` is set, only the folder that it names is
/// searched; otherwise the folder of the libtorch_cpu.so that this process runs with, and the
/// folders of `LD_LIBRARY_PATH`. It is not an error if none is found. It is an error if one is
/// found and cannot be loaded; the CPU still works then.
pub fn load_cuda() -> Result<Option<PathBuf>, String> {
    if let Some(path) = mapped(CUDA) {
        return Ok(Some(path));
    }
    let Some(path) = find_cuda()? else { return Ok(None) };
    // SAFETY: opening it runs the start-up code of PyTorch's own library, which is designed to be
    // opened beside libtorch_cpu. The caller ensures that CUDA was not used before; a violation is
    // an error from libtorch, not undefined behaviour.
    let library = unsafe { Library::open(Some(&path), RTLD_NOW | RTLD_GLOBAL) }
        .map_err(|error| format!("{} cannot be loaded: {}", path.display(), reason(&error)))?;
    // libtorch keeps pointers into it, so it can never be closed.
    std::mem::forget(library);
    Ok(Some(path))
}

/// The libtorch_cpu.so that this process runs with, as its real path and not that of a link. `None`
/// if libtorch is not linked as a shared library.
pub fn libtorch_path() -> Option<PathBuf> {
    mapped(CPU)
}

fn find_cuda() -> Result<Option<PathBuf>, String> {
    if let Some(folder) = env::var_os("GAUNTLET_LIBTORCH_CUDA").filter(|folder| !folder.is_empty()) {
        let path = Path::new(&folder).join(CUDA);
        return if path.is_file() {
            Ok(Some(path))
        } else {
            Err(format!("GAUNTLET_LIBTORCH_CUDA={} does not contain {CUDA}", Path::new(&folder).display()))
        };
    }
    let beside = libtorch_path().and_then(|path| path.parent().map(Path::to_owned));
    let listed = env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let folders = beside.into_iter().chain(env::split_paths(&listed).filter(|folder| folder.is_absolute()));
    Ok(folders.map(|folder| folder.join(CUDA)).find(|path| path.is_file()))
}

/// The path of a library that this process has loaded, from the kernel's list, which has no links.
fn mapped(library: &str) -> Option<PathBuf> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    maps.lines()
        .filter_map(path_of_mapping)
        .find(|path| path.file_name().is_some_and(|name| name == library))
        .map(PathBuf::from)
}

/// `7f0c-7f0d r-xp 00001000 fe:00 131 /a path/libtorch_cpu.so`: the path follows five fields.
fn path_of_mapping(line: &str) -> Option<&Path> {
    let start = line.find('/')?;
    Some(Path::new(&line[start..]))
}

/// libloading's message is only "dlopen failed"; the message of the loader is its source.
fn reason(error: &libloading::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), |cause| cause.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_libtorch_that_it_runs_with() {
        let _loaded = tch::get_num_threads();
        let path = libtorch_path().unwrap();
        assert!(path.is_absolute() && path.ends_with(CPU), "{}", path.display());
    }

    #[test]
    fn paths_may_hold_spaces() {
        let line = "7f0c00000000-7f0d00000000 r-xp 00001000 fe:00 131                        /a path/libtorch_cpu.so";
        assert_eq!(path_of_mapping(line), Some(Path::new("/a path/libtorch_cpu.so")));
        assert_eq!(path_of_mapping("7f0c00000000-7f0d00000000 rw-p 00000000 00:00 0 "), None);
    }
}
