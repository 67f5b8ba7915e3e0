//! The service against real repositories behind real servers, on loopback.

mod cache;
mod faults;
pub(super) mod support;
mod transports;
mod trees;
