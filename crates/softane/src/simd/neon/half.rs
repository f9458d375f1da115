//! Half precision to single and back, to nearest, ties to even: the mode that Rust programs run in.
//!
//! Each function processes whole registers and returns the remaining elements.
#![expect(unsafe_code, reason = "intrinsics; each block states why it is sound")]

use std::arch::aarch64::*;

/// Elements of a register.
const LANES: usize = 4;

/// Widens the bits of f16; both slices are equally long.
pub(crate) fn widen<'a>(from: &'a [u16], to: &'a mut [f32]) -> (&'a [u16], &'a mut [f32]) {
    let ((from, from_tail), (to, to_tail)) = (from.as_chunks::<LANES>(), to.as_chunks_mut::<LANES>());
    for (from, to) in from.iter().zip(to) {
        // SAFETY: every arm64 processor has NEON; both arrays have four elements.
        unsafe { vst1q_f32(to.as_mut_ptr(), vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(from.as_ptr())))) };
    }
    (from_tail, to_tail)
}

/// Rounds to the bits of f16; both slices are equally long.
pub(crate) fn narrow<'a>(from: &'a [f32], to: &'a mut [u16]) -> (&'a [f32], &'a mut [u16]) {
    let ((from, from_tail), (to, to_tail)) = (from.as_chunks::<LANES>(), to.as_chunks_mut::<LANES>());
    for (from, to) in from.iter().zip(to) {
        // SAFETY: as in `widen`.
        unsafe { vst1_u16(to.as_mut_ptr(), vreinterpret_u16_f16(vcvt_f16_f32(vld1q_f32(from.as_ptr())))) };
    }
    (from_tail, to_tail)
}

/// Rounds to the nearest values that f16 can represent.
pub(crate) fn round(values: &mut [f32]) -> &mut [f32] {
    let (blocks, tail) = values.as_chunks_mut::<LANES>();
    for block in blocks {
        // SAFETY: as in `widen`.
        unsafe { vst1q_f32(block.as_mut_ptr(), vcvt_f32_f16(vcvt_f16_f32(vld1q_f32(block.as_ptr())))) };
    }
    tail
}
