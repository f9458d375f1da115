//! Conversions, transposes and matrix tiles with NEON, which every arm64 processor has.

mod half;
mod multiply;
mod pack;
mod transpose;

pub(crate) use half::{narrow, round, widen};
pub(super) use multiply::multiply;
pub(super) use pack::{pack, pack_rows};
pub(super) use transpose::narrow_transposed;
