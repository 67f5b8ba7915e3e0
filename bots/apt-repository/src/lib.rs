//! APT repositories: their formats, and how they change. distbot publishes with it, and `foundry-host repo` mends with it.
//!
//! ```text
//! [deb, control, binary, source]  what packages are; hostile input
//! [provenance]                    whether a build is of the source that is published already
//! [names]                         which repository provides which source, and which source which binary packages
//! [promised]                      what suites say of files in the pool
//! [addition]                      what is new in a suite
//! [suite]                         a suite's change: its indices, then the signed Release over all of them
//! [retention]                     which superseded versions stay
//! [operate]                       what an operator does: copy, promote, remove, restore
//! [page]                          its page for people
//! [existing]                      what a suite has, whoever made it
//! [index, pieces, recent,
//!  published]                     lists of packages, and how little of them a change touches
//! [contents, changed]             which package a file is in
//! [descriptions, translated]      descriptions apart from the index
//! [signatures]                    by which keys the Release is signed
//! [release, digests, generations] the Release, and indices under their digests, superseded ones as well
//! [expiry]                        what runs out soon
//! [host]                          what all of this asks of the one who runs it
//! ```
//!
//! The published indices are the record of what a suite has; there is no database beside them that could disagree.

pub mod addition;
pub mod armour;
pub mod binary;
mod changed;
pub mod contents;
pub mod control;
pub mod deb;
pub mod descriptions;
mod digests;
pub mod existing;
pub mod expiry;
pub mod failure;
pub mod generations;
pub mod host;
pub mod index;
pub mod names;
pub mod operate;
pub mod page;
pub mod pieces;
pub mod pool;
pub mod promised;
pub mod provenance;
mod published;
pub mod recent;
pub mod release;
pub mod retention;
pub mod settings;
mod signatures;
pub mod source;
pub mod suite;
pub mod syntax;
mod translated;
pub mod version;
