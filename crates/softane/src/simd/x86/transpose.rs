//! Transposes of blocks of 32 × 32, rounded to half precision.
#![expect(unsafe_code, reason = "intrinsics; each block states why it is sound")]

use super::super::strips::Strip;
use super::features::has_avx512;
use super::lanes::{SINGLE, transposed, whole_rows};
use std::arch::x86_64::*;

/// Rows and columns of a block: a column of it is one cache line of the result.
const BLOCK: usize = 32;

/// Transposes and rounds 32 rows; see [`crate::simd::narrow_transposed`].
pub(crate) fn narrow_transposed(from: &[f32], columns: usize, to: &mut Strip<'_>) -> usize {
    let blocks = columns / BLOCK;
    assert!(has_avx512() && from.len() >= BLOCK * columns);
    assert!(to.width() == BLOCK && to.rows() >= columns);
    let past = to.is_aligned(64);
    for first in (0..blocks).map(|b| b * BLOCK) {
        // SAFETY: the instructions exist; 32 rows have 32 elements from `first` on.
        unsafe {
            match past {
                true => block::<true>(from[first..].as_ptr(), columns, to, first),
                false => block::<false>(from[first..].as_ptr(), columns, to, first),
            }
        }
    }
    if past {
        // SAFETY: every processor with AVX-512 has it. Stores past the cache are seen by others only after it.
        unsafe { _mm_sfence() };
    }
    blocks * BLOCK
}

/// One block, to rows of `to` from `first` on. `PAST`: stores bypass the cache, where rows begin at multiples of 64
/// bytes: they are not read soon, and lines written whole need not be fetched.
///
/// # Safety
/// 32 rows of 32 elements with stride `stride` are in bounds.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn block<const PAST: bool>(from: *const f32, stride: usize, to: &mut Strip<'_>, first: usize) {
    for x in [0, 16] {
        // SAFETY: rows 0 to 31 from columns x to x + 15 are there.
        let (high, low) = unsafe {
            let high = transposed(whole_rows::<f32, SINGLE>(from.add(x), stride, 16));
            (high, transposed(whole_rows::<f32, SINGLE>(from.add(16 * stride + x), stride, 16)))
        };
        for (i, (high, low)) in high.into_iter().zip(low).enumerate() {
            let half = [high, low].map(|x| _mm512_cvtps_ph::<{ _MM_FROUND_TO_NEAREST_INT }>(x));
            let line = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(half[0]), half[1]);
            let to = to.row(first + x + i);
            // SAFETY: the strip is 32 wide, and rows begin at multiples of 64 bytes if they go past the cache.
            unsafe {
                match PAST {
                    true => _mm512_stream_si512(to.as_mut_ptr().cast(), line),
                    false => _mm512_storeu_si512(to.as_mut_ptr().cast(), line),
                }
            }
        }
    }
}
