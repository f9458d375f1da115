//! Sums of the rows of a matrix, weighted by a few vectors: widened as they are loaded, added up in registers.
#![expect(unsafe_code, reason = "intrinsics; each block states why it is sound")]

use super::super::prefetch;
use super::lanes::Lanes;
use std::arch::x86_64::*;

/// Computes the sums of the rows of `matrix`, `[k, many]` with stride `stride`, weighted by each of `vectors`, `[few, k]`, as `sums`,
/// `[few, many]`.
///
/// Numerics: one row after the other, products rounded: the bits of `gemm::vector`'s loops.
///
/// # Panics
/// If a slice is too short, or there is no AVX-512.
pub(crate) fn combine_rows<T: Lanes>(
    matrix: &[T],
    (stride, k): (usize, usize),
    vectors: &[f32],
    sums: &mut [f32],
) {
    let few = vectors.len() / k.max(1);
    let many = sums.len() / few.max(1);
    let fits = sums.len() == few * many && (k == 0 || (k - 1) * stride + many <= matrix.len());
    assert!(super::has_avx512() && fits, "sums [{few}, {many}] of {k} rows");
    for (four, sums) in vectors.chunks(4 * k.max(1)).zip(sums.chunks_mut(4 * many)) {
        let x = |v: usize| &four[v * k..][..k];
        // SAFETY: there is AVX-512, and the matrix has k rows of `many` elements.
        unsafe {
            match four.len() / k.max(1) {
                1 => columns::<T, 1, 8>(matrix, stride, [x(0)], sums),
                2 => columns::<T, 2, 8>(matrix, stride, [x(0), x(1)], sums),
                3 => columns::<T, 3, 4>(matrix, stride, [x(0), x(1), x(2)], sums),
                _ => columns::<T, 4, 4>(matrix, stride, [x(0), x(1), x(2), x(3)], sums),
            }
        }
    }
}

/// The same for V vectors, B times 16 columns at a time.
///
/// # Safety
/// `matrix` has as many rows as a vector has elements, each as long as the sums of one.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn columns<T: Lanes, const V: usize, const B: usize>(
    matrix: &[T],
    stride: usize,
    vectors: [&[f32]; V],
    sums: &mut [f32],
) {
    let many = sums.len() / V;
    let whole = many - many % (16 * B);
    for first in (0..whole).step_by(16 * B) {
        let mut block = [[_mm512_setzero_ps(); B]; V];
        for l in 0..vectors[0].len() {
            let at = l * stride + first;
            for line in 0..B.div_ceil(2) {
                prefetch(matrix, at + 16 * B + 32 * line);
            }
            for b in 0..B {
                // SAFETY: the row has 16 elements from there on.
                let row = unsafe { T::load(matrix.as_ptr().add(at + 16 * b)) };
                for (block, x) in block.iter_mut().zip(vectors) {
                    // SAFETY: the vectors are equally long.
                    let x = _mm512_set1_ps(unsafe { *x.get_unchecked(l) });
                    block[b] = _mm512_add_ps(block[b], _mm512_mul_ps(x, row));
                }
            }
        }
        for (block, sums) in block.iter().zip(sums.chunks_exact_mut(many)) {
            for (sum, to) in block.iter().zip(sums[first..].as_chunks_mut::<16>().0) {
                // SAFETY: there are 16 sums.
                unsafe { _mm512_storeu_ps(to.as_mut_ptr(), *sum) };
            }
        }
    }
    for first in (whole..many).step_by(16) {
        let mask = (!0u16) >> (16 - (many - first).min(16));
        let mut block = [_mm512_setzero_ps(); V];
        for l in 0..vectors[0].len() {
            // SAFETY: the row has the elements of the mask.
            let row = unsafe { T::load_some(matrix.as_ptr().add(l * stride + first), mask) };
            for (sum, x) in block.iter_mut().zip(vectors) {
                *sum = _mm512_add_ps(*sum, _mm512_mul_ps(_mm512_set1_ps(x[l]), row));
            }
        }
        for (sum, sums) in block.iter().zip(sums.chunks_exact_mut(many)) {
            // SAFETY: there are as many sums as the mask has.
            unsafe { _mm512_mask_storeu_ps(sums[first..].as_mut_ptr(), mask, *sum) };
        }
    }
}
