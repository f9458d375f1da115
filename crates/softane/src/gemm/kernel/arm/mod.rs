//! Micro-kernels of arm64.

mod neon;
mod pack;
mod tile;

pub(super) use neon::NEON_F32;
