//! The little of libtorch that tch does not bind, in C++ behind `extern "C"` (`cpp/`), and the loading of its CUDA part.
//!
//! One file per subject: `adamw.rs` the fused optimizer step, `cuda.rs` how one binary serves CPU and GPU, `config.rs` what
//! libtorch says about itself. `map.rs` maps files, which is unsafe for a reason of its own.

// Calling C++ and opening libraries cannot be checked by the compiler. It is done here so that no other crate has to;
// beside this one only the loader of plugins may.
#![allow(unsafe_code)]

mod adamw;
mod config;
mod cuda;
mod map;
mod message;

pub use adamw::fused_adamw;
pub use config::{LIBTORCH_VERSION, libtorch_version, show_config};
pub use cuda::{libtorch_path, load_cuda};
pub use map::Map;
