//! A farm of several machines, each in a network namespace of its own: a head, builders, and whoever takes one of them over.
//! Set up as `docs/several-machines.md` says: TLS with certificates on both sides, bound keys, the roles of the broker.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails where it panics"
)]

mod archive;
mod attempts;
mod clock;
mod farm;
mod loot;
mod machine;
mod mosquitto;
mod network;
mod ordeal;
#[path = "../pipeline/package.rs"]
#[allow(dead_code, reason = "one of several users")]
mod package;
mod signing_host;
mod sources;
mod stolen_builder;
#[path = "../../host/tests/support/mod.rs"]
mod support;
mod thief;
mod trouble;
mod troubled;
mod troubles;
