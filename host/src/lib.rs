//! Foundry's host.

pub mod capability;
pub mod stock;
