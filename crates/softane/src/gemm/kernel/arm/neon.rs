//! f32 with NEON: a tile is computed in strips of 8 columns, 24 registers of sums each.
#![expect(unsafe_code, reason = "intrinsics; each block states why it is sound")]

use super::super::epilogue;
use super::super::format::SINGLE;
use super::super::record::{Blocks, Lhs, MicroKernel, RowMajor, Tile};
use super::pack;
use super::tile::{COLS, ROW_STRIDE, ROWS};
use crate::numerics::MatmulPrecision;
use std::arch::aarch64::*;

/// Multiply-adds in f32.
pub(crate) const NEON_F32: MicroKernel = MicroKernel {
    name: "neon-f32",
    numerics: MatmulPrecision::F32.numerics(),
    tile: Tile { mr: ROWS, nr: COLS, k_step: 1 },
    lhs: SINGLE,
    rhs: SINGLE,
    alignment: 4,
    blocks: Blocks::VECTORS,
    unit: None,
    // Every arm64 processor has NEON.
    available: || true,
    preferred: || true,
    pack_lhs: pack::pack::<ROWS>,
    pack_rhs: pack::pack::<COLS>,
    row_major: Some(RowMajor { stride: ROW_STRIDE, pack: pack::pack_rows }),
    run,
    store_f32: epilogue::store::<f32, COLS>,
    store_f16: epilogue::store::<half::f16, COLS>,
};

/// Columns of a strip: two registers.
const STRIP: usize = 8;

fn run(steps: usize, left: Lhs<'_>, right: &[f32], tile: &mut [f32]) {
    assert!(right.len() >= steps * COLS && tile.len() == ROWS * COLS, "a panel is too short");
    for strip in (0..COLS).step_by(STRIP) {
        let right = &right[strip.min(right.len())..];
        // SAFETY: every arm64 processor has NEON; the lengths are checked before each pointer is taken, and the strip
        // begins within each step.
        let sums = unsafe {
            match left {
                Lhs::Packed(left) => {
                    assert!(left.len() >= steps * ROWS, "a panel is too short");
                    strip_of::<1, ROWS>(steps, left.as_ptr(), right.as_ptr())
                }
                Lhs::RowMajor(left) => {
                    assert!(
                        steps == 0 || left.len() >= (ROWS - 1) * ROW_STRIDE + steps,
                        "a panel is too short"
                    );
                    strip_of::<ROW_STRIDE, 1>(steps, left.as_ptr(), right.as_ptr())
                }
            }
        };
        for (sums, row) in sums.iter().zip(tile.as_chunks_mut::<COLS>().0) {
            let to = &mut row[strip..][..STRIP];
            // SAFETY: the strip has eight elements in each row.
            unsafe {
                vst1q_f32(to.as_mut_ptr(), sums[0]);
                vst1q_f32(to.as_mut_ptr().add(4), sums[1]);
            }
        }
    }
}

/// Computes one strip; the left side has row stride `ROW` and step stride `STEP`, in words.
///
/// # Safety
/// The pointers lead to `steps` steps each; eight words of each step of the right side are read.
#[target_feature(enable = "neon")]
unsafe fn strip_of<const ROW: usize, const STEP: usize>(
    steps: usize,
    left: *const f32,
    right: *const f32,
) -> [[float32x4_t; 2]; ROWS] {
    let mut sums = [[vdupq_n_f32(0.0); 2]; ROWS];
    for step in 0..steps {
        // SAFETY: this step is one of `steps`.
        unsafe {
            let (left, right) = (left.add(step * STEP), right.add(step * COLS));
            let columns = [vld1q_f32(right), vld1q_f32(right.add(4))];
            for (i, sum) in sums.iter_mut().enumerate() {
                let x = vld1q_dup_f32(left.add(i * ROW));
                sum[0] = vfmaq_f32(sum[0], x, columns[0]);
                sum[1] = vfmaq_f32(sum[1], x, columns[1]);
            }
        }
    }
    sums
}
