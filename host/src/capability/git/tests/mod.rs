//! The service against real repositories behind real servers, on loopback.

mod bounds;
mod cache;
mod faults;
mod readers;
mod redirects;
pub(super) mod support;
mod transports;
mod trees;
