//! Micro-kernels on the tile unit: 32 × 32 sums in four tiles of 16 rows and 64 bytes, products of bf16.

mod bf16;
mod f16x3;
mod pack;
mod tiles;

pub(crate) use bf16::AMX_BF16;
pub(crate) use f16x3::AMX_F16X3;
