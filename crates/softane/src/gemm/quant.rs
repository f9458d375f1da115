//! Products of a quantised matrix and a matrix of floats. With few columns the codes are multiplied as they are read; with
//! more, rows are widened to half precision, a task at a time.

use super::product::{Product, Store};
use super::target::Target;
use super::tasks::{task_rows, vector_rows};
use super::view::{Matrix, MatrixMut};
use super::{GemmKernel, Packed, THIN, is_slim_shape, vector};
use crate::pool::for_each;
use crate::quant::QuantMatrix;
use half::f16;
use rayon::prelude::*;
use std::cell::RefCell;

thread_local! {
    /// Rows in half precision.
    static WIDE: RefCell<Vec<f16>> = const { RefCell::new(Vec::new()) };
}

/// Computes `c ← a·b` on the current rayon pool.
///
/// Shapes: `c` `[M, N]`, not transposed, `a` `[M, K]`, `b` `[K, N]`.
/// Numerics: as [`super::matmul`] with `a` in half precision; with few columns, factors are f32 whatever the kernel.
///
/// # Panics
/// If the shapes do not fit together, or `c` is a transposed view.
pub fn matmul_quant(kernel: impl Into<GemmKernel>, c: MatrixMut<'_>, a: &QuantMatrix, b: Matrix<'_>) {
    assert!(
        !c.transposed && [c.rows, c.cols] == [a.shape()[0], b.cols],
        "a product into [{}, {}]",
        c.rows,
        c.cols
    );
    parallel_quant(kernel.into(), c.data, c.stride, a, b, &[]);
}

/// Computes `a·b`, plus `bias` of each row, into rows with stride `stride`, on the current rayon pool.
///
/// # Panics
/// If the shapes do not fit together.
pub(crate) fn parallel_quant<T: Target>(
    kernel: GemmKernel,
    c: &mut [T],
    stride: usize,
    a: &QuantMatrix,
    b: Matrix<'_>,
    bias: &[f32],
) {
    let ([m, k], n) = (a.shape(), b.cols);
    assert!(k == b.rows && n <= stride, "a product of [{m}, {k}] and [{}, {n}]", b.rows);
    if m == 0 || n == 0 {
        return;
    }
    let bias = |first: usize| bias.get(first..).unwrap_or(&[]);
    if n < THIN || is_slim_shape((m, n, k)) {
        let rows = vector_rows((m, n, k));
        let run = |i: usize, c: &mut [T]| {
            let these = [i * rows, rows.min(m - i * rows)];
            vector::serial_quant(c, stride, (a, these), &b, bias(i * rows));
        };
        return if rows >= m {
            run(0, c)
        } else {
            for_each(c.par_chunks_mut(rows * stride).enumerate(), |(i, c)| run(i, c))
        };
    }
    let packed = Packed::new(kernel, b);
    let rows = task_rows((m, n, k), kernel);
    for_each(c.par_chunks_mut(rows * stride).enumerate(), |(i, c)| {
        let first = i * rows;
        let rows = rows.min(m - first);
        let mut wide = WIDE.take();
        wide.resize(wide.len().max(rows * k), f16::ZERO);
        a.widen(first * k, &mut wide[..rows * k]);
        let left = Matrix::new(&wide[..rows * k], rows, k);
        let product =
            Product { kernel, store: Store::Replace, alpha: 1.0, left, right: b, bias: bias(first) };
        packed.serial(c, stride, &product);
        WIDE.set(wide);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quant::{Coding, RUN};

    const CODINGS: [Coding; 4] = [
        Coding { levels: Some(LEVELS), group: 16 },
        Coding { levels: Some(LEVELS), group: 32 },
        Coding { levels: None, group: 16 },
        Coding { levels: None, group: 32 },
    ];

    /// Without order, so that no arithmetic takes the place of a lookup.
    const LEVELS: [f32; 16] =
        [-8.0, 7.0, 0.0, 1.5, -1.0, 113.0, 3.0, -127.0, 5.0, 6.0, -2.5, 9.0, 10.0, -49.0, 12.0, 0.25];

    fn number(i: usize) -> f32 {
        ((i * 7919 + 13) % 2003) as f32 / 1001.0 - 1.0
    }

    /// Codes without order; scales from 2⁻²⁰ to 1, so that some elements are subnormal, and one that is infinite.
    fn matrix(coding: Coding, [rows, cols]: [usize; 2]) -> QuantMatrix {
        let codes = (0..rows * cols / RUN * coding.run_bytes()).map(|i| (i * 167 + i / 7) as u8).collect();
        let scale = |i: usize| if i == 5 { f32::MAX } else { number(i) * (0.5f32).powi((i % 21) as i32) };
        let scales = 0..rows * cols / coding.group;
        let scales = scales.map(|i| [scale(i), if i % 3 == 0 { -0.0 } else { number(i + 1) / 64.0 }]);
        QuantMatrix::new(coding, [rows, cols], codes, scales.collect()).expect("a matrix")
    }

    fn halves(matrix: &QuantMatrix) -> Vec<f16> {
        let mut wide = vec![f16::ZERO; matrix.elements()];
        matrix.widen(0, &mut wide);
        wide
    }

    #[test]
    fn elements_are_levels_times_scale_plus_shift() {
        for coding in CODINGS {
            let matrix = matrix(coding, [3, 96]);
            for (at, got) in halves(&matrix).into_iter().enumerate() {
                let (run, i) = (at / RUN, at % RUN);
                let level = match coding.levels {
                    Some(levels) => {
                        let byte = matrix.codes[run * 16 + i % 16];
                        levels[usize::from(if i < 16 { byte & 15 } else { byte >> 4 })]
                    }
                    None => f32::from(matrix.codes[at] as i8),
                };
                let [scale, shift] = matrix.scales[at / coding.group];
                let want = f16::from_f32(level * scale + shift);
                assert_eq!(got.to_bits(), want.to_bits(), "{coding:?} at {at}");
            }
        }
    }

    /// With few columns and with many, and part of the rows: the bits of the same matrix in half precision.
    #[test]
    fn products_have_the_bits_of_half_precision() {
        let kernel = GemmKernel::from(crate::gemm::MatmulPrecision::F32);
        for coding in CODINGS {
            for [m, n, k] in
                [[1, 1, 32], [70, 1, 96], [67, 2, 1056], [129, 5, 64], [300, 8, 576], [200, 40, 1120]]
            {
                let mut a = matrix(coding, [m, k]);
                a.scales.iter_mut().for_each(|[scale, _]| *scale = scale.min(1.0));
                let wide = halves(&a);
                let b: Vec<f32> = (0..k * n).map(|i| number(i + 3)).collect();
                let bias: Vec<f32> = (0..m).map(number).collect();
                let right = Matrix::new(b.as_slice(), k, n);
                let (mut got, mut want) = (vec![0.0f32; m * n], vec![0.0f32; m * n]);
                parallel_quant(kernel, &mut got, n, &a, right, &bias);
                let left = Matrix::new(wide.as_slice(), m, k);
                let p = Product { kernel, store: Store::Replace, alpha: 1.0, left, right, bias: &bias };
                crate::gemm::parallel(&mut want, n, &p);
                let bits = |v: &[f32]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(&got), bits(&want), "{coding:?}: [{m}, {k}] and [{k}, {n}]");
            }
        }
    }
}
