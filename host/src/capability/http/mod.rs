//! `http`: requests that the host makes for bots, to the URLs that the operator grants.

mod binding;
mod client;

#[cfg(test)]
mod tests;

pub use client::{Http, HttpError, Request, Response};
