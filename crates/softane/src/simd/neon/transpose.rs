//! Transposes of blocks.
#![expect(unsafe_code, reason = "intrinsics; each block states why it is sound")]

use super::super::strips::Strip;
use std::arch::aarch64::*;

/// Rows and columns of a block.
const BLOCK: usize = 32;

/// Transposes and rounds 32 rows; see [`crate::simd::narrow_transposed`].
pub(crate) fn narrow_transposed(from: &[f32], columns: usize, to: &mut Strip<'_>) -> usize {
    let whole = columns / BLOCK * BLOCK;
    assert!(from.len() >= BLOCK * columns && to.width() == BLOCK && to.rows() >= columns);
    for x in (0..whole).step_by(4) {
        for row in (0..BLOCK).step_by(4) {
            // SAFETY: every arm64 processor has NEON; rows `row` to `row + 3`, all below 32, have four elements from
            // column `x` ≤ columns − 4 on, and rows of the strip have four places from `row` ≤ 28 on.
            unsafe {
                let line = |i: usize| vld1q_f32(from.as_ptr().add((row + i) * columns + x));
                for (i, column) in transposed([line(0), line(1), line(2), line(3)]).into_iter().enumerate() {
                    let half = vreinterpret_u16_f16(vcvt_f16_f32(column));
                    vst1_u16(to.row(x + i).as_mut_ptr().add(row).cast(), half);
                }
            }
        }
    }
    whole
}

/// The transpose of 4 × 4 words.
#[inline]
#[target_feature(enable = "neon")]
pub(crate) fn transposed([a, b, c, d]: [float32x4_t; 4]) -> [float32x4_t; 4] {
    // Pairs of rows, then both pairs.
    let pairs = [vtrn1q_f32(a, b), vtrn2q_f32(a, b), vtrn1q_f32(c, d), vtrn2q_f32(c, d)]
        .map(|x| vreinterpretq_f64_f32(x));
    let [ab0, ab1, cd0, cd1] = pairs;
    [vtrn1q_f64(ab0, cd0), vtrn1q_f64(ab1, cd1), vtrn2q_f64(ab0, cd0), vtrn2q_f64(ab1, cd1)]
        .map(|x| vreinterpretq_f32_f64(x))
}
