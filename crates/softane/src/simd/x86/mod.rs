//! AVX-512: loads that widen, and transposes of blocks.

mod features;
pub(crate) mod lanes;
mod transpose;

pub(crate) use features::{has_avx512, has_avx512_bf16};
pub(crate) use transpose::narrow_transposed;
