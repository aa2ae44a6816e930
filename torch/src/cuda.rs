//! One binary for CPU and GPU: it links libtorch's CPU part only, and loads the CUDA part at start where there is one.
//!
//! Loading registers the CUDA kernels with the libtorch that is running, and from then on
//! `tch::Cuda` and `Device::Cuda` work.

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

const CUDA: &str = "libtorch_cuda.so";
const CPU: &str = "libtorch_cpu.so";

/// Loads libtorch_cuda.so where there is one, for as long as the process lives, and returns its path.
///
/// To be called first in `main`: libtorch asks once, when something of CUDA is first used, whether
/// its CUDA part is there, and keeps the answer. Further calls change nothing and tell how it
/// stands.
///
/// Looks in the folder that the environment variable `GAUNTLET_LIBTORCH_CUDA` names and nowhere
/// else if it is set, and otherwise beside the libtorch_cpu.so that this process runs with and in
/// the folders of `LD_LIBRARY_PATH`. None found is no error; one that was found and cannot be
/// loaded is, and the CPU works all the same.
pub fn load_cuda() -> Result<Option<PathBuf>, String> {
    if let Some(path) = mapped(CUDA) {
        return Ok(Some(path));
    }
    let Some(path) = find_cuda()? else { return Ok(None) };
    // SAFETY: opening it runs the start-up code of PyTorch's own library, which is made to be
    // opened beside libtorch_cpu; that nothing of CUDA was used before is the caller's part, and a
    // breach of it is an error of libtorch's, not undefined.
    let library = unsafe { Library::open(Some(&path), RTLD_NOW | RTLD_GLOBAL) }
        .map_err(|error| format!("{} does not load: {}", path.display(), reason(&error)))?;
    // libtorch keeps pointers into it, so it can never be closed.
    std::mem::forget(library);
    Ok(Some(path))
}

/// The libtorch_cpu.so that this process runs with, its own place and not that of a link to it.
/// None if libtorch is not linked as a library of its own.
pub fn libtorch_path() -> Option<PathBuf> {
    mapped(CPU)
}

fn find_cuda() -> Result<Option<PathBuf>, String> {
    if let Some(folder) = env::var_os("GAUNTLET_LIBTORCH_CUDA").filter(|folder| !folder.is_empty()) {
        let path = Path::new(&folder).join(CUDA);
        return if path.is_file() {
            Ok(Some(path))
        } else {
            Err(format!("GAUNTLET_LIBTORCH_CUDA={} holds no {CUDA}", Path::new(&folder).display()))
        };
    }
    let beside = libtorch_path().and_then(|path| path.parent().map(Path::to_owned));
    let listed = env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let folders = beside.into_iter().chain(env::split_paths(&listed).filter(|folder| folder.is_absolute()));
    Ok(folders.map(|folder| folder.join(CUDA)).find(|path| path.is_file()))
}

/// Where a library lies that this process has loaded, from the kernel's list, which knows no links.
fn mapped(library: &str) -> Option<PathBuf> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    maps.lines()
        .filter_map(path_of_mapping)
        .find(|path| path.file_name().is_some_and(|name| name == library))
        .map(PathBuf::from)
}

/// `7f0c-7f0d r-xp 00001000 fe:00 131 /a path/libtorch_cpu.so`: the path is what comes after five fields.
fn path_of_mapping(line: &str) -> Option<&Path> {
    let start = line.find('/')?;
    Some(Path::new(&line[start..]))
}

/// libloading's message is only "dlopen failed"; what the loader said is its cause.
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
