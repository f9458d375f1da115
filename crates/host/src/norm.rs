//! RMSNorm along the channels, and its gradient.

use rayon::prelude::*;
use softane::pool::for_each;

use super::{LANES, Scratch, Store, simd};

/// Rows per block of the sums along the channels.
const ROWS: usize = 32;

/// RMSNorm of `groups` groups of `channels` rows that share one weight.
///
/// ```text
/// y = (o + w)·x·r,   r = (mean_c x² + ε)^−½
/// ```
///
/// Shapes: activations are `[G·C, S]`, weights `[C]`; a norm of the residual stream has one group, a norm of queries or
/// keys one per head.
/// Numerics: f32; sums along the channels are taken within blocks of 32 rows, then over the blocks.
/// Source: Zhang & Sennrich 2019, arXiv:1910.07467.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RmsNorm {
    /// C: rows that are normalised together.
    pub channels: usize,
    /// G: groups of C rows, each normalised separately.
    pub groups: usize,
    /// S: columns.
    pub seq: usize,
    /// ε: added to the mean square.
    pub eps: f32,
    /// o: added to the weight; 1 in Gemma, 0 elsewhere.
    pub offset: f32,
}

/// The tensors of a norm's backward pass; activations `[G·C, S]`, weights `[C]`.
#[derive(Debug)]
pub struct NormGradient<'a> {
    /// The norm's input.
    pub x: &'a [f32],
    /// The norm's weight.
    pub weight: &'a [f32],
    /// The gradient of the norm's output.
    pub dy: &'a [f32],
    /// The gradient of its input.
    pub dx: &'a mut [f32],
    /// Whether `dx` is replaced or added to.
    pub store: Store,
    /// The gradient of its weight, which is added to; empty if the weight is frozen.
    pub dw: &'a mut [f32],
}

impl RmsNorm {
    /// Computes `y` from `x`.
    ///
    /// # Panics
    /// If a size is 0, or a slice's length does not match the sizes.
    pub fn forward(&self, x: &[f32], weight: &[f32], y: &mut [f32], scratch: &mut Scratch) {
        self.check(&[x.len(), y.len()], &[weight.len()]);
        let (c, s) = (self.channels, self.seq);
        let sums = scratch.take(self.blocks() * s);
        for_each(sums.par_chunks_mut(s).enumerate(), |(block, sum)| {
            let rows = self.rows_of(block);
            let x = &x[rows.start * s..rows.end * s];
            simd(
                #[inline(always)]
                || {
                    sum.fill(0.0);
                    for x in x.chunks_exact(s) {
                        sum.iter_mut().zip(x).for_each(|(sum, x)| *sum += x * x);
                    }
                },
            );
        });
        for group in sums.chunks_exact_mut(self.blocks_per_group() * s) {
            let (r, rest) = group.split_at_mut(s);
            add_rows(r, rest);
            self.inverse_rms(r);
        }

        let sums = &*sums;
        y.par_chunks_mut(s).enumerate().with_min_len(ROWS).for_each(|(row, y)| {
            let (x, w) = (&x[row * s..][..s], self.offset + weight[row % c]);
            let r = &sums[row / c * self.blocks_per_group() * s..][..s];
            simd(
                #[inline(always)]
                || y.iter_mut().zip(x).zip(r).for_each(|((y, x), r)| *y = w * (x * r)),
            );
        });
    }

    /// Computes the gradients of `x` and `weight` from that of `y`; w stands for o + w.
    ///
    /// ```text
    /// dx = r·( w·dy − x·r²·Σ_c(w·dy·x)/C )      dw_c += Σ_{g,t} dy·x·r
    /// ```
    ///
    /// # Panics
    /// If a size is 0, or a slice's length does not match the sizes.
    pub fn backward(&self, gradient: NormGradient<'_>, scratch: &mut Scratch) {
        let NormGradient { x, weight, dy, dx, store, dw } = gradient;
        let trained = if dw.is_empty() { weight.len() } else { dw.len() };
        self.check(&[x.len(), dy.len(), dx.len()], &[weight.len(), trained]);
        let (c, s) = (self.channels, self.seq);
        let scratch = scratch.take(self.blocks() * 2 * s + self.groups * c);
        let (sums, row_dots) = scratch.split_at_mut(self.blocks() * 2 * s);

        // For each block of rows and each column: Σ x² and Σ w·dy·x.
        for_each(sums.par_chunks_mut(2 * s).enumerate(), |(block, sums)| {
            let rows = self.rows_of(block);
            let (x, dy) = (&x[rows.start * s..rows.end * s], &dy[rows.start * s..rows.end * s]);
            let weight = &weight[rows.start % c..][..rows.len()];
            let (square, dot) = sums.split_at_mut(s);
            simd(
                #[inline(always)]
                || {
                    square.fill(0.0);
                    dot.fill(0.0);
                    for ((x, dy), &w) in x.chunks_exact(s).zip(dy.chunks_exact(s)).zip(weight) {
                        let w = self.offset + w;
                        for (((square, dot), &x), &dy) in square.iter_mut().zip(&mut *dot).zip(x).zip(dy) {
                            *square += x * x;
                            *dot += w * dy * x;
                        }
                    }
                },
            );
        });
        // For each group: the first block becomes r and r²·Σ(w·dy·x)/C.
        for group in sums.chunks_exact_mut(self.blocks_per_group() * 2 * s) {
            let (first, rest) = group.split_at_mut(2 * s);
            add_rows(first, rest);
            let (r, pull) = first.split_at_mut(s);
            self.inverse_rms(r);
            pull.iter_mut().zip(r).for_each(|(pull, r)| *pull *= *r * *r / c as f32);
        }

        let sums = &*sums;
        let rows = dx.par_chunks_mut(s).zip(&mut *row_dots).enumerate();
        rows.with_min_len(ROWS).for_each(|(row, (dx, row_dot))| {
            let (x, dy) = (&x[row * s..][..s], &dy[row * s..][..s]);
            let w = self.offset + weight[row % c];
            let (r, pull) = sums[row / c * self.blocks_per_group() * 2 * s..][..2 * s].split_at(s);
            simd(
                #[inline(always)]
                || {
                    let terms = x.iter().zip(dy).zip(r).zip(pull);
                    let gradient = terms.map(|(((x, dy), r), pull)| r * (w * dy - x * pull));
                    match store {
                        Store::Replace => dx.iter_mut().zip(gradient).for_each(|(dx, g)| *dx = g),
                        Store::Add => dx.iter_mut().zip(gradient).for_each(|(dx, g)| *dx += g),
                    }
                    *row_dot = dot3(dy, x, r);
                },
            );
        });
        for row_dots in row_dots.chunks_exact(c) {
            dw.iter_mut().zip(row_dots).for_each(|(dw, dot)| *dw += dot);
        }
    }

    fn blocks_per_group(&self) -> usize {
        self.channels.div_ceil(ROWS)
    }

    fn blocks(&self) -> usize {
        self.groups * self.blocks_per_group()
    }

    /// The rows of block `block`, all in one group.
    fn rows_of(&self, block: usize) -> std::ops::Range<usize> {
        let (group, block) = (block / self.blocks_per_group(), block % self.blocks_per_group());
        let first = group * self.channels + block * ROWS;
        first..(first + ROWS).min((group + 1) * self.channels)
    }

    /// Replaces Σ x² by (mean + ε)^−½.
    fn inverse_rms(&self, sums: &mut [f32]) {
        let (c, eps) = (self.channels as f32, self.eps);
        simd(
            #[inline(always)]
            || sums.iter_mut().for_each(|r| *r = 1.0 / (*r / c + eps).sqrt()),
        );
    }

    fn check(&self, activations: &[usize], weights: &[usize]) {
        let len = self.groups * self.channels * self.seq;
        assert!(len > 0, "{self:?} has no elements");
        assert!(activations.iter().all(|&a| a == len), "{self:?} wants {len} elements, got {activations:?}");
        assert!(weights.iter().all(|&w| w == self.channels), "{self:?} got weights of {weights:?}");
    }
}

/// Adds every row of `rows` to `sum`, in order.
fn add_rows(sum: &mut [f32], rows: &[f32]) {
    simd(
        #[inline(always)]
        || {
            for row in rows.chunks_exact(sum.len()) {
                sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
            }
        },
    );
}

/// Computes Σ a·b·c in [`LANES`] interleaved sums, added in order at the end.
#[inline(always)]
fn dot3(a: &[f32], b: &[f32], c: &[f32]) -> f32 {
    let mut lanes = [0.0; LANES];
    let (a, a_rest) = a.as_chunks::<LANES>();
    let (b, b_rest) = b.as_chunks::<LANES>();
    let (c, c_rest) = c.as_chunks::<LANES>();
    for ((a, b), c) in a.iter().zip(b).zip(c) {
        for i in 0..LANES {
            lanes[i] += a[i] * b[i] * c[i];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).zip(c_rest).map(|((a, b), c)| a * b * c).sum();
    lanes.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, bits, finite_differences, noise, on_threads};
    use super::*;

    const CASES: [RmsNorm; 4] = [
        RmsNorm { channels: 5, groups: 1, seq: 3, eps: 1e-5, offset: 0.0 },
        RmsNorm { channels: 70, groups: 1, seq: 4, eps: 1e-2, offset: 0.0 },
        RmsNorm { channels: 33, groups: 3, seq: 5, eps: 1e-6, offset: 1.0 },
        RmsNorm { channels: 2, groups: 4, seq: 37, eps: 1e-5, offset: 0.0 },
    ];

    fn inputs(norm: &RmsNorm) -> [Vec<f32>; 3] {
        let n = norm.groups * norm.channels * norm.seq;
        let weight = noise(norm.channels, 2).iter().map(|w| 1.0 + 0.7 * w).collect();
        [noise(n, 1), weight, noise(n, 3)]
    }

    /// The reference, by definition, in f64, element by element.
    fn reference(norm: &RmsNorm, x: &[f64], weight: &[f64]) -> Vec<f64> {
        let (c, s) = (norm.channels, norm.seq);
        let r = |group: usize, t: usize| {
            let square: f64 = (0..c).map(|i| x[(group * c + i) * s + t].powi(2)).sum();
            1.0 / (square / c as f64 + f64::from(norm.eps)).sqrt()
        };
        (0..x.len())
            .map(|at| x[at] * (f64::from(norm.offset) + weight[at / s % c]) * r(at / s / c, at % s))
            .collect()
    }

    fn widened(x: &[f32]) -> Vec<f64> {
        x.iter().map(|&x| f64::from(x)).collect()
    }

    #[test]
    fn forward_is_the_definition() {
        for norm in CASES {
            let [x, weight, _] = inputs(&norm);
            let mut y = vec![f32::NAN; x.len()];
            norm.forward(&x, &weight, &mut y, &mut Scratch::new());
            // Tolerance: a few roundings of 2⁻²⁴ in each of sum, root and product.
            assert_close(&y, &reference(&norm, &widened(&x), &widened(&weight)), 1e-6);
        }
    }

    #[test]
    fn gradients_are_those_of_finite_differences() {
        for norm in CASES {
            let [x, weight, dy] = inputs(&norm);
            let loss = |x: &[f64], w: &[f64]| -> f64 {
                reference(&norm, x, w).iter().zip(&dy).map(|(y, &dy)| y * f64::from(dy)).sum()
            };
            let want_dx = finite_differences(&x, |x| loss(x, &widened(&weight)));
            let want_dw = finite_differences(&weight, |w| loss(&widened(&x), w));

            let (mut dx, mut dw) = (vec![f32::NAN; x.len()], vec![0.0; weight.len()]);
            let mut scratch = Scratch::new();
            let mut back = |dx: &mut [f32], store, dw: &mut [f32]| {
                norm.backward(NormGradient { x: &x, weight: &weight, dy: &dy, dx, store, dw }, &mut scratch);
            };
            back(&mut dx, Store::Replace, &mut dw);
            // f32 sums of up to 185 terms; the differences themselves have an error of 1e-9.
            assert_close(&dx, &want_dx, 2e-6);
            assert_close(&dw, &want_dw, 2e-6);

            let before = noise(x.len(), 4);
            let mut sum = before.clone();
            back(&mut sum, Store::Add, &mut dw);
            let want: Vec<f32> = before.iter().zip(&dx).map(|(b, dx)| b + dx).collect();
            assert_eq!(bits(&sum), bits(&want), "dx is added to what was there");
            assert_close(&dw, &want_dw.iter().map(|dw| 2.0 * dw).collect::<Vec<_>>(), 2e-6);
        }
    }

    #[test]
    fn threads_do_not_change_a_bit() {
        let norm = RmsNorm { channels: 200, groups: 2, seq: 100, eps: 1e-5, offset: 0.0 };
        let [x, weight, dy] = inputs(&norm);
        let run = |threads| {
            let (mut y, mut dx, mut dw) = (vec![0.0; x.len()], vec![0.0; x.len()], vec![0.0; 200]);
            on_threads(threads, || {
                let mut scratch = Scratch::new();
                norm.forward(&x, &weight, &mut y, &mut scratch);
                let (weight, dx, dw, store) = (&weight, &mut dx, &mut dw, Store::Replace);
                norm.backward(NormGradient { x: &x, weight, dy: &dy, dx, store, dw }, &mut scratch);
            });
            [bits(&y), bits(&dx), bits(&dw)]
        };
        assert!(run(1) == run(2) && run(1) == run(3));
    }
}
