//! Vectors of eight words: loading elements.
#![expect(unsafe_code, reason = "intrinsics; each block states why it is sound")]

use half::f16;
use std::arch::x86_64::*;

/// Elements that widen to f32 lanes.
pub(crate) trait Eight: Copy {
    /// Eight elements from `from` on.
    ///
    /// # Safety
    /// AVX2 and F16C exist, and `from` points to eight elements.
    unsafe fn load(from: *const Self) -> __m256;
    /// One element widened.
    fn one(self) -> f32;
}

impl Eight for f32 {
    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn load(from: *const f32) -> __m256 {
        // SAFETY: the caller vouches for eight elements.
        unsafe { _mm256_loadu_ps(from) }
    }
    #[inline]
    fn one(self) -> f32 {
        self
    }
}

impl Eight for f16 {
    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn load(from: *const f16) -> __m256 {
        // SAFETY: the caller vouches for eight elements, 16 bytes.
        _mm256_cvtph_ps(unsafe { _mm_loadu_si128(from.cast()) })
    }
    #[inline]
    fn one(self) -> f32 {
        self.to_f32()
    }
}
