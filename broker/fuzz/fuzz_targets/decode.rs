//! Any bytes as packets of both protocol versions.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| foundry_broker::fuzzing::decode(bytes));
