//! The binary from outside: what a user types, sees and finds on disk.

mod bad_input;
mod bench;
mod broken;
#[cfg(not(any(all(target_os = "macos", target_arch = "aarch64"), feature = "fake_ane")))]
mod engine;
mod export;
mod faults;
mod generate;
mod gguf;
mod help;
mod info;
#[cfg(target_os = "linux")]
mod memory;
mod mil;
mod models;
#[cfg(unix)]
mod peers;
mod place;
#[cfg(not(any(all(target_os = "macos", target_arch = "aarch64"), feature = "fake_ane")))]
mod probe;
mod restart;
mod resume;
mod run;
mod smollm2;
mod tools;
