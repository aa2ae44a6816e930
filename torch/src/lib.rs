//! The little of libtorch that tch does not bind, in C++ behind `extern "C"` (`cpp/`), and the
//! loading of its CUDA part.
//!
//! One file per subject: `adamw.rs` the fused optimizer step, `autocast.rs` mixed precision,
//! `clip.rs` gradient clipping, `cuda.rs` how one binary serves CPU and GPU, `device.rs` what a run
//! records of a GPU and hands to it, `config.rs` what libtorch says about itself. `norm.rs` batch
//! norm with what follows it, `pool.rs` average pooling, `kernels.rs` whether a GPU does both by
//! our own kernels. `map.rs` maps files and `memory.rs` tells the allocator what to keep, which are
//! unsafe for reasons of their own. `transfer.rs` copies from the host to a GPU without waiting.

// Calling C++ and opening libraries cannot be checked by the compiler. It is done here so that no other crate has to;
// beside this one only the loader of plugins may.
#![allow(unsafe_code)]

mod adamw;
mod autocast;
mod clip;
mod config;
mod cuda;
mod device;
mod kernels;
mod map;
mod memory;
mod message;
mod norm;
mod pool;
mod transfer;

pub use adamw::fused_adamw;
pub use autocast::autocast_bf16;
pub use clip::clip_grad_norm;
pub use config::{LIBTORCH_VERSION, libtorch_version, show_config};
pub use cuda::{libtorch_path, load_cuda};
pub use device::{allows_tf32, device_name, peak_device_memory, pin_memory, reset_peak_device_memory, set_tf32};
pub use kernels::{use_kernels, uses_kernels};
pub use map::Map;
pub use memory::keep_freed_memory;
pub use norm::{NormOptions, batch_norm};
pub use pool::halve;
pub use transfer::{pinned, sent, sent_slice};
