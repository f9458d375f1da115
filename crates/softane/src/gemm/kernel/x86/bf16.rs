//! bf16 with AVX-512: pairs of factors in a word, multiplied and summed in f32 by `vdpbf16ps`. Where that instruction is
//! slow, factors are rounded to bf16 and multiplied in f32.
#![expect(unsafe_code, reason = "intrinsics; each block states why it is sound")]

use super::super::format::PAIRS;
use super::super::record::{Lhs, MicroKernel, RowMajor, Tile};
use super::super::x86_format::ROUNDED;
use super::avx512::AVX512_F32;
use super::pack;
use super::tile512::{COLS, Left, ROW_STRIDE, ROWS, Sums, operands, prefetch, store};
use crate::numerics::MatmulPrecision;
use crate::simd::x86::has_avx512_bf16;
use std::arch::x86_64::*;

/// Pairs of bf16 in a word.
pub(crate) const AVX512_BF16: MicroKernel = MicroKernel {
    name: "avx512-bf16",
    numerics: MatmulPrecision::Bf16.numerics(),
    tile: Tile { k_step: 2, ..AVX512_F32.tile },
    lhs: PAIRS,
    rhs: PAIRS,
    available: has_avx512_bf16,
    preferred: || !is_intel(),
    pack_lhs: pack::pairs::<ROWS>,
    pack_rhs: pack::pairs::<COLS>,
    row_major: Some(RowMajor { stride: ROW_STRIDE, pack: pack::pairs_rows }),
    run,
    ..AVX512_F32
};

/// Factors rounded to bf16, multiplied in f32: for processors whose `vdpbf16ps` is slow.
pub(crate) const AVX512_BF16_ROUNDED: MicroKernel = MicroKernel {
    name: "avx512-bf16-rounded",
    numerics: MatmulPrecision::Bf16.numerics(),
    lhs: ROUNDED,
    rhs: ROUNDED,
    available: has_avx512_bf16,
    pack_lhs: pack::rounded::<ROWS>,
    pack_rhs: pack::rounded::<COLS>,
    row_major: Some(RowMajor { stride: ROW_STRIDE, pack: pack::rounded_rows }),
    ..AVX512_F32
};

/// Whether this is an Intel processor: `vdpbf16ps` does half of what multiply-adds do there (Emerald Rapids: 82 and 150
/// GFLOP/s, measured), twice as much on AMD's (Zen 5: 547 and 265).
fn is_intel() -> bool {
    let vendor = __cpuid(0);
    [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes).concat() == b"GenuineIntel"
}

fn run(depth: usize, lhs: Lhs<'_>, rhs: &[f32], tile: &mut [f32]) {
    assert!(has_avx512_bf16());
    let steps = (PAIRS.steps)(depth);
    let (lhs, rhs, tile) = operands(steps, lhs, rhs, tile);
    // SAFETY: the instructions exist; `operands` has checked that the steps are there.
    unsafe {
        match lhs {
            Left::Packed(lhs) => multiply::<1, ROWS>(steps, lhs, rhs, tile),
            Left::RowMajor(lhs) => multiply::<ROW_STRIDE, 1>(steps, lhs, rhs, tile),
        }
    }
}

/// Multiplies panels; the left side has row stride `ROW` and step stride `STEP`, in words.
///
/// # Safety
/// The pointers lead to `steps` steps each.
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn multiply<const ROW: usize, const STEP: usize>(
    steps: usize,
    mut left: *const f32,
    mut right: *const f32,
    tile: &mut Sums,
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
