//! Dot products of the rows of a matrix with a few vectors, widened as they are loaded: the matrix is read once.
#![expect(unsafe_code, reason = "intrinsics; each block states why it is sound")]

use super::super::prefetch;
use super::lanes::Lanes;
use std::arch::x86_64::*;

/// Elements after which a sum is complete, as in `gemm::vector`.
pub(super) const CHUNK: usize = 1024;

/// Adds the dot products of the rows of `matrix`, `[rows, k]` with stride `stride`, and each of `vectors`, `[few, k]`, to `sums`,
/// `[few, rows]`.
///
/// Numerics: 32 partial sums that are joined pairwise, products rounded: the bits of `gemm::vector`'s loops.
///
/// # Panics
/// If a slice is too short, or there is no AVX-512.
pub(crate) fn dot_rows<T: Lanes>(
    matrix: &[T],
    (stride, k): (usize, usize),
    vectors: &[f32],
    sums: &mut [f32],
) {
    let few = vectors.len() / k.max(1);
    let rows = sums.len() / few.max(1);
    assert!(super::has_avx512() && sums.len() == few * rows, "sums of {few} vectors");
    for (four, sums) in vectors.chunks(4 * k.max(1)).zip(sums.chunks_mut(4 * rows)) {
        let x = |v: usize| &four[v * k..][..k];
        match four.len() / k.max(1) {
            1 => group::<T, 4, 1>(matrix, (stride, rows), [x(0)], sums),
            2 => group::<T, 2, 2>(matrix, (stride, rows), [x(0), x(1)], sums),
            3 => group::<T, 2, 3>(matrix, (stride, rows), [x(0), x(1), x(2)], sums),
            _ => group::<T, 2, 4>(matrix, (stride, rows), [x(0), x(1), x(2), x(3)], sums),
        }
    }
}

/// The same for V vectors, R rows at a time.
fn group<T: Lanes, const R: usize, const V: usize>(
    matrix: &[T],
    (stride, rows): (usize, usize),
    vectors: [&[f32]; V],
    sums: &mut [f32],
) {
    let k = vectors[0].len();
    for row in (0..rows).step_by(R) {
        let count = R.min(rows - row);
        for first in (0..k).step_by(CHUNK) {
            let len = CHUNK.min(k - first);
            // With fewer rows the last one takes the place of the others.
            let line = |i: usize| &matrix[(row + i.min(count - 1)) * stride + first..][..len];
            let xs = vectors.map(|x| &x[first..first + len]);
            // SAFETY: `dot_rows` has checked for AVX-512.
            let dots = unsafe { block::<T, R, V>(std::array::from_fn(line), xs, R * stride) };
            for (v, dots) in dots.iter().enumerate() {
                let sums = &mut sums[v * rows + row..][..count];
                sums.iter_mut().zip(dots).for_each(|(sum, dot)| *sum += dot);
            }
        }
    }
}

/// The dot products of R rows and V vectors, all of one length; prefetches what is `ahead` elements after each row.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn block<T: Lanes, const R: usize, const V: usize>(
    rows: [&[T]; R],
    xs: [&[f32]; V],
    ahead: usize,
) -> [[f32; R]; V] {
    let n = rows[0].len();
    assert!(rows.iter().all(|row| row.len() == n) && xs.iter().all(|x| x.len() == n), "rows of {n}");
    let mut sums = [[[_mm512_setzero_ps(); 2]; R]; V];
    let whole = n - n % 32;
    for at in (0..whole).step_by(32) {
        // A line of fp16 is 32 elements.
        for row in rows {
            prefetch(row, at + ahead);
        }
        for half in 0..2 {
            let at = at + 16 * half;
            // SAFETY: all slices have 16 elements from `at` on.
            let xs = xs.map(|x| unsafe { _mm512_loadu_ps(x.as_ptr().add(at)) });
            for (r, row) in rows.iter().enumerate() {
                // SAFETY: as above.
                let row = unsafe { T::load(row.as_ptr().add(at)) };
                for (sums, x) in sums.iter_mut().zip(xs) {
                    sums[r][half] = _mm512_add_ps(sums[r][half], _mm512_mul_ps(x, row));
                }
            }
        }
    }
    for half in 0..2 {
        let at = whole + 16 * half;
        if at >= n {
            break;
        }
        let mask = (!0u16) >> (16 - (n - at).min(16));
        for (r, row) in rows.iter().enumerate() {
            // SAFETY: the slices have the elements of the mask from `at` on.
            let row = unsafe { T::load_some(row.as_ptr().add(at), mask) };
            for (sums, x) in sums.iter_mut().zip(xs) {
                // SAFETY: as above.
                let x = unsafe { _mm512_maskz_loadu_ps(mask, x.as_ptr().add(at)) };
                let sum = sums[r][half];
                sums[r][half] = _mm512_mask_add_ps(sum, mask, sum, _mm512_mul_ps(x, row));
            }
        }
    }
    sums.map(|sums| sums.map(|[low, high]| joined(_mm512_add_ps(low, high))))
}

/// The sum of 16 lanes, joined pairwise.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn joined(x: __m512) -> f32 {
    let high = _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(x)));
    let eight = _mm256_add_ps(_mm512_castps512_ps256(x), high);
    let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
}
