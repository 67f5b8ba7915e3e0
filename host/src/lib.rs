//! Foundry's host: it loads bots as sandboxed WebAssembly components, carries their messages over MQTT, and lends
//! them what the operator grants.
//!
//! Dependencies point one way: `cli` → [`supervisor`] → [`runtime`] and [`bus`] → [`capability`] and [`ledger`] → [`ability`]; below all of them
//! are [`event`], [`reach`] and [`confine`], which use no other room.

pub mod ability;
pub mod bus;
pub mod capability;
pub mod cli;
pub mod config;
pub mod confine;
pub mod control;
pub mod event;
pub mod helpers;
pub mod keys;
pub mod ledger;
pub mod objects;
pub mod package;
pub mod reach;
pub mod repository;
pub mod retention;
pub mod run;
pub mod runtime;
pub mod secret_file;
pub mod stock;
pub mod supervisor;
pub mod tls;
pub mod toolkit;
