//! Transposes of blocks of 8 × 8 with AVX2.
#![expect(unsafe_code, reason = "intrinsics; each block states why it is sound")]

use super::super::isa::has_avx2;
use super::super::strips::Strip;
use super::half::narrowed;
use std::arch::x86_64::*;

/// Rows of a strip's source: a column of it is one cache line of the result.
const BLOCK: usize = 32;

/// Elements of a register.
const LANES: usize = 8;

/// Transposes and rounds 32 rows; see [`crate::simd::narrow_transposed`].
pub(crate) fn narrow_transposed(from: &[f32], columns: usize, to: &mut Strip<'_>) -> usize {
    let whole = columns / LANES * LANES;
    assert!(has_avx2() && from.len() >= BLOCK * columns);
    assert!(to.width() == BLOCK && to.rows() >= columns);
    let past = to.is_aligned(64);
    for first in (0..whole).step_by(LANES) {
        // SAFETY: the instructions exist; 32 rows have eight elements from `first` on.
        unsafe {
            match past {
                true => columns_of::<true>(from[first..].as_ptr(), columns, to, first),
                false => columns_of::<false>(from[first..].as_ptr(), columns, to, first),
            }
        }
    }
    if past {
        // SAFETY: every x86-64 processor has it. Stores past the cache are seen by others only after it.
        unsafe { _mm_sfence() };
    }
    whole
}

/// Eight columns, to rows of `to` from `first` on. `PAST`: stores bypass the cache, where rows begin at multiples of 64
/// bytes: they are not read soon, and lines written whole need not be fetched.
///
/// # Safety
/// 32 rows of eight elements with stride `stride` are in bounds.
#[target_feature(enable = "avx2,f16c")]
unsafe fn columns_of<const PAST: bool>(from: *const f32, stride: usize, to: &mut Strip<'_>, first: usize) {
    let mut lines = [[_mm_setzero_si128(); BLOCK / LANES]; LANES];
    for part in 0..BLOCK / LANES {
        let mut rows = [_mm256_setzero_ps(); LANES];
        for (i, row) in rows.iter_mut().enumerate() {
            // SAFETY: the caller vouches for the row.
            *row = unsafe { _mm256_loadu_ps(from.add((part * LANES + i) * stride)) };
        }
        for (line, column) in lines.iter_mut().zip(transposed(rows)) {
            line[part] = narrowed(column);
        }
    }
    for (i, line) in lines.into_iter().enumerate() {
        let to = to.row(first + i);
        for (to, half) in to.as_chunks_mut::<LANES>().0.iter_mut().zip(line) {
            // SAFETY: the array has 16 bytes, and begins at a multiple of that if the store goes past the cache.
            unsafe {
                match PAST {
                    true => _mm_stream_si128(to.as_mut_ptr().cast(), half),
                    false => _mm_storeu_si128(to.as_mut_ptr().cast(), half),
                }
            }
        }
    }
}

/// The transpose of 8 × 8 words.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn transposed(r: [__m256; LANES]) -> [__m256; LANES] {
    // Pairs of rows, then fours, within each half of a register; then the halves.
    let pairs = |a, b| (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
    let ((a0, a1), (a2, a3), (a4, a5), (a6, a7)) =
        (pairs(r[0], r[1]), pairs(r[2], r[3]), pairs(r[4], r[5]), pairs(r[6], r[7]));
    let fours = |a, b| (_mm256_shuffle_ps::<0x44>(a, b), _mm256_shuffle_ps::<0xEE>(a, b));
    let ((b0, b1), (b2, b3), (b4, b5), (b6, b7)) =
        (fours(a0, a2), fours(a1, a3), fours(a4, a6), fours(a5, a7));
    let low = |a, b| _mm256_permute2f128_ps::<0x20>(a, b);
    let high = |a, b| _mm256_permute2f128_ps::<0x31>(a, b);
    [
        low(b0, b4),
        low(b1, b5),
        low(b2, b6),
        low(b3, b7),
        high(b0, b4),
        high(b1, b5),
        high(b2, b6),
        high(b3, b7),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::strips::strips;
    use half::f16;
    use rayon::iter::ParallelIterator;

    /// Whole blocks of columns, at a cache line and beside one; the other columns are left to the caller.
    #[test]
    fn strips_are_transposed_and_rounded() {
        if !has_avx2() {
            return println!("not run: no AVX2");
        }
        for columns in [3, 8, 21, 64] {
            let from: Vec<f32> = (0..BLOCK * columns).map(|i| i as f32 / 3.0).collect();
            let mut memory = vec![f16::ZERO; from.len() + 2 * BLOCK];
            let line = memory.as_ptr().align_offset(64);
            for start in [line, line + 1] {
                let to = &mut memory[start..start + from.len()];
                to.fill(f16::ZERO);
                strips(to, (columns, BLOCK, BLOCK), BLOCK).for_each(|mut strip| {
                    assert_eq!(narrow_transposed(&from, columns, &mut strip), columns / LANES * LANES);
                });
                for (at, &x) in to.iter().enumerate() {
                    let (column, row) = (at / BLOCK, at % BLOCK);
                    let want =
                        if column < columns / LANES * LANES { from[row * columns + column] } else { 0.0 };
                    assert_eq!(x, f16::from_f32(want), "column {column}, row {row} of {columns}");
                }
            }
        }
    }
}
