//! The `gauntlet` program. To build a custom program with linked plugins, copy this file and add
//! one line: `mine::link();`.

use std::process::ExitCode;

fn main() -> ExitCode {
    gauntlet_cli::main()
}
