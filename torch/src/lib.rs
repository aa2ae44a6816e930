//! The few parts of libtorch that tch does not bind, in C++ behind `extern "C"` (`cpp/`), and the
//! loading of its CUDA part.
//!
//! One file per subject: `adamw.rs` the fused optimizer step, `autocast.rs` mixed precision,
//! `clip.rs` gradient clipping, `cuda.rs` one binary for CPU and GPU, `device.rs` the recorded
//! properties of a GPU, `config.rs` libtorch's build configuration, `norm.rs` batch norm with
//! shortcut and ReLU, `pool.rs` average pooling, `kernels.rs` this project's GPU kernels for both.
//! `map.rs` maps files and `memory.rs` configures the allocator; both need unsafe code for other
//! reasons. `transfer.rs` copies from the host to a GPU without waiting.

// The compiler cannot check calls of C++ and the opening of libraries. They are in this crate so
// that no other crate needs them; the only other exception is the loader of plugins.
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
pub use memory::{keep_freed_memory, report_aborts};
pub use norm::{NormOptions, batch_norm};
pub use pool::halve;
pub use transfer::{pinned, sent, sent_slice};
