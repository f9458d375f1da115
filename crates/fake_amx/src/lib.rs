//! An emulator of Intel's tile unit (AMX), for tests on processors without one.
//!
//! A processor without the unit raises SIGILL at a tile instruction. [`install`] handles that signal: it decodes the
//! instruction at the place of the fault, interprets it on the tiles of the calling thread ([`Unit`]), and goes on behind
//! it. So the inline assembly of kernels runs unchanged. [`twin`] states the arithmetic for single elements.
//!
//! Not here: kernels, and anything that a product of this project uses outside of tests.

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod decode;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod trap;
pub mod twin;
mod unit;

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub use trap::{executed, has_real_unit, install};
pub use unit::{Config, Fault, Product, ROW_BYTES, ROWS, TILES, Unit};
