//! The loops that multiply packed panels: 24 registers of sums.
#![expect(unsafe_code, reason = "intrinsics: each block says what makes it sound")]

use super::super::tile::{COLS, Lhs, PackFormat, ROW_STRIDE, ROWS, TILE};
use super::{has, scaled};
use std::arch::x86_64::*;

/// Steps that the right side is asked for ahead of its use: some 300 cycles, as long as the third-level cache takes.
const AHEAD: usize = 24;

/// Multiplies packed panels; see [`crate::simd::tile::multiply`].
pub(crate) fn multiply(form: PackFormat, steps: usize, left: Lhs<'_>, right: &[f32], tile: &mut [f32; TILE]) {
    assert!(has(form) && right.len() >= steps * COLS, "a panel is too short");
    // SAFETY: `has` says that the instructions exist; the lengths are checked before each pointer is taken.
    unsafe {
        match left {
            Lhs::Packed(left) => {
                assert!(left.len() >= steps * ROWS, "a panel is too short");
                multiply_as::<1, ROWS>(form, steps, left.as_ptr(), right.as_ptr(), tile);
            }
            Lhs::RowMajor(left) => {
                assert!(steps == 0 || left.len() >= (ROWS - 1) * ROW_STRIDE + steps, "a panel is too short");
                multiply_as::<ROW_STRIDE, 1>(form, steps, left.as_ptr(), right.as_ptr(), tile);
            }
        }
    }
}

/// Multiplies panels whose left side has its rows `ROW` words apart, and the steps of one row `STEP`.
///
/// # Safety
/// What `form` needs exists, and the pointers lead to `steps` steps each.
unsafe fn multiply_as<const ROW: usize, const STEP: usize>(
    form: PackFormat,
    steps: usize,
    left: *const f32,
    right: *const f32,
    tile: &mut [f32; TILE],
) {
    // SAFETY: the caller vouches for both.
    unsafe {
        match form {
            PackFormat::Single | PackFormat::Rounded => {
                multiply_single::<ROW, STEP>(steps, left, right, tile)
            }
            PackFormat::Pairs => multiply_pairs::<ROW, STEP>(steps, left, right, tile),
            PackFormat::Scaled => scaled::multiply::<ROW, STEP>(steps, left, right, tile),
        }
    }
}

/// # Safety
/// The pointers lead to `steps` steps each.
#[target_feature(enable = "avx512f")]
unsafe fn multiply_single<const ROW: usize, const STEP: usize>(
    steps: usize,
    mut left: *const f32,
    mut right: *const f32,
    tile: &mut [f32; TILE],
) {
    let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
    for _ in 0..steps {
        // SAFETY: this step is one of `steps`.
        unsafe {
            let columns = [_mm512_loadu_ps(right), _mm512_loadu_ps(right.add(16))];
            prefetch(right);
            for (i, sum) in sums.iter_mut().enumerate() {
                let x = _mm512_set1_ps(*left.add(i * ROW));
                sum[0] = _mm512_fmadd_ps(x, columns[0], sum[0]);
                sum[1] = _mm512_fmadd_ps(x, columns[1], sum[1]);
            }
            left = left.add(STEP);
            right = right.add(COLS);
        }
    }
    store(&sums, tile);
}

/// # Safety
/// The pointers lead to `steps` steps each.
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn multiply_pairs<const ROW: usize, const STEP: usize>(
    steps: usize,
    mut left: *const f32,
    mut right: *const f32,
    tile: &mut [f32; TILE],
) {
    // SAFETY: both types are 512 bits of anything.
    let pairs = |x: __m512| unsafe { std::mem::transmute::<__m512, __m512bh>(x) };
    let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
    for _ in 0..steps {
        // SAFETY: this step is one of `steps`.
        unsafe {
            let columns = [pairs(_mm512_loadu_ps(right)), pairs(_mm512_loadu_ps(right.add(16)))];
            prefetch(right);
            for (i, sum) in sums.iter_mut().enumerate() {
                let x = pairs(_mm512_set1_ps(*left.add(i * ROW)));
                sum[0] = _mm512_dpbf16_ps(sum[0], x, columns[0]);
                sum[1] = _mm512_dpbf16_ps(sum[1], x, columns[1]);
            }
            left = left.add(STEP);
            right = right.add(COLS);
        }
    }
    store(&sums, tile);
}

/// Asks for the step of the right side that comes [`AHEAD`] steps later.
#[inline(always)]
pub(super) fn prefetch(right: *const f32) {
    let later = right.wrapping_add(AHEAD * COLS);
    // SAFETY: a prefetch reads nothing: any address will do.
    unsafe {
        _mm_prefetch::<_MM_HINT_T0>(later.cast());
        _mm_prefetch::<_MM_HINT_T0>(later.wrapping_add(16).cast());
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store(sums: &[[__m512; 2]; ROWS], tile: &mut [f32; TILE]) {
    for (sum, to) in sums.iter().zip(tile.as_chunks_mut::<COLS>().0) {
        // SAFETY: a row of the tile has 32 elements.
        unsafe {
            _mm512_storeu_ps(to.as_mut_ptr(), sum[0]);
            _mm512_storeu_ps(to.as_mut_ptr().add(16), sum[1]);
        }
    }
}
