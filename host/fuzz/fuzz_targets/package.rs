//! Any bytes as a package, read as the helper process reads them.

#![no_main]

libfuzzer_sys::fuzz_target!(init: foundry_host_fuzz::sow_packages(), |bytes: &[u8]| foundry_host_fuzz::package::fuzz(bytes));
