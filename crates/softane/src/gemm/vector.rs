//! Products with few rows or columns: a matrix times a few vectors. The matrix is read once, without packing.

use super::product::{Product, Store};
use super::scratch::{self, Local};
use super::target::Target;
use super::view::Matrix;
use crate::buffer::Elements;
use crate::convert::Element;
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
    let (m, n, k) = p.shape();
    // `x`: the vectors, one a row; `matrix`: `[K, many]`.
    let by_columns = n < m;
    let (x, matrix) = if by_columns { (p.right.t(), p.left.t()) } else { (p.left, p.right) };
    let (few, many) = (x.rows, matrix.cols);
    scratch::local(|Local { left, sums, .. }| {
        let vectors = scratch::take(left, few * k);
        for (i, to) in vectors.chunks_exact_mut(k.max(1)).enumerate() {
            load(&x, i, 0, to);
        }
        let sums = scratch::take(sums, few * many);
        match (matrix.down, matrix.across) {
            (2.., 1) => combine_rows(&matrix, vectors, sums),
            _ => dot_columns(&matrix.t(), vectors, sums),
        }
        let mut line = [0.0; CHUNK];
        if n == 1 && stride == 1 {
            // The result is one line itself.
            for (first, c) in (0..m).step_by(CHUNK).zip(c[..m].chunks_mut(CHUNK)) {
                let line = &mut line[..c.len()];
                for (i, x) in line.iter_mut().enumerate() {
                    let old = if p.store == Store::Add { c[i].get() } else { 0.0 };
                    *x = sums[first + i] * p.alpha + p.bias.get(first + i).copied().unwrap_or(0.0) + old;
                }
                T::narrow(line, c);
            }
            return;
        }
        for (row, c) in c.chunks_mut(stride).enumerate().take(m) {
            let bias = p.bias.get(row).copied().unwrap_or(0.0);
            for (first, c) in (0..n).step_by(CHUNK).zip(c[..n].chunks_mut(CHUNK)) {
                let line = &mut line[..c.len()];
                for (j, x) in line.iter_mut().enumerate() {
                    let col = first + j;
                    let sum = sums[if by_columns { col * many + row } else { row * many + col }];
                    let old = if p.store == Store::Add { c[j].get() } else { 0.0 };
                    *x = sum * p.alpha + bias + old;
                }
                T::narrow(line, c);
            }
        }
    });
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

    /// The bits of the fused loops are those of the plain ones.
    #[test]
    fn fused_dot_products_have_the_same_bits() {
        if !x86::has_avx512() {
            return println!("not run: no AVX-512");
        }
        let number = |i: usize| ((i * 7919 + 13) % 2003) as f32 / 1001.0 - 1.0;
        for (many, k, few) in [(1, 1, 1), (5, 31, 1), (9, 64, 2), (7, 1500, 3), (6, 2100, 4), (3, 47, 7)] {
            let stride = k + 3;
            let half: Vec<f16> = (0..many * stride).map(|i| f16::from_f32(number(i))).collect();
            let vectors: Vec<f32> = (0..few * k).map(|i| number(i + 5)).collect();
            let mut got = vec![0.0; few * many];
            x86::dot_rows(&half, (stride, k), &vectors, &mut got);
            for (v, x) in vectors.chunks_exact(k).enumerate() {
                for row in 0..many {
                    let mut want = 0.0;
                    for first in (0..k).step_by(CHUNK) {
                        let len = CHUNK.min(k - first);
                        let mut wide = vec![0.0; len];
                        <f16 as Element>::widen(&half[row * stride + first..][..len], &mut wide);
                        want += dot(&x[first..first + len], &wide);
                    }
                    let got = got[v * many + row];
                    assert_eq!(got.to_bits(), want.to_bits(), "{many} {k} {few}: row {row}, vector {v}");
                }
            }
        }
    }
}
