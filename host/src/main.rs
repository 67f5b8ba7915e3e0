//! The program `foundry-host`: see [`foundry_host::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    foundry_host::cli::main()
}
