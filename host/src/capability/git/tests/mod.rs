//! The service against real repositories behind real servers, on loopback.

mod cache;
mod faults;
mod support;
mod transports;
mod trees;
