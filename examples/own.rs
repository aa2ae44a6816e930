//! A custom program: everything that ships, and a plugin that is linked instead of loaded.
//! `cargo run --release --example own -- list` lists its `frame` with the others.

use std::process::ExitCode;

fn main() -> ExitCode {
    gauntlet_example::link();
    gauntlet_cli::main()
}
