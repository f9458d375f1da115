//! Transposes.
#![expect(unsafe_code, reason = "intrinsics: each block says what makes it sound")]

use half::f16;
use std::arch::aarch64::*;

/// Turns and rounds 32 × 32 elements; see [`crate::simd::narrow_turned`].
pub(crate) fn narrow_turned(from: &[f32], stride: usize, to: &mut [f16], to_stride: usize) {
    let (from, to) = (&from[..31 * stride + 32], &mut to[..31 * to_stride + 32]);
    assert!(stride >= 32 && to_stride >= 32);
    for row in (0..32).step_by(4) {
        for x in (0..32).step_by(4) {
            // SAFETY: every arm64 processor has NEON; rows `row` to `row + 3`, all below 32, have four elements from
            // column `x` ≤ 28 on, and so have rows `x` to `x + 3` of the result from column `row` on.
            unsafe {
                let line = |i: usize| vld1q_f32(from.as_ptr().add((row + i) * stride + x));
                for (i, column) in turned([line(0), line(1), line(2), line(3)]).into_iter().enumerate() {
                    let half = vreinterpret_u16_f16(vcvt_f16_f32(column));
                    vst1_u16(to.as_mut_ptr().add((x + i) * to_stride + row).cast(), half);
                }
            }
        }
    }
}

/// The transpose of 4 × 4 words.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn turned([a, b, c, d]: [float32x4_t; 4]) -> [float32x4_t; 4] {
    // Pairs of rows, then both pairs.
    let pairs = [vtrn1q_f32(a, b), vtrn2q_f32(a, b), vtrn1q_f32(c, d), vtrn2q_f32(c, d)]
        .map(|x| vreinterpretq_f64_f32(x));
    let [ab0, ab1, cd0, cd1] = pairs;
    [vtrn1q_f64(ab0, cd0), vtrn1q_f64(ab1, cd1), vtrn2q_f64(ab0, cd0), vtrn2q_f64(ab1, cd1)]
        .map(|x| vreinterpretq_f32_f64(x))
}
