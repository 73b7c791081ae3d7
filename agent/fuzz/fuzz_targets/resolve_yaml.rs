//! Runs `checks::documents::yaml` on what the fuzzer makes up.
#![no_main]

#[path = "../checks.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::documents::yaml(data));
