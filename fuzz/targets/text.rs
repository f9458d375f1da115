#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| backpropane_fuzz::text::try_bytes(bytes));
