//! What a git server says of its refs, in both protocols.

#![no_main]

libfuzzer_sys::fuzz_target!(init: foundry_host_fuzz::sow("advertisement"), |bytes: &[u8]| foundry_host_fuzz::advertisement(bytes));
