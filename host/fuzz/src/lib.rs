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
mod patterns;
mod reach;
mod seeds;
mod topic_grants;

pub use advertisement::advertisement;
pub use grants::grants;
pub use patterns::patterns;
pub use seeds::sow;

/// The first two lines of an input.
fn lines(bytes: &[u8]) -> Option<(&str, &str)> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (first, rest) = text.split_once('\n')?;
    Some((first, rest.lines().next().unwrap_or_default()))
}
