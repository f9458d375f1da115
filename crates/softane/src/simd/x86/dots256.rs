//! Dot products as in `dots` and `quant`, with the vectors of AVX2: the matrix is read once, and widened or decoded in registers.
#![expect(unsafe_code, reason = "intrinsics; each block states why it is sound")]

use super::super::prefetch;
use super::dots::CHUNK;
use super::lanes256::Eight;
use crate::quant::{QuantMatrix, RUN};
use std::arch::x86_64::*;

/// A row of a matrix, in runs of 32 elements.
trait Row: Copy {
    /// The number of elements.
    fn len(&self) -> usize;
    /// Run number `run`, widened.
    ///
    /// # Safety
    /// AVX2 and F16C exist, and there is such a run.
    unsafe fn run(&self, run: usize) -> [__m256; 4];
    /// Element `at`, behind the last whole run.
    fn rest(&self, at: usize) -> f32;
    /// Prefetches run number `run`; there may be none.
    fn prefetch(&self, run: usize);
}

#[derive(Clone, Copy)]
struct Plain<'a, T>(&'a [T]);

impl<T: Eight> Row for Plain<'_, T> {
    #[inline(always)]
    fn len(&self) -> usize {
        self.0.len()
    }
    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn run(&self, run: usize) -> [__m256; 4] {
        // SAFETY: the caller vouches for 32 elements.
        unsafe {
            let from = self.0.as_ptr().add(run * RUN);
            [T::load(from), T::load(from.add(8)), T::load(from.add(16)), T::load(from.add(24))]
        }
    }
    #[inline(always)]
    fn rest(&self, at: usize) -> f32 {
        self.0[at].one()
    }
    #[inline(always)]
    fn prefetch(&self, run: usize) {
        prefetch(self.0, run * RUN);
    }
}

/// A row of a quantised matrix: its codes, of 4 bits if `FOUR`, scales and shifts of its groups of G elements, and levels.
#[derive(Clone, Copy)]
struct Coded<'a, const FOUR: bool, const G: usize> {
    codes: &'a [u8],
    scales: &'a [[f32; 2]],
    levels: &'a [f32; 16],
}

impl<const FOUR: bool, const G: usize> Coded<'_, FOUR, G> {
    const BYTES: usize = if FOUR { RUN / 2 } else { RUN };
}

impl<const FOUR: bool, const G: usize> Row for Coded<'_, FOUR, G> {
    #[inline(always)]
    fn len(&self) -> usize {
        self.codes.len() / Self::BYTES * RUN
    }
    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn run(&self, run: usize) -> [__m256; 4] {
        // SAFETY: the caller vouches for the run, which has `BYTES` codes and 32/G groups.
        let (codes, scales) = unsafe {
            (self.codes.as_ptr().add(run * Self::BYTES), self.scales.as_ptr().add(run * (RUN / G)))
        };
        // SAFETY: as above.
        let [low, high] = unsafe { [scale(scales), scale(scales.add(RUN / G - 1))] };
        if FOUR {
            // SAFETY: there are 16 levels, and 16 bytes of codes.
            let (levels, codes) = unsafe {
                let levels = self.levels.as_ptr();
                ([_mm256_loadu_ps(levels), _mm256_loadu_ps(levels.add(8))], _mm_loadu_si128(codes.cast()))
            };
            // The 16 values that a group can have.
            let low = table(levels, low);
            let high = if G == RUN { low } else { table(levels, high) };
            let nibble = _mm_set1_epi8(15);
            let [first, second] = look_up(low, _mm_and_si128(codes, nibble));
            let [third, fourth] = look_up(high, _mm_and_si128(_mm_srli_epi16::<4>(codes), nibble));
            return [first, second, third, fourth];
        }
        let level = |at: usize| {
            // SAFETY: there are 32 bytes of codes.
            let codes = unsafe { _mm_loadl_epi64(codes.add(at).cast()) };
            _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(codes))
        };
        let value = |at: usize, scale: [__m256; 2]| _mm256_cvtph_ps(value(level(at), scale));
        [value(0, low), value(8, low), value(16, high), value(24, high)]
    }
    #[inline(always)]
    fn rest(&self, _: usize) -> f32 {
        0.0
    }
    #[inline(always)]
    fn prefetch(&self, run: usize) {
        prefetch(self.codes, run * Self::BYTES);
        prefetch(self.scales, run * (RUN / G));
    }
}

/// A scale and a shift, in all lanes each.
///
/// # Safety
/// `from` points to them, and there is AVX2.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn scale(from: *const [f32; 2]) -> [__m256; 2] {
    // SAFETY: the caller vouches for both.
    unsafe { [_mm256_set1_ps((*from)[0]), _mm256_set1_ps((*from)[1])] }
}

/// The values of levels in half precision.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn value(level: __m256, [scale, shift]: [__m256; 2]) -> __m128i {
    _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(_mm256_add_ps(_mm256_mul_ps(level, scale), shift))
}

/// The values of 16 levels in half precision: their low bytes, and their high ones.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn table(levels: [__m256; 2], scale: [__m256; 2]) -> [__m128i; 2] {
    let [a, b] = levels.map(|level| value(level, scale));
    let low = _mm_set1_epi16(255);
    [
        _mm_packus_epi16(_mm_and_si128(a, low), _mm_and_si128(b, low)),
        _mm_packus_epi16(_mm_srli_epi16::<8>(a), _mm_srli_epi16::<8>(b)),
    ]
}

/// The values of 16 codes.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn look_up([low, high]: [__m128i; 2], codes: __m128i) -> [__m256; 2] {
    let (low, high) = (_mm_shuffle_epi8(low, codes), _mm_shuffle_epi8(high, codes));
    [_mm256_cvtph_ps(_mm_unpacklo_epi8(low, high)), _mm256_cvtph_ps(_mm_unpackhi_epi8(low, high))]
}

/// As [`super::dot_rows`], for AVX2.
///
/// # Panics
/// If a slice is too short, or there is no AVX2.
pub(crate) fn dot_rows256<T: Eight>(
    matrix: &[T],
    (stride, k): (usize, usize),
    vectors: &[f32],
    sums: &mut [f32],
) {
    all(|row, first, len| Plain(&matrix[row * stride + first..][..len]), k, vectors, sums);
}

/// As [`super::quant_dot_rows`], for AVX2.
///
/// # Panics
/// If a slice has another length, or there is no AVX2.
pub(crate) fn quant_dot_rows256(matrix: &QuantMatrix, first: usize, vectors: &[f32], sums: &mut [f32]) {
    match (matrix.coding.levels.is_some(), matrix.coding.group) {
        (true, 16) => coded::<true, 16>(matrix, first, vectors, sums),
        (true, _) => coded::<true, 32>(matrix, first, vectors, sums),
        (false, 16) => coded::<false, 16>(matrix, first, vectors, sums),
        (false, _) => coded::<false, 32>(matrix, first, vectors, sums),
    }
}

fn coded<const FOUR: bool, const G: usize>(
    matrix: &QuantMatrix,
    first_row: usize,
    vectors: &[f32],
    sums: &mut [f32],
) {
    let (k, levels) = (matrix.shape()[1], &matrix.coding.levels.unwrap_or_default());
    let row = |row: usize, first: usize, len: usize| {
        let (run, runs) = (((first_row + row) * k + first) / RUN, len / RUN);
        let bytes = Coded::<FOUR, G>::BYTES;
        Coded::<FOUR, G> {
            codes: &matrix.codes[run * bytes..][..runs * bytes],
            scales: &matrix.scales[run * (RUN / G)..][..runs * (RUN / G)],
            levels,
        }
    };
    all(row, k, vectors, sums);
}

/// Adds the dot products of rows, which `row` gives from an element on so many elements long, and each of `vectors`, `[few, k]`,
/// to `sums`, `[few, rows]`.
fn all<S: Row>(row: impl Fn(usize, usize, usize) -> S, k: usize, vectors: &[f32], sums: &mut [f32]) {
    let few = vectors.len() / k.max(1);
    let rows = sums.len() / few.max(1);
    assert!(super::has_avx2() && sums.len() == few * rows, "sums of {few} vectors");
    for (two, sums) in vectors.chunks(2 * k.max(1)).zip(sums.chunks_mut(2 * rows)) {
        let (x, more) = two.split_at(k);
        // SAFETY: there is AVX2, with F16C.
        unsafe {
            match more {
                [] => group::<S, 2, 1>(&row, [x], sums),
                _ => group::<S, 1, 2>(&row, [x, more], sums),
            }
        }
    }
}

/// The same for V vectors, R rows at a time.
#[target_feature(enable = "avx2,f16c")]
fn group<S: Row, const R: usize, const V: usize>(
    source: &impl Fn(usize, usize, usize) -> S,
    vectors: [&[f32]; V],
    sums: &mut [f32],
) {
    let (k, rows) = (vectors[0].len(), sums.len() / V);
    for row in (0..rows).step_by(R) {
        let count = R.min(rows - row);
        for first in (0..k).step_by(CHUNK) {
            let len = CHUNK.min(k - first);
            // With fewer rows the last one takes the place of the others.
            let line = |i: usize| source(row + i.min(count - 1), first, len);
            let xs = vectors.map(|x| &x[first..first + len]);
            let dots = block::<S, R, V>(std::array::from_fn(line), xs, R * k / RUN);
            for (v, dots) in dots.iter().enumerate() {
                let sums = &mut sums[v * rows + row..][..count];
                sums.iter_mut().zip(dots).for_each(|(sum, dot)| *sum += dot);
            }
        }
    }
}

/// The dot products of R rows and V vectors, all of one length; prefetches the run `ahead` runs further on in each row.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn block<S: Row, const R: usize, const V: usize>(
    rows: [S; R],
    xs: [&[f32]; V],
    ahead: usize,
) -> [[f32; R]; V] {
    let n = xs[0].len();
    assert!(rows.iter().all(|row| row.len() == n) && xs.iter().all(|x| x.len() == n), "rows of {n}");
    let mut sums = [[[_mm256_setzero_ps(); 4]; R]; V];
    for run in 0..n / RUN {
        rows.iter().for_each(|row| row.prefetch(run + ahead));
        for (r, row) in rows.iter().enumerate() {
            // SAFETY: all rows have this run.
            let row = unsafe { row.run(run) };
            for (sums, x) in sums.iter_mut().zip(xs) {
                for (i, (sum, row)) in sums[r].iter_mut().zip(row).enumerate() {
                    // SAFETY: all vectors have this run.
                    let x = unsafe { _mm256_loadu_ps(x.as_ptr().add(run * RUN + 8 * i)) };
                    *sum = _mm256_add_ps(*sum, _mm256_mul_ps(x, row));
                }
            }
        }
    }
    let mut dots = [[0.0; R]; V];
    for ((sums, x), dots) in sums.into_iter().zip(xs).zip(&mut dots) {
        for ((sums, row), dot) in sums.into_iter().zip(&rows).zip(dots) {
            *dot = joined(sums, n % RUN, |i| x[n - n % RUN + i] * row.rest(n - n % RUN + i));
        }
    }
    dots
}

/// The sum of 32 lanes, joined pairwise, after `product` of each of the first `rest` lanes is added to it.
#[inline]
#[target_feature(enable = "avx2")]
fn joined(mut sums: [__m256; 4], rest: usize, product: impl Fn(usize) -> f32) -> f32 {
    if rest > 0 {
        let mut lanes = [0.0f32; RUN];
        for (lanes, sum) in lanes.as_chunks_mut::<8>().0.iter_mut().zip(sums) {
            // SAFETY: there are 8 lanes.
            unsafe { _mm256_storeu_ps(lanes.as_mut_ptr(), sum) };
        }
        (0..rest).for_each(|i| lanes[i] += product(i));
        for (lanes, sum) in lanes.as_chunks::<8>().0.iter().zip(&mut sums) {
            // SAFETY: there are 8 lanes.
            *sum = unsafe { _mm256_loadu_ps(lanes.as_ptr()) };
        }
    }
    let [a, b, c, d] = sums;
    let eight = _mm256_add_ps(_mm256_add_ps(a, c), _mm256_add_ps(b, d));
    let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
}
