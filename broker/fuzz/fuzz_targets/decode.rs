//! Any bytes as packets of both protocol versions.

#![no_main]

libfuzzer_sys::fuzz_target!(init: foundry_broker::fuzzing::sow("decode"), |bytes: &[u8]| foundry_broker::fuzzing::decode(bytes));
