//! A program of one's own: all that ships, and a plugin that is linked rather than loaded. `cargo
//! run --release --example own -- list` shows its `frame` beside the others.

use std::process::ExitCode;

fn main() -> ExitCode {
    gauntlet_example::link();
    gauntlet_cli::main()
}
