//! What the host parses of strangers' texts, for libFuzzer (`scripts/fuzz`).
//!
//! The modules are taken from the host's sources one by one, and not with its crate, which would bring wasmtime and half an hour of compiling. They are leaves:
//! what they use of other rooms is named below.

#![allow(dead_code, unused_imports, reason = "the modules are made for the whole host")]

mod advertisement;
mod event;
mod git;
mod grants;
mod mail;
mod packages;
mod patterns;
mod reach;
mod seeds;
mod topic_grants;

#[path = "../../src/confine/mod.rs"]
pub mod confine;
/// Of the host's keys, the container that packages have.
#[path = "../../src/keys"]
pub mod keys {
    pub mod ar;
}
#[path = "../../src/package/mod.rs"]
pub mod package;

pub use advertisement::advertisement;
pub use grants::grants;
pub use packages::sow_packages;
pub use patterns::patterns;
pub use seeds::sow;

/// The first two lines of an input.
fn lines(bytes: &[u8]) -> Option<(&str, &str)> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (first, rest) = text.split_once('\n')?;
    Some((first, rest.lines().next().unwrap_or_default()))
}
