//! distbot as it runs, a component in its host: what apt, gpgv and other real programs make of its repositories.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests, which should fail where they are surprised"
)]

mod apt;
mod bucket;
mod builders;
mod bulk;
mod concurrency;
mod contents;
mod damage;
mod descriptions;
mod first_file;
mod formats;
mod full_disk;
mod judges;
mod kill;
mod mirror;
mod names;
mod operator;
mod package;
#[path = "../../benches/repository/packages.rs"]
mod packages;
mod page;
mod policy;
mod provenance;
mod refresh;
mod ring;
#[path = "../support/s3.rs"]
mod s3;
mod sha512;
mod statement;
#[path = "../support/mod.rs"]
mod support;
mod takeover;
mod vouched;
mod world;
mod xz;
