#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| backpropane_fuzz::package::try_bytes(bytes));
