//! Compiles the C++ in `cpp/` against the libtorch that torch-sys found.

use std::env;
use std::fs;
use std::path::PathBuf;

const SOURCES: [&str; 9] = ["adamw", "autocast", "clip", "config", "device", "kernels", "norm", "norm_cuda", "pool"];

fn main() {
    println!("cargo::rerun-if-changed=cpp");
    // torch-sys declares `links = "tch"`, so the output of its build script arrives here under that
    // name.
    let lib = env::var_os("DEP_TCH_LIBTORCH_LIB").map(PathBuf::from).expect("torch-sys's build script sets it");
    let include = lib.with_file_name("include");
    // The CUDA kernels are embedded as source text and compiled on the machine of the GPU.
    let out = env::var_os("OUT_DIR").map(PathBuf::from).expect("cargo sets it");
    let kernels = fs::read_to_string("cpp/kernels.cu").expect("cpp/kernels.cu");
    let text = format!("constexpr const char *KERNELS_SOURCE = R\"CUDA({kernels})CUDA\";\n");
    fs::write(out.join("kernels_source.h"), text).expect("OUT_DIR is writable");
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .include(&out)
        .include(include.join("torch/csrc/api/include"))
        // As system headers, so that their warnings are not reported here.
        .flag("-isystem")
        .flag(&include)
        // Loops over channels need vectorisation in every profile.
        .opt_level(3)
        .define("_GLIBCXX_USE_CXX11_ABI", "1")
        .files(SOURCES.map(|name| format!("cpp/{name}.cpp")))
        .compile("gauntlet_torch");
}
