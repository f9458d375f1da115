//! Quantised matrices: widening, and dot products of rows with a few vectors, decoded in registers.
#![expect(unsafe_code, reason = "intrinsics; each block states why it is sound")]

use super::super::prefetch;
use super::dots::{CHUNK, joined};
use crate::quant::{QuantMatrix, RUN};
use half::f16;
use std::arch::x86_64::*;

/// A row: its codes, and scales and shifts of its groups of G elements. Codes have 4 bits if `FOUR`, else 8.
#[derive(Clone, Copy)]
struct Row<'a, const FOUR: bool, const G: usize> {
    codes: &'a [u8],
    scales: &'a [[f32; 2]],
}

impl<'a, const FOUR: bool, const G: usize> Row<'a, FOUR, G> {
    const BYTES: usize = if FOUR { RUN / 2 } else { RUN };

    /// `len` elements from element `first` on.
    fn of(matrix: &'a QuantMatrix, first: usize, len: usize) -> Self {
        Row {
            codes: &matrix.codes[first / RUN * Self::BYTES..][..len / RUN * Self::BYTES],
            scales: &matrix.scales[first / G..][..len / G],
        }
    }

    /// Prefetches run number `run` of the row that begins `ahead` runs behind this one.
    #[inline(always)]
    fn prefetch(&self, run: usize, ahead: usize) {
        prefetch(self.codes, (run + ahead) * Self::BYTES);
        prefetch(self.scales, (run + ahead) * (RUN / G));
    }

    /// The number of runs.
    fn runs(&self) -> usize {
        self.codes.len() / Self::BYTES
    }

    /// Run number `run`, rounded to half precision and widened. Of codes of 4 bits, `levels` are the levels.
    ///
    /// # Safety
    /// There is such a run, and AVX-512 F, BW and VL.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn run(&self, run: usize, levels: __m512) -> [__m512; 2] {
        // SAFETY: the caller vouches for the run, which has `BYTES` codes and 32/G groups.
        let (codes, scales) = unsafe {
            (self.codes.as_ptr().add(run * Self::BYTES), self.scales.as_ptr().add(run * (RUN / G)))
        };
        // SAFETY: as above.
        let [low, high] = unsafe { [scale(scales), scale(scales.add(RUN / G - 1))] };
        // SAFETY: as above; a run has 16 bytes, or twice as many.
        let sixteen = |at: usize| unsafe { _mm_loadu_si128(codes.add(at).cast()) };
        if FOUR {
            // The 16 values that a group can have; a lookup sees the low four bits of each index.
            let low = value(levels, low);
            let high = if G == RUN { low } else { value(levels, high) };
            let codes = _mm512_cvtepu8_epi32(sixteen(0));
            let upper = _mm512_srli_epi32::<4>(codes);
            return [_mm512_permutexvar_ps(codes, low), _mm512_permutexvar_ps(upper, high)];
        }
        let level = |at: usize| _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(sixteen(at)));
        [value(level(0), low), value(level(RUN / 2), high)]
    }
}

/// A scale and a shift, in all lanes each.
///
/// # Safety
/// `from` points to them, and there is AVX-512F.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn scale(from: *const [f32; 2]) -> [__m512; 2] {
    // SAFETY: the caller vouches for both.
    unsafe { [_mm512_set1_ps((*from)[0]), _mm512_set1_ps((*from)[1])] }
}

/// The values of levels, rounded to half precision.
#[inline]
#[target_feature(enable = "avx512f")]
fn value(level: __m512, [scale, shift]: [__m512; 2]) -> __m512 {
    let value = _mm512_add_ps(_mm512_mul_ps(level, scale), shift);
    _mm512_cvtph_ps(_mm512_cvtps_ph::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(value))
}

/// Bytes of a cache line.
const LINE: usize = 64;

/// Calls a function with the coding of a matrix as constants.
macro_rules! by_coding {
    ($matrix:expr, $call:ident [$($extra:literal),*] ($($arg:expr),*)) => {
        match ($matrix.coding.levels.is_some(), $matrix.coding.group) {
            (true, 16) => $call::<true, 16 $(, $extra)*>($($arg),*),
            (true, _) => $call::<true, 32 $(, $extra)*>($($arg),*),
            (false, 16) => $call::<false, 16 $(, $extra)*>($($arg),*),
            (false, _) => $call::<false, 32 $(, $extra)*>($($arg),*),
        }
    };
}

/// The elements of `matrix` from element `first` on, in half precision; both ends are at whole runs.
///
/// # Panics
/// If there are none, or there is no AVX-512.
pub(crate) fn quant_widen(matrix: &QuantMatrix, first: usize, to: &mut [f16]) {
    assert!(super::has_avx512(), "no AVX-512");
    // SAFETY: there is AVX-512.
    unsafe { by_coding!(matrix, widen [] (matrix, first, to)) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn widen<const FOUR: bool, const G: usize>(matrix: &QuantMatrix, first: usize, to: &mut [f16]) {
    let (row, levels) = (Row::<FOUR, G>::of(matrix, first, to.len()), levels(matrix));
    for (run, to) in to.as_chunks_mut::<RUN>().0.iter_mut().enumerate() {
        // SAFETY: the row has as many runs as the result.
        let values = unsafe { row.run(run, levels) };
        for (half, to) in values.into_iter().zip(to.as_chunks_mut::<16>().0) {
            // The value is one of half precision already.
            let half = _mm512_cvtps_ph::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(half);
            // SAFETY: 16 elements are 32 bytes.
            unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), half) };
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn levels(matrix: &QuantMatrix) -> __m512 {
    let levels = matrix.coding.levels.unwrap_or_default();
    // SAFETY: there are 16.
    unsafe { _mm512_loadu_ps(levels.as_ptr()) }
}

/// Adds the dot products of rows of `matrix` from row `first` on and each of `vectors`, `[few, K]`, to `sums`, `[few, rows]`.
///
/// Numerics: the bits of [`super::dot_rows`] with the matrix in half precision.
///
/// # Panics
/// If a slice has another length, or there is no AVX-512.
pub(crate) fn quant_dot_rows(matrix: &QuantMatrix, first: usize, vectors: &[f32], sums: &mut [f32]) {
    let k = matrix.shape()[1];
    let few = vectors.len() / k.max(1);
    let rows = sums.len() / few.max(1);
    assert!(super::has_avx512() && sums.len() == few * rows, "sums of {few} vectors");
    for (four, sums) in vectors.chunks(4 * k.max(1)).zip(sums.chunks_mut(4 * rows)) {
        let x = |v: usize| &four[v * k..][..k];
        // SAFETY: there is AVX-512.
        unsafe {
            match four.len() / k.max(1) {
                1 => by_coding!(matrix, group [4, 1] (matrix, first, [x(0)], sums)),
                2 => by_coding!(matrix, group [2, 2] (matrix, first, [x(0), x(1)], sums)),
                3 => by_coding!(matrix, group [2, 3] (matrix, first, [x(0), x(1), x(2)], sums)),
                _ => by_coding!(matrix, group [2, 4] (matrix, first, [x(0), x(1), x(2), x(3)], sums)),
            }
        }
    }
}

/// The same for V vectors, R rows at a time.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn group<const FOUR: bool, const G: usize, const R: usize, const V: usize>(
    matrix: &QuantMatrix,
    first_row: usize,
    vectors: [&[f32]; V],
    sums: &mut [f32],
) {
    let (k, rows, levels) = (vectors[0].len(), sums.len() / V, levels(matrix));
    for row in (0..rows).step_by(R) {
        let count = R.min(rows - row);
        for first in (0..k).step_by(CHUNK) {
            let len = CHUNK.min(k - first);
            // With fewer rows the last one takes the place of the others.
            let line = |i: usize| {
                let row = first_row + row + i.min(count - 1);
                Row::<FOUR, G>::of(matrix, row * k + first, len)
            };
            let xs = vectors.map(|x| &x[first..first + len]);
            let dots = block::<FOUR, G, R, V>(std::array::from_fn(line), xs, (levels, R * k / RUN));
            for (v, dots) in dots.iter().enumerate() {
                let sums = &mut sums[v * rows + row..][..count];
                sums.iter_mut().zip(dots).for_each(|(sum, dot)| *sum += dot);
            }
        }
    }
}

/// The dot products of R rows and V vectors, all of one length; prefetches the run `ahead` runs further on in each row.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn block<const FOUR: bool, const G: usize, const R: usize, const V: usize>(
    rows: [Row<'_, FOUR, G>; R],
    xs: [&[f32]; V],
    (levels, ahead): (__m512, usize),
) -> [[f32; R]; V] {
    let runs = rows[0].runs();
    let fits = |row: &Row<'_, FOUR, G>| row.runs() == runs && row.scales.len() == runs * (RUN / G);
    assert!(rows.iter().all(fits) && xs.iter().all(|x| x.len() == runs * RUN), "{runs} runs");
    let mut sums = [[[_mm512_setzero_ps(); 2]; R]; V];
    for run in 0..runs {
        // SAFETY: all vectors have as many runs.
        let xs = xs.map(|x| unsafe {
            let x = x.as_ptr().add(run * RUN);
            [_mm512_loadu_ps(x), _mm512_loadu_ps(x.add(RUN / 2))]
        });
        if run % (LINE / Row::<FOUR, G>::BYTES) == 0 {
            rows.iter().for_each(|row| row.prefetch(run, ahead));
        }
        for (r, row) in rows.iter().enumerate() {
            // SAFETY: all rows have as many runs.
            let run = unsafe { row.run(run, levels) };
            for (sums, x) in sums.iter_mut().zip(xs) {
                for half in 0..2 {
                    sums[r][half] = _mm512_add_ps(sums[r][half], _mm512_mul_ps(x[half], run[half]));
                }
            }
        }
    }
    sums.map(|sums| sums.map(|[low, high]| joined(_mm512_add_ps(low, high))))
}
