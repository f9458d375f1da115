//! Processor features, detected once.

use std::sync::LazyLock;

/// Whether the processor has the AVX-512 instructions that everything here needs: F, BW, VL and DQ.
pub(crate) fn has_avx512() -> bool {
    static HAS: LazyLock<bool> = LazyLock::new(|| {
        is_x86_feature_detected!("avx512f")
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
