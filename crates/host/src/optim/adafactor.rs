//! Adafactor: the second moment of a matrix as the means of its rows and of its columns.

use super::{ParamSlices, Update};
use crate::{CHUNK, LANES, simd, tree_sum};
use rayon::prelude::*;
use softane::pool::for_each;
use std::ops::Range;

/// The constants of Adafactor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adafactor {
    /// Weight decay; a parameter loses the share lr·λ per step.
    pub weight_decay: f32,
}

/// The exponent of the step in the decay of the second moment: β₂ = 1 − t^−0.8.
const DECAY: f64 = -0.8;

/// The smallest root of a second moment: ε₁ of PyTorch, the machine epsilon of f32.
const EPS_MOMENT: f32 = f32::EPSILON;

/// The least root mean square of a parameter that its learning rate is relative to: ε₂.
const EPS_SIZE: f64 = 1e-3;

/// The largest root mean square of an update: d.
const LARGEST: f64 = 1.0;

/// Columns of a task that sums along rows.
const STRIP: usize = 256;

/// A step's estimate of the second moment: element (i, j) is `rows[i]·inverse·columns[j]`.
struct Estimate<'a> {
    rows: &'a [f32],
    inverse: f32,
    columns: &'a [f32],
}

/// Rows and columns of a matrix whose second moment takes less memory as their means; one row or column is its own mean.
pub fn factored(shape: &[usize]) -> Option<[usize; 2]> {
    match *shape {
        [rows, cols] if rows > 1 && cols > 1 => Some([rows, cols]),
        _ => None,
    }
}

impl Adafactor {
    /// Takes one step on a tensor of parameters of this `shape`, in place. `m` is not used; `v` begins with the means of the rows
    /// and then the columns of a matrix, and is whole for other tensors.
    ///
    /// ```text
    /// R ← β₂R + (1−β₂)·mean over columns of g²     C ← β₂C + (1−β₂)·mean over rows of g²     β₂ = 1 − t^−0.8
    /// v̂ = R·C / mean(R)     u = g / max(√v̂, ε₁)     u ← u / max(1, rms(u))
    /// θ ← θ − max(ε₂, rms(θ))·min(lr, 1/√t)·u − lr·λθ
    /// ```
    ///
    /// with g the gradient times `grad_scale`, rms the root of the mean square, and λ = 0 for a tensor that does not decay. For a
    /// vector v̂ is v ← β₂v + (1−β₂)g².
    ///
    /// Units: the learning rate is relative to the size of the parameter.
    /// Numerics: elements in f32, sums of squares in f64 along fixed lanes and chunks; the result does not depend on the number
    /// of threads.
    /// Source: Shazeer & Stern 2018, arXiv:1804.04235, algorithms 4 and 5, with the choices of `torch.optim.Adafactor`.
    ///
    /// # Panics
    /// If `t` is 0 or the lengths differ.
    pub fn step(&self, update: Update, slices: ParamSlices<'_>, shape: &[usize]) {
        let ParamSlices { theta, grad, v, decays, .. } = slices;
        let n = theta.len();
        assert!(update.t > 0, "steps count from 1");
        assert_eq!([grad.len(), v.len()], [n; 2], "gradient and second moment of {n}");
        let (t, lr, scale) = (f64::from(update.t), f64::from(update.lr), update.grad_scale);
        let fresh = t.powf(DECAY) as f32;
        let mean_square = |sum: f64| (sum / n.max(1) as f64).sqrt();
        let size = mean_square(tree_sum(n, &|at| squares(&theta[at], 1.0)));
        let alpha = size.max(EPS_SIZE) * lr.min(t.sqrt().recip());
        let estimate = match factored(shape) {
            Some([rows, cols]) => {
                let (r, c) = v[..rows + cols].split_at_mut(rows);
                mean_rows(r, (grad, cols), scale, fresh);
                mean_columns(c, (grad, rows), scale, fresh);
                let mean = r.iter().map(|&r| f64::from(r)).sum::<f64>() / rows as f64;
                Estimate { rows: r, inverse: (1.0 / mean.max(f64::from(EPS_MOMENT))) as f32, columns: c }
            }
            None => {
                let chunks = v.par_chunks_mut(CHUNK).zip(grad.par_chunks(CHUNK));
                for_each(chunks, |(v, grad)| {
                    for (v, grad) in v.iter_mut().zip(grad) {
                        let g = grad * scale;
                        *v += fresh * (g * g - *v);
                    }
                });
                Estimate { rows: &[1.0], inverse: 1.0, columns: v }
            }
        };
        let moved = mean_square(tree_sum(n, &|at| estimate.sum_of_squares(grad, scale, at)));
        let rate = (alpha / (moved / LARGEST).max(1.0)) as f32;
        let keep = if decays { 1.0 - update.lr * self.weight_decay } else { 1.0 };
        for_each(theta.par_chunks_mut(CHUNK).enumerate(), |(chunk, theta)| {
            let first = chunk * CHUNK;
            estimate.each_row(first..first + theta.len(), |row, columns, at| {
                let (theta, grad) = (&mut theta[at.start - first..at.end - first], &grad[at]);
                simd(
                    #[inline(always)]
                    || {
                        for ((theta, grad), column) in theta.iter_mut().zip(grad).zip(columns) {
                            *theta = keep * *theta - rate * direction(grad * scale, row * column);
                        }
                    },
                );
            });
        });
    }
}

impl Estimate<'_> {
    /// Calls `f` with each row that elements `range` touch: its factor, the factors of its columns, and its elements.
    fn each_row(&self, range: Range<usize>, mut f: impl FnMut(f32, &[f32], Range<usize>)) {
        let cols = self.columns.len().max(1);
        let mut at = range.start;
        while at < range.end {
            let (row, column) = (at / cols, at % cols);
            let end = range.end.min(at + cols - column);
            f(self.rows[row] * self.inverse, &self.columns[column..column + end - at], at..end);
            at = end;
        }
    }

    /// The sum of squares of the update before it is bounded, over elements `range`.
    fn sum_of_squares(&self, grad: &[f32], scale: f32, range: Range<usize>) -> f64 {
        let mut sum = 0.0;
        self.each_row(range, |row, columns, at| {
            let mut lanes = [0.0f64; LANES];
            let grad = &grad[at];
            simd(
                #[inline(always)]
                || {
                    for (grad, columns) in grad.chunks(LANES).zip(columns.chunks(LANES)) {
                        for ((lane, grad), column) in lanes.iter_mut().zip(grad).zip(columns) {
                            let u = f64::from(direction(grad * scale, row * column));
                            *lane += u * u;
                        }
                    }
                },
            );
            sum += lanes.iter().sum::<f64>();
        });
        sum
    }
}

/// An element of the update, for the gradient `g` and the second moment `v`.
#[inline(always)]
fn direction(g: f32, v: f32) -> f32 {
    g / v.max(EPS_MOMENT * EPS_MOMENT).sqrt()
}

/// Σ (scale·x)², in f64.
fn squares(x: &[f32], scale: f32) -> f64 {
    let mut lanes = [0.0f64; LANES];
    simd(
        #[inline(always)]
        || {
            for block in x.chunks(LANES) {
                for (lane, x) in lanes.iter_mut().zip(block) {
                    let x = f64::from(x * scale);
                    *lane += x * x;
                }
            }
        },
    );
    lanes.iter().sum()
}

/// Moves the means of rows by the share `fresh` to those of the squared gradient, `[rows, cols]`.
fn mean_rows(means: &mut [f32], (grad, cols): (&[f32], usize), scale: f32, fresh: f32) {
    let rows = (CHUNK / cols).max(1);
    for_each(means.par_chunks_mut(rows).zip(grad.par_chunks(rows * cols)), |(means, grad)| {
        for (mean, row) in means.iter_mut().zip(grad.chunks(cols)) {
            *mean += fresh * ((squares(row, scale) / cols as f64) as f32 - *mean);
        }
    });
}

/// As [`mean_rows`], of columns.
fn mean_columns(means: &mut [f32], (grad, rows): (&[f32], usize), scale: f32, fresh: f32) {
    let cols = means.len();
    for_each(means.par_chunks_mut(STRIP).enumerate(), |(strip, means)| {
        let mut sums = [0.0f64; STRIP];
        simd(
            #[inline(always)]
            || {
                for row in grad.chunks(cols) {
                    for (sum, g) in sums.iter_mut().zip(&row[strip * STRIP..][..means.len()]) {
                        let g = f64::from(g * scale);
                        *sum += g * g;
                    }
                }
            },
        );
        for (mean, sum) in means.iter_mut().zip(sums) {
            *mean += fresh * ((sum / rows as f64) as f32 - *mean);
        }
    });
}
