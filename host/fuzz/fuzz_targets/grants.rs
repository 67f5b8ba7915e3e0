//! A grant on the first line, of topics or of addresses of mail, and what asks for it on the second.

#![no_main]

libfuzzer_sys::fuzz_target!(init: foundry_host_fuzz::sow("grants"), |bytes: &[u8]| foundry_host_fuzz::grants(bytes));
