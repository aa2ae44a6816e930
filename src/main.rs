//! The `gauntlet` program. One of your own, with plugins of your own linked, is this file with a
//! line more: `mine::link();`.

use std::process::ExitCode;

fn main() -> ExitCode {
    gauntlet_cli::main()
}
