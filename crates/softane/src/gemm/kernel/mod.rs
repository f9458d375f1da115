//! Micro-kernels: how a processor packs and multiplies panels of a product.
//!
//! A kernel is one record in its own file, and one line of the registry. Blocking, packing, working memory and
//! epilogues read tile and layout from the record.

pub(super) mod accelerate;
#[cfg(target_arch = "aarch64")]
mod arm;
#[cfg(any(target_arch = "aarch64", test))]
mod arm_format;
mod epilogue;
mod format;
#[cfg(test)]
pub(super) mod frame;
mod generic;
pub(super) mod record;
pub(super) mod registry;
#[cfg(target_arch = "x86_64")]
mod x86;
#[cfg(any(target_arch = "x86_64", test))]
mod x86_format;
