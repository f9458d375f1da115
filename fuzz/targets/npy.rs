#![no_main]

#[path = "../src/npy.rs"]
mod npy;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| npy::try_bytes(bytes));
