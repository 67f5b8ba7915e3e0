//! The pipeline end to end: the real binary between real git repositories, dpkg-buildpackage, GnuPG, apt and MQTT
//! clients.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails where it panics"
)]

mod apt;
mod failures;
mod farm;
mod first_pipeline;
mod git_server;
mod hijack;
mod kill;
mod load_balancing;
mod original;
mod package;
mod page;
mod push_to_install;
#[path = "../../host/tests/support/s3.rs"]
#[allow(dead_code, reason = "one of several users")]
mod s3;
mod several_machines;
mod sick_builder;
mod store_away;
mod two_builders;
