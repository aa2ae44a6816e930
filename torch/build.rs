//! Compiles the C++ in `cpp/` against the libtorch that torch-sys found.

use std::env;
use std::path::PathBuf;

const SOURCES: [&str; 7] = ["adamw", "autocast", "clip", "config", "device", "norm", "pool"];

fn main() {
    println!("cargo::rerun-if-changed=cpp");
    // torch-sys declares `links = "tch"`, so what its build script prints arrives here under that name.
    let lib = env::var_os("DEP_TCH_LIBTORCH_LIB").map(PathBuf::from).expect("torch-sys's build script sets it");
    let include = lib.with_file_name("include");
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .include(include.join("torch/csrc/api/include"))
        // As system headers, so that their warnings are not ours.
        .flag("-isystem")
        .flag(&include)
        // Loops over channels are worth their vectors in every profile.
        .opt_level(3)
        .define("_GLIBCXX_USE_CXX11_ABI", "1")
        .files(SOURCES.map(|name| format!("cpp/{name}.cpp")))
        .compile("gauntlet_torch");
}
