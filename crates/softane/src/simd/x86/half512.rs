//! Half precision to single and back with AVX-512, to nearest, ties to even.
//!
//! Each function processes whole registers and returns the remaining elements. Call them only where AVX-512 is.
#![expect(unsafe_code, reason = "intrinsics; each block states why it is sound")]

use super::has_avx512;
use std::arch::x86_64::*;

/// Elements of a register.
const LANES: usize = 16;

/// Widens the bits of f16; both slices are equally long.
pub(super) fn widen<'a>(from: &'a [u16], to: &'a mut [f32]) -> (&'a [u16], &'a mut [f32]) {
    assert!(has_avx512());
    let ((from, from_tail), (to, to_tail)) = (from.as_chunks::<LANES>(), to.as_chunks_mut::<LANES>());
    // SAFETY: the instructions exist.
    unsafe { widen_blocks(from, to) };
    (from_tail, to_tail)
}

#[target_feature(enable = "avx512f")]
fn widen_blocks(from: &[[u16; LANES]], to: &mut [[f32; LANES]]) {
    for (from, to) in from.iter().zip(to) {
        // SAFETY: both arrays have sixteen elements.
        unsafe {
            _mm512_storeu_ps(to.as_mut_ptr(), _mm512_cvtph_ps(_mm256_loadu_si256(from.as_ptr().cast())))
        };
    }
}

/// Rounds to the bits of f16; both slices are equally long.
pub(super) fn narrow<'a>(from: &'a [f32], to: &'a mut [u16]) -> (&'a [f32], &'a mut [u16]) {
    assert!(has_avx512());
    let ((from, from_tail), (to, to_tail)) = (from.as_chunks::<LANES>(), to.as_chunks_mut::<LANES>());
    // SAFETY: the instructions exist.
    unsafe { narrow_blocks(from, to) };
    (from_tail, to_tail)
}

#[target_feature(enable = "avx512f")]
fn narrow_blocks(from: &[[f32; LANES]], to: &mut [[u16; LANES]]) {
    for (from, to) in from.iter().zip(to) {
        // SAFETY: both arrays have sixteen elements.
        unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), narrowed(_mm512_loadu_ps(from.as_ptr()))) };
    }
}

/// Rounds to the nearest values that f16 can represent.
pub(super) fn round(values: &mut [f32]) -> &mut [f32] {
    assert!(has_avx512());
    let (blocks, tail) = values.as_chunks_mut::<LANES>();
    // SAFETY: the instructions exist.
    unsafe { round_blocks(blocks) };
    tail
}

#[target_feature(enable = "avx512f")]
fn round_blocks(blocks: &mut [[f32; LANES]]) {
    for block in blocks {
        // SAFETY: the array has sixteen elements.
        unsafe {
            let half = narrowed(_mm512_loadu_ps(block.as_ptr()));
            _mm512_storeu_ps(block.as_mut_ptr(), _mm512_cvtph_ps(half));
        }
    }
}

/// Sixteen numbers rounded to half precision.
#[inline]
#[target_feature(enable = "avx512f")]
fn narrowed(x: __m512) -> __m256i {
    _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(x)
}
