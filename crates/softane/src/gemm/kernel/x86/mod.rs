//! Micro-kernels of x86-64.

mod amx;
mod avx2;
mod avx512;
mod bf16;
mod epilogue;
mod pack;
mod tile512;
mod vnni;

pub(super) use amx::{AMX_BF16, AMX_F16X3};
pub(super) use avx2::AVX2_F32;
pub(super) use avx512::AVX512_F32;
pub(super) use bf16::{AVX512_BF16, AVX512_BF16_ROUNDED};
pub(super) use vnni::AVX512_INT16;
