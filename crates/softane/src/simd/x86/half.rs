//! Half precision to single and back with AVX-512 and F16C, to nearest, ties to even.
//!
//! Each function processes whole registers and returns the remaining elements.
#![expect(unsafe_code, reason = "intrinsics; each block states why it is sound")]

use super::{half512, has_avx2, has_avx512};
use std::arch::x86_64::*;

/// Elements of a register.
const LANES: usize = 8;

/// Widens the bits of f16; both slices are equally long.
pub(crate) fn widen<'a>(from: &'a [u16], to: &'a mut [f32]) -> (&'a [u16], &'a mut [f32]) {
    let (from, to) = if has_avx512() { half512::widen(from, to) } else { (from, to) };
    if !has_avx2() {
        return (from, to);
    }
    let ((from, from_tail), (to, to_tail)) = (from.as_chunks::<LANES>(), to.as_chunks_mut::<LANES>());
    // SAFETY: the instructions exist.
    unsafe { widen_blocks(from, to) };
    (from_tail, to_tail)
}

#[target_feature(enable = "avx2,f16c")]
fn widen_blocks(from: &[[u16; LANES]], to: &mut [[f32; LANES]]) {
    for (from, to) in from.iter().zip(to) {
        // SAFETY: both arrays have eight elements.
        unsafe { _mm256_storeu_ps(to.as_mut_ptr(), _mm256_cvtph_ps(_mm_loadu_si128(from.as_ptr().cast()))) };
    }
}

/// Rounds to the bits of f16; both slices are equally long.
pub(crate) fn narrow<'a>(from: &'a [f32], to: &'a mut [u16]) -> (&'a [f32], &'a mut [u16]) {
    let (from, to) = if has_avx512() { half512::narrow(from, to) } else { (from, to) };
    if !has_avx2() {
        return (from, to);
    }
    let ((from, from_tail), (to, to_tail)) = (from.as_chunks::<LANES>(), to.as_chunks_mut::<LANES>());
    // SAFETY: the instructions exist.
    unsafe { narrow_blocks(from, to) };
    (from_tail, to_tail)
}

#[target_feature(enable = "avx2,f16c")]
fn narrow_blocks(from: &[[f32; LANES]], to: &mut [[u16; LANES]]) {
    for (from, to) in from.iter().zip(to) {
        // SAFETY: both arrays have eight elements.
        unsafe { _mm_storeu_si128(to.as_mut_ptr().cast(), narrowed(_mm256_loadu_ps(from.as_ptr()))) };
    }
}

/// Rounds to the nearest values that f16 can represent.
pub(crate) fn round(values: &mut [f32]) -> &mut [f32] {
    let values = if has_avx512() { half512::round(values) } else { values };
    if !has_avx2() {
        return values;
    }
    let (blocks, tail) = values.as_chunks_mut::<LANES>();
    // SAFETY: the instructions exist.
    unsafe { round_blocks(blocks) };
    tail
}

#[target_feature(enable = "avx2,f16c")]
fn round_blocks(blocks: &mut [[f32; LANES]]) {
    for block in blocks {
        // SAFETY: the array has eight elements.
        unsafe {
            let half = narrowed(_mm256_loadu_ps(block.as_ptr()));
            _mm256_storeu_ps(block.as_mut_ptr(), _mm256_cvtph_ps(half));
        }
    }
}

/// Eight numbers rounded to half precision.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(super) fn narrowed(x: __m256) -> __m128i {
    _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(x)
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::f16;

    /// As `half` does it: every f16, and f32 around ties, overflow and subnormals, with the widest registers and in
    /// pieces of one of AVX2's. The tail is left to the caller.
    #[test]
    fn conversions_agree_with_the_library() {
        if !has_avx2() {
            return println!("not run: no AVX2");
        }
        let all: Vec<u16> = (0..=u16::MAX).chain([0; 3]).collect();
        let singles: Vec<f32> = (0..512u32)
            .flat_map(|e| [0, 1, 0xFFF, 0x1000, 0x1001, 0x2FFF, 0x3000, 0x3001].map(|m| e << 23 | m))
            .map(f32::from_bits)
            .collect();
        let wants = |x: f32, want: f32| x.to_bits() == want.to_bits() || x.is_nan() && want.is_nan();
        for piece in [all.len(), LANES] {
            let mut wide = vec![0.0; all.len()];
            for (from, to) in all.chunks(piece).zip(wide.chunks_mut(piece)) {
                assert_eq!(widen(from, to).0.len(), from.len() % LANES);
            }
            for (&h, &x) in all.iter().zip(&wide).take(1 << 16) {
                assert!(wants(x, f16::from_bits(h).to_f32()), "{h:#x}");
            }
            let (mut to, mut rounded) = (vec![0; singles.len()], singles.clone());
            for (from, to) in singles.chunks(piece).zip(to.chunks_mut(piece)) {
                assert!(narrow(from, to).0.is_empty());
            }
            assert!(rounded.chunks_mut(piece).all(|values| round(values).is_empty()));
            for ((&x, &h), &r) in singles.iter().zip(&to).zip(&rounded) {
                let want = f16::from_f32(x).to_f32();
                assert!(wants(f16::from_bits(h).to_f32(), want) && wants(r, want), "{x:e}");
            }
        }
    }
}
