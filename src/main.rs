//! The `gauntlet` program: finds CUDA, links the plugins that ship, and hands over to the commands in `lib.rs`.
//!
//! A program of one's own that adds plugins is this file with one more `link()`.

use std::process::ExitCode;

fn main() -> ExitCode {
    gauntlet_torch::keep_freed_memory();
    // Before anything touches CUDA: libtorch keeps the answer it finds first.
    let cuda = gauntlet_torch::load_cuda();
    gauntlet_attacks::link();
    gauntlet_defenses::link();
    gauntlet_evaluators::link();
    gauntlet_cli::main(cuda)
}
