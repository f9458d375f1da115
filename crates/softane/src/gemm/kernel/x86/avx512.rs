//! f32 with AVX-512: multiply-adds.
#![expect(unsafe_code, reason = "intrinsics; each block states why it is sound")]

use super::super::format::SINGLE;
use super::super::record::{Blocks, Lhs, MicroKernel, RowMajor, Tile};
use super::tile512::{COLS, Left, ROW_STRIDE, ROWS, Sums, operands, prefetch, store};
use super::{epilogue, pack};
use crate::numerics::MatmulPrecision;
use crate::simd::x86::has_avx512;
use std::arch::x86_64::*;

/// Multiply-adds in f32.
pub(crate) const AVX512_F32: MicroKernel = MicroKernel {
    name: "avx512-f32",
    numerics: MatmulPrecision::F32.numerics(),
    tile: Tile { mr: ROWS, nr: COLS, k_step: 1 },
    lhs: SINGLE,
    rhs: SINGLE,
    alignment: 4,
    blocks: Blocks::VECTORS,
    unit: None,
    available: has_avx512,
    preferred: || true,
    pack_lhs: pack::single::<ROWS>,
    pack_rhs: pack::single::<COLS>,
    row_major: Some(RowMajor { stride: ROW_STRIDE, pack: pack::single_rows }),
    run,
    store_f32: epilogue::store_f32,
    store_f16: epilogue::store_f16,
};

fn run(depth: usize, lhs: Lhs<'_>, rhs: &[f32], tile: &mut [f32]) {
    assert!(has_avx512());
    let (lhs, rhs, tile) = operands(depth, lhs, rhs, tile);
    // SAFETY: the instructions exist; `operands` has checked that `depth` steps are there.
    unsafe {
        match lhs {
            Left::Packed(lhs) => multiply::<1, ROWS>(depth, lhs, rhs, tile),
            Left::RowMajor(lhs) => multiply::<ROW_STRIDE, 1>(depth, lhs, rhs, tile),
        }
    }
}

/// Multiplies panels; the left side has row stride `ROW` and step stride `STEP`, in words.
///
/// # Safety
/// The pointers lead to `steps` steps each.
#[target_feature(enable = "avx512f")]
unsafe fn multiply<const ROW: usize, const STEP: usize>(
    steps: usize,
    mut left: *const f32,
    mut right: *const f32,
    tile: &mut Sums,
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
