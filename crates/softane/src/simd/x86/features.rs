//! Processor features, detected once, as far as this process uses them.

use super::super::isa::{Isa, chosen};
use pulp::x86::V4;
use std::sync::LazyLock;

/// Whether the processor has the AVX-512 instructions that everything here needs: F, BW, VL and DQ.
pub(crate) fn has_avx512() -> bool {
    static HAS: LazyLock<bool> = LazyLock::new(|| {
        chosen() == Isa::Native
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512dq")
    });
    *HAS
}

/// Whether it has AVX-512 with BF16.
pub(crate) fn has_avx512_bf16() -> bool {
    static HAS: LazyLock<bool> = LazyLock::new(|| has_avx512() && is_x86_feature_detected!("avx512bf16"));
    *HAS
}

/// The token for AVX-512.
pub(crate) fn v4() -> Option<V4> {
    if has_avx512() { V4::try_new() } else { None }
}
