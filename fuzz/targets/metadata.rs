#![no_main]

#[path = "../src/models.rs"]
#[allow(dead_code, reason = "each target calls one function")]
mod models;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| models::metadata(bytes));
