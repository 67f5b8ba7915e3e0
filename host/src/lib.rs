//! Foundry's host.

pub mod stock;
