//! A pattern of URLs on the first line, a URL on the second.

#![no_main]

libfuzzer_sys::fuzz_target!(init: foundry_host_fuzz::sow("patterns"), |bytes: &[u8]| foundry_host_fuzz::patterns(bytes));
