//! AVX-512 and AVX2: loads that widen, conversions, and transposes of blocks; detection of the tile unit.

mod combine;
mod dots;
mod dots256;
mod features;
pub(crate) mod half;
mod half512;
pub(crate) mod lanes;
pub(crate) mod lanes256;
mod quant;
pub(crate) mod tiles;
mod transpose;
mod transpose256;

pub(crate) use super::isa::has_avx2;
pub(crate) use combine::combine_rows;
pub(crate) use dots::dot_rows;
pub(crate) use dots256::{dot_rows256, quant_dot_rows256};
pub(crate) use features::{has_avx512, has_avx512_bf16, with_avx2, with_avx512};
pub(crate) use quant::{quant_dot_rows, quant_widen};
pub(crate) use transpose::narrow_transposed;
pub(crate) use transpose256::{narrow_transposed as narrow_transposed256, transposed as transposed256};
