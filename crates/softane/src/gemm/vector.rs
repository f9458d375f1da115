//! Products with few rows or columns: a matrix times a few vectors. The matrix is read once, without packing.

use super::product::{Product, Store};
use super::scratch::{self, Local};
use super::target::Target;
use super::view::Matrix;
use crate::buffer::Elements;
use crate::convert::Element;
use crate::quant::QuantMatrix;
use crate::simd::vectorised;
#[cfg(target_arch = "x86_64")]
use crate::simd::x86;
use half::f16;

/// Elements of the matrix that are widened at a time: they fit in the first-level cache.
const CHUNK: usize = 1024;

/// Partial sums of a dot product: enough to fill the pipelines of any processor's vectors.
const LANES: usize = 32;

/// Computes `p` into rows with stride `stride` on the calling thread. The vectors are the rows of the left side, or the columns
/// of the right, whichever are fewer.
///
/// Numerics: factors and sums in f32, products rounded; the bits depend on shape and layout, not on the processor.
pub(super) fn serial<T: Target>(c: &mut [T], stride: usize, p: &Product<'_>) {
    let (m, n, _) = p.shape();
    // `x`: the vectors, one a row; `matrix`: `[K, many]`.
    let by_columns = n < m;
    let (x, matrix) = if by_columns { (p.right.t(), p.left.t()) } else { (p.left, p.right) };
    let result = Sums { shape: (m, n), by_columns, store: p.store, alpha: p.alpha, bias: p.bias };
    result.compute(c, stride, &x, |vectors, sums| match (matrix.down, matrix.across) {
        (2.., 1) => combine_rows(&matrix, vectors, sums),
        _ => dot_columns(&matrix.t(), vectors, sums),
    });
}

/// Computes `rows` rows of `matrix`, from row `first` on, times the few columns of `right`, plus `bias` of these rows, likewise.
///
/// Numerics: the bits of [`serial`] with the matrix in half precision.
pub(super) fn serial_quant<T: Target>(
    c: &mut [T],
    stride: usize,
    (matrix, [first, rows]): (&QuantMatrix, [usize; 2]),
    right: &Matrix<'_>,
    bias: &[f32],
) {
    let shape = (rows, right.cols);
    let result = Sums { shape, by_columns: true, store: Store::Replace, alpha: 1.0, bias };
    result.compute(c, stride, &right.t(), |vectors, sums| quant_dots(matrix, first, vectors, sums));
}

/// What becomes of the sums of a product `[M, N]`.
struct Sums<'a> {
    shape: (usize, usize),
    /// Whether the vectors are the columns of the right side, and not the rows of the left.
    by_columns: bool,
    store: Store,
    alpha: f32,
    bias: &'a [f32],
}

impl Sums<'_> {
    /// Lets `dots` compute the sums of vectors, the rows of `x`, and stores the result in rows with stride `stride`.
    fn compute<T: Target>(
        &self,
        c: &mut [T],
        stride: usize,
        x: &Matrix<'_>,
        dots: impl FnOnce(&[f32], &mut [f32]),
    ) {
        let ((m, n), few, k) = (self.shape, x.rows, x.cols);
        let many = if self.by_columns { m } else { n };
        scratch::local(|Local { left, sums, .. }| {
            let vectors = scratch::take(left, few * k);
            for (i, to) in vectors.chunks_exact_mut(k.max(1)).enumerate() {
                load(x, i, 0, to);
            }
            let sums = scratch::take(sums, few * many);
            dots(vectors, sums);
            let mut line = [0.0; CHUNK];
            if n == 1 && stride == 1 {
                // The result is one line itself.
                for (first, c) in (0..m).step_by(CHUNK).zip(c[..m].chunks_mut(CHUNK)) {
                    let line = &mut line[..c.len()];
                    for (i, x) in line.iter_mut().enumerate() {
                        let old = if self.store == Store::Add { c[i].get() } else { 0.0 };
                        let bias = self.bias.get(first + i).copied().unwrap_or(0.0);
                        *x = sums[first + i] * self.alpha + bias + old;
                    }
                    T::narrow(line, c);
                }
                return;
            }
            for (row, c) in c.chunks_mut(stride).enumerate().take(m) {
                let bias = self.bias.get(row).copied().unwrap_or(0.0);
                for (first, c) in (0..n).step_by(CHUNK).zip(c[..n].chunks_mut(CHUNK)) {
                    let line = &mut line[..c.len()];
                    for (j, x) in line.iter_mut().enumerate() {
                        let col = first + j;
                        let sum = sums[if self.by_columns { col * many + row } else { row * many + col }];
                        let old = if self.store == Store::Add { c[j].get() } else { 0.0 };
                        *x = sum * self.alpha + bias + old;
                    }
                    T::narrow(line, c);
                }
            }
        });
    }
}

/// Elements of row `row` from column `first` on, widened.
fn load(m: &Matrix<'_>, row: usize, first: usize, to: &mut [f32]) {
    let at = m.at + row * m.down + first * m.across;
    match (m.from, m.across) {
        (Elements::F16(from), 1) => <f16 as Element>::widen(&from[at..at + to.len()], to),
        (Elements::F32(from), 1) => <f32 as Element>::widen(&from[at..at + to.len()], to),
        (from, across) => to.iter_mut().enumerate().for_each(|(i, x)| *x = from.get(at + i * across)),
    }
}

/// Sums of the rows of `matrix`, `[K, many]`, weighted by each of the vectors, `[few, K]`.
fn combine_rows(matrix: &Matrix<'_>, vectors: &[f32], sums: &mut [f32]) {
    let (k, many) = (matrix.rows, matrix.cols);
    #[cfg(target_arch = "x86_64")]
    if k > 0 && many > 0 && x86::has_avx512() {
        match matrix.from {
            Elements::F16(from) => x86::combine_rows(&from[matrix.at..], (matrix.down, k), vectors, sums),
            Elements::F32(from) => x86::combine_rows(&from[matrix.at..], (matrix.down, k), vectors, sums),
        }
        return;
    }
    let mut wide = [0.0; CHUNK];
    sums.fill(0.0);
    for first in (0..many).step_by(CHUNK) {
        let wide = &mut wide[..CHUNK.min(many - first)];
        for l in 0..k {
            load(matrix, l, first, wide);
            for (x, sums) in vectors.chunks_exact(k).zip(sums.chunks_exact_mut(many)) {
                let (x, sums) = (x[l], &mut sums[first..first + wide.len()]);
                vectorised(
                    #[inline(always)]
                    || sums.iter_mut().zip(&*wide).for_each(|(sum, y)| *sum += x * y),
                );
            }
        }
    }
}

/// Dot products of the rows of `matrix`, `[many, K]`, with each of the vectors, `[few, K]`.
fn dot_columns(matrix: &Matrix<'_>, vectors: &[f32], sums: &mut [f32]) {
    let (many, k) = (matrix.rows, matrix.cols);
    let mut wide = [0.0; CHUNK];
    sums.fill(0.0);
    #[cfg(target_arch = "x86_64")]
    if matrix.across == 1 && k > 0 && many > 0 && x86::has_avx512() {
        match matrix.from {
            Elements::F16(from) => x86::dot_rows(&from[matrix.at..], (matrix.down, k), vectors, sums),
            Elements::F32(from) => x86::dot_rows(&from[matrix.at..], (matrix.down, k), vectors, sums),
        }
        return;
    }
    #[cfg(target_arch = "x86_64")]
    if matrix.across == 1 && k > 0 && many > 0 && x86::has_avx2() {
        match matrix.from {
            Elements::F16(from) => x86::dot_rows256(&from[matrix.at..], (matrix.down, k), vectors, sums),
            Elements::F32(from) => x86::dot_rows256(&from[matrix.at..], (matrix.down, k), vectors, sums),
        }
        return;
    }
    for row in 0..many {
        for first in (0..k).step_by(CHUNK) {
            let wide = &mut wide[..CHUNK.min(k - first)];
            load(matrix, row, first, wide);
            for (x, sums) in vectors.chunks_exact(k).zip(sums.chunks_exact_mut(many)) {
                sums[row] += dot(&x[first..first + wide.len()], wide);
            }
        }
    }
}

/// Dot products of rows of `matrix` from row `first` on with each of the vectors, `[few, K]`.
fn quant_dots(matrix: &QuantMatrix, first: usize, vectors: &[f32], sums: &mut [f32]) {
    let k = matrix.shape()[1];
    sums.fill(0.0);
    if vectors.is_empty() {
        return;
    }
    #[cfg(target_arch = "x86_64")]
    if x86::has_avx512() {
        return x86::quant_dot_rows(matrix, first, vectors, sums);
    } else if x86::has_avx2() {
        return x86::quant_dot_rows256(matrix, first, vectors, sums);
    }
    let many = sums.len() / (vectors.len() / k);
    let mut wide = [0.0; CHUNK];
    for row in 0..many {
        for at in (0..k).step_by(CHUNK) {
            let wide = &mut wide[..CHUNK.min(k - at)];
            matrix.values((first + row) * k + at, wide);
            for (x, sums) in vectors.chunks_exact(k).zip(sums.chunks_exact_mut(many)) {
                sums[row] += dot(&x[at..at + wide.len()], wide);
            }
        }
    }
}

/// The sum of products, in [`LANES`] partial sums that are joined pairwise.
fn dot(x: &[f32], y: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    vectorised(
        #[inline(always)]
        || {
            let ((xs, x_tail), (ys, y_tail)) = (x.as_chunks::<LANES>(), y.as_chunks::<LANES>());
            for (x, y) in xs.iter().zip(ys) {
                for i in 0..LANES {
                    lanes[i] += x[i] * y[i];
                }
            }
            for ((lane, x), y) in lanes.iter_mut().zip(x_tail).zip(y_tail) {
                *lane += x * y;
            }
        },
    );
    let mut n = LANES;
    while n > 1 {
        n /= 2;
        for i in 0..n {
            lanes[i] += lanes[i + n];
        }
    }
    lanes[0]
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;
    use crate::quant::{Coding, RUN};

    fn number(i: usize) -> f32 {
        ((i * 7919 + 13) % 2003) as f32 / 1001.0 - 1.0
    }

    type Fused = fn(&[f16], (usize, usize), &[f32], &mut [f32]);
    type FusedQuant = fn(&QuantMatrix, usize, &[f32], &mut [f32]);

    /// The loops that this processor has.
    fn loops() -> Vec<(&'static str, Fused, FusedQuant)> {
        let mut loops: Vec<(&str, Fused, FusedQuant)> = Vec::new();
        if x86::has_avx512() {
            loops.push(("AVX-512", x86::dot_rows, x86::quant_dot_rows));
        }
        if x86::has_avx2() {
            loops.push(("AVX2", x86::dot_rows256, x86::quant_dot_rows256));
        }
        if loops.len() < 2 {
            println!("not run: no AVX-512, or no AVX2");
        }
        loops
    }

    /// Dot products in plain loops.
    fn plain(matrix: &[f16], (stride, k): (usize, usize), vectors: &[f32]) -> Vec<f32> {
        let rows = matrix.len() / stride;
        let one = |x: &[f32], row: usize| {
            let mut sum = 0.0;
            for first in (0..k).step_by(CHUNK) {
                let mut wide = vec![0.0; CHUNK.min(k - first)];
                <f16 as Element>::widen(&matrix[row * stride + first..][..wide.len()], &mut wide);
                sum += dot(&x[first..first + wide.len()], &wide);
            }
            sum
        };
        vectors.chunks_exact(k).flat_map(|x| (0..rows).map(move |row| one(x, row))).collect()
    }

    fn bits(values: &[f32]) -> Vec<u32> {
        values.iter().map(|x| x.to_bits()).collect()
    }

    /// The bits of the fused loops are those of the plain ones.
    #[test]
    fn fused_dot_products_have_the_same_bits() {
        for (name, fused, _) in loops() {
            for (many, k, few) in [(1, 1, 1), (5, 31, 1), (9, 64, 2), (7, 1500, 3), (6, 2100, 4), (3, 47, 7)]
            {
                let stride = k + 3;
                let half: Vec<f16> = (0..many * stride).map(|i| f16::from_f32(number(i))).collect();
                let vectors: Vec<f32> = (0..few * k).map(|i| number(i + 5)).collect();
                let mut got = vec![0.0; few * many];
                fused(&half, (stride, k), &vectors, &mut got);
                let want = plain(&half, (stride, k), &vectors);
                assert_eq!(bits(&got), bits(&want), "{name}: {few} vectors of {k}, {many} rows");
            }
        }
    }

    /// So are those of sums of rows.
    #[test]
    fn fused_sums_of_rows_have_the_same_bits() {
        if !x86::has_avx512() {
            return println!("not run: no AVX-512");
        }
        for (many, k, few) in [(1, 1, 1), (127, 5, 1), (128, 64, 3), (300, 33, 2), (90, 7, 4), (65, 3, 7)] {
            let stride = many + 3;
            let half: Vec<f16> = (0..k * stride - 3).map(|i| f16::from_f32(number(i))).collect();
            let vectors: Vec<f32> = (0..few * k).map(|i| number(i + 5)).collect();
            let mut got = vec![f32::NAN; few * many];
            x86::combine_rows(&half, (stride, k), &vectors, &mut got);
            let sum = |x: &[f32], column: usize| {
                let rows = half[column..].iter().step_by(stride);
                x.iter().zip(rows).fold(0.0, |sum, (x, y)| sum + x * y.to_f32())
            };
            let each = vectors.chunks_exact(k);
            let want: Vec<f32> = each.flat_map(|x| (0..many).map(move |column| sum(x, column))).collect();
            assert_eq!(bits(&got), bits(&want), "{few} vectors of {k}, {many} columns");
        }
    }

    /// So are those of loops that decode.
    #[test]
    fn fused_dot_products_of_codes_have_the_same_bits() {
        let levels = std::array::from_fn(|i| number(i) * 8.0);
        let codings = [16, 32]
            .into_iter()
            .flat_map(|group| [Coding { levels: Some(levels), group }, Coding { levels: None, group }]);
        for coding in codings {
            for (many, k, few) in [(1, 32, 1), (9, 64, 2), (7, 1504, 3), (6, 2112, 4), (3, 96, 7)] {
                let codes = (0..many * k / RUN * coding.run_bytes()).map(|i| (i * 167 + i / 7) as u8);
                let scales = (0..many * k / coding.group).map(|i| [number(i) / 32.0, number(i + 1)]);
                let matrix = QuantMatrix::new(coding, [many, k], codes.collect(), scales.collect());
                let matrix = matrix.expect("a matrix");
                let mut half = vec![f16::ZERO; many * k];
                matrix.widen(0, &mut half);
                let vectors: Vec<f32> = (0..few * k).map(|i| number(i + 5)).collect();
                // All rows, and all but the first.
                for first in 0..many.min(2) {
                    let want = plain(&half[first * k..], (k, k), &vectors);
                    for (name, _, fused) in loops() {
                        let mut got = vec![0.0; want.len()];
                        fused(&matrix, first, &vectors, &mut got);
                        assert_eq!(bits(&got), bits(&want), "{name}, {coding:?}: {few} of {k}, {many} rows");
                    }
                }
            }
        }
    }
}
