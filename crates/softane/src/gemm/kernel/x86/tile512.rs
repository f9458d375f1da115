//! The tile of the kernels with AVX-512, 12 × 32: its sums are 24 of 32 registers.
#![expect(unsafe_code, reason = "intrinsics; each block states why it is sound")]

use super::super::record::Lhs;
use std::arch::x86_64::*;

/// Rows of the tile.
pub(super) const ROWS: usize = 12;

/// Columns of the tile: two registers.
pub(super) const COLS: usize = 32;

/// Row stride of a row-major panel, in words: 1024 steps and the words that packing writes past them. No power of
/// two, so that the rows do not compete for the same cache lines.
pub(super) const ROW_STRIDE: usize = 1040;

/// A tile in memory.
pub(super) type Sums = [[f32; COLS]; ROWS];

/// Steps that the right side is prefetched ahead of its use: some 300 cycles, the latency of the third-level cache.
const AHEAD: usize = 24;

/// The start of a panel of the left side: steps of one row have stride `ROWS`, or rows have stride [`ROW_STRIDE`], in words.
pub(super) enum Left {
    Packed(*const f32),
    RowMajor(*const f32),
}

/// The operands of a kernel of this tile as pointers to `steps` steps each.
///
/// # Panics
/// If a panel is shorter, or the tile is not one of 12 × 32.
pub(super) fn operands<'t>(
    steps: usize,
    lhs: Lhs<'_>,
    rhs: &[f32],
    tile: &'t mut [f32],
) -> (Left, *const f32, &'t mut Sums) {
    assert!(rhs.len() >= steps * COLS, "a panel is too short");
    let lhs = match lhs {
        Lhs::Packed(lhs) => {
            assert!(lhs.len() >= steps * ROWS, "a panel is too short");
            Left::Packed(lhs.as_ptr())
        }
        Lhs::RowMajor(lhs) => {
            assert!(steps == 0 || lhs.len() >= (ROWS - 1) * ROW_STRIDE + steps, "a panel is too short");
            Left::RowMajor(lhs.as_ptr())
        }
    };
    (lhs, rhs.as_ptr(), as_sums(tile))
}

/// A tile as its rows.
///
/// # Panics
/// If it is not one of 12 × 32.
fn as_sums(tile: &mut [f32]) -> &mut Sums {
    assert!(tile.len() == ROWS * COLS, "a tile of {} words for {ROWS} × {COLS}", tile.len());
    let rows = tile.as_chunks_mut::<COLS>().0;
    rows.as_mut_array::<ROWS>().expect("its length is checked")
}

/// Prefetches the step of the right side that is used [`AHEAD`] steps later.
#[inline(always)]
pub(super) fn prefetch(right: *const f32) {
    let later = right.wrapping_add(AHEAD * COLS);
    // SAFETY: a prefetch reads nothing: any address will do.
    unsafe {
        _mm_prefetch::<_MM_HINT_T0>(later.cast());
        _mm_prefetch::<_MM_HINT_T0>(later.wrapping_add(16).cast());
    }
}

/// Writes the sums in registers to the tile.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn store(sums: &[[__m512; 2]; ROWS], tile: &mut Sums) {
    for (sum, to) in sums.iter().zip(tile) {
        // SAFETY: a row of the tile has 32 elements.
        unsafe {
            _mm512_storeu_ps(to.as_mut_ptr(), sum[0]);
            _mm512_storeu_ps(to.as_mut_ptr().add(16), sum[1]);
        }
    }
}
