//! The guests of `tests/guests/`, and notifybot, built to WebAssembly modules, as the host takes them. A dev-dependency of
//! whatever loads them.

use std::path::{Path, PathBuf};

/// Where the build script put the modules.
const DIRECTORY: &str = concat!(env!("OUT_DIR"), "/guests");

/// The module of the guest in `tests/guests/<name>`.
///
/// # Panics
///
/// If there is no such guest: a mistake in the test that asks.
#[must_use]
#[expect(
    clippy::panic,
    reason = "only tests call this, and a misspelt guest should fail them"
)]
pub fn path(name: &str) -> PathBuf {
    let module = Path::new(DIRECTORY).join(name).with_extension("wasm");
    if !module.is_file() {
        panic!("there is no guest tests/guests/{name}, or it is not a member of the workspace bots/");
    }
    module
}
