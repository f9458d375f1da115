//! Micro-kernels of arm64.

mod bf16;
mod neon;
mod pack;
mod tile;

pub(super) use bf16::NEON_BF16;
pub(super) use neon::NEON_F32;
