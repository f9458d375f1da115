//! Transposes.
#![expect(unsafe_code, reason = "intrinsics: each block says what makes it sound")]

use super::super::tile::Form;
use super::has;
use super::lanes::{SINGLE, turned, whole_rows};
use half::f16;
use std::arch::x86_64::*;

/// Turns and rounds 32 × 32 elements; see [`crate::simd::narrow_turned`].
pub(crate) fn narrow_turned(from: &[f32], stride: usize, to: &mut [f16], to_stride: usize) {
    let (from, to) = (&from[..31 * stride + 32], &mut to[..31 * to_stride + 32]);
    assert!(has(Form::Single) && stride >= 32 && to_stride >= 32);
    // SAFETY: `has` says that the instructions exist; 32 rows have 32 elements each, in `from` as in `to`.
    unsafe { narrow_turned_with(from.as_ptr(), stride, to.as_mut_ptr(), to_stride) }
}

/// # Safety
/// 32 rows of 32 elements begin `stride` and `to_stride` apart.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn narrow_turned_with(from: *const f32, stride: usize, to: *mut f16, to_stride: usize) {
    for x in [0, 16] {
        // SAFETY: rows 0 to 31 from columns x to x + 15 are there, so are rows x to x + 15 of the result.
        unsafe {
            let high = turned(whole_rows::<f32, SINGLE>(from.add(x), stride, 16));
            let low = turned(whole_rows::<f32, SINGLE>(from.add(16 * stride + x), stride, 16));
            for (i, (high, low)) in high.into_iter().zip(low).enumerate() {
                let to = to.add((x + i) * to_stride);
                let half = [high, low].map(|x| _mm512_cvtps_ph::<{ _MM_FROUND_TO_NEAREST_INT }>(x));
                _mm256_storeu_si256(to.cast(), half[0]);
                _mm256_storeu_si256(to.add(16).cast(), half[1]);
            }
        }
    }
}
