//! The program `foundry-host`: see [`foundry_host::cli`].

use std::process::ExitCode;

use foundry_host::{cli, confine, helpers};

fn main() -> ExitCode {
    // A helper has to be shut in before this program makes threads or opens anything.
    confine::enter(helpers::TASKS).unwrap_or_else(cli::main)
}
