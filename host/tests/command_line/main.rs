//! The program as a user meets it: the real binary, in a state directory of its own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests, which should fail where they are surprised"
)]

mod authoring;
mod background;
mod bots;
mod configuration;
mod control_socket;
mod foreground;
mod grants;
mod groups;
mod help;
mod home;
mod keys;
mod names;
mod pages;
mod ports;
mod readers;
mod rights;
mod runs;
mod services;
mod sight;
mod signatures;
mod upkeep;
mod worlds;
