//! `http`: requests that the host makes for bots, to the URLs that the operator grants.

mod addresses;
mod binding;
mod client;
mod pattern;

#[cfg(test)]
mod tests;

pub use client::{Http, HttpError, Request, Response};
pub use pattern::{BadPattern, HttpPattern};
