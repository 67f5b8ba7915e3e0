//! `clock`: the host's clock, the same that WASI's clock shows.

use time::OffsetDateTime;
use time::format_description::well_known::{Rfc2822, Rfc3339};

use crate::runtime::{Invocation, wit};

impl wit::clock::Host for Invocation {
    async fn now(&mut self) -> wasmtime::Result<u64> {
        let millis = Invocation::now(self).unix_timestamp_nanos() / 1_000_000;
        Ok(u64::try_from(millis).unwrap_or(0))
    }

    async fn rfc3339(&mut self, millis: u64) -> wasmtime::Result<String> {
        Ok(at(millis).format(&Rfc3339).unwrap_or_default())
    }

    async fn rfc5322(&mut self, millis: u64) -> wasmtime::Result<String> {
        // RFC 5322 keeps the date format of RFC 2822.
        Ok(at(millis).format(&Rfc2822).unwrap_or_default())
    }
}

fn at(millis: u64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(millis) * 1_000_000).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}
