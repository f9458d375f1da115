//! Conversions and transposes with NEON, which every arm64 processor has.

mod half;
mod transpose;

pub(crate) use half::{narrow, round, widen};
pub(crate) use transpose::{narrow_transposed, transposed};
