//! Processor features, detected once, as far as this process uses them.

use super::super::isa::{Isa, chosen};
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

/// Runs `f`, which is inlined and so compiled for AVX-512.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(crate) fn with_avx512<R>(mut f: impl FnMut() -> R) -> R {
    f()
}

/// Runs `f`, which is inlined and so compiled for AVX2.
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn with_avx2<R>(mut f: impl FnMut() -> R) -> R {
    f()
}
