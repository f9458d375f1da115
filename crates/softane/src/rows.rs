//! Sums, extremes, softmax and normalisation of rows.
//!
//! A row is reduced in 16 lanes on any machine, and the lanes are combined pairwise: the order of the additions depends
//! only on the length.

use crate::math::exp_of_negative;
use crate::simd::vectorised;

/// One register of the widest kind.
const LANES: usize = 16;

/// Blocks of 16 after which partial sums are added up and start again at 0, which keeps long sums accurate.
const RESTART: usize = 64;

/// Below this, the exponential is nearer to 0 than to the smallest f32: −104 < ln 2⁻¹⁵⁰ = −103.97.
const VANISHES: f32 = -104.0;

/// How a row is folded to one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fold {
    /// The sum; 0 of nothing.
    Sum,
    /// The greatest, NaN ignored; −∞ of nothing.
    Max,
    /// The smallest, NaN ignored; +∞ of nothing.
    Min,
}

impl Fold {
    /// The result of an empty row.
    pub fn start(self) -> f32 {
        match self {
            Fold::Sum => 0.0,
            Fold::Max => f32::NEG_INFINITY,
            Fold::Min => f32::INFINITY,
        }
    }

    #[inline(always)]
    fn join_one(self, x: f32, total: f32) -> f32 {
        match self {
            Fold::Sum => total + x,
            Fold::Max => {
                if x > total {
                    x
                } else {
                    total
                }
            }
            Fold::Min => {
                if x < total {
                    x
                } else {
                    total
                }
            }
        }
    }

    /// Folds each of `x` into its place of `totals`.
    pub fn into(self, totals: &mut [f32], x: &[f32]) {
        // One loop for each: a common loop would not be vectorised.
        vectorised(
            #[inline(always)]
            || match self {
                Fold::Sum => each(totals, x, |x, total| Fold::Sum.join_one(x, total)),
                Fold::Max => each(totals, x, |x, total| Fold::Max.join_one(x, total)),
                Fold::Min => each(totals, x, |x, total| Fold::Min.join_one(x, total)),
            },
        );
    }

    /// One loop for each: a common loop would not be vectorised.
    #[inline(always)]
    fn row(self, row: &[f32]) -> f32 {
        match self {
            Fold::Sum => self.joined(lanes(row, self.start(), |x, total| Fold::Sum.join_one(x, total))),
            Fold::Max => self.joined(lanes(row, self.start(), |x, total| Fold::Max.join_one(x, total))),
            Fold::Min => self.joined(lanes(row, self.start(), |x, total| Fold::Min.join_one(x, total))),
        }
    }

    /// Lanes joined pairwise.
    #[inline(always)]
    fn joined(self, mut lanes: [f32; LANES]) -> f32 {
        let mut n = LANES;
        while n > 1 {
            n /= 2;
            for i in 0..n {
                lanes[i] = self.join_one(lanes[i + n], lanes[i]);
            }
        }
        lanes[0]
    }
}

/// Folds a row in [`LANES`] lanes.
#[inline(always)]
fn lanes(row: &[f32], start: f32, join: impl Fn(f32, f32) -> f32) -> [f32; LANES] {
    let (blocks, tail) = row.as_chunks::<LANES>();
    let mut total = [start; LANES];
    for part in blocks.chunks(RESTART) {
        let mut lanes = [start; LANES];
        for block in part {
            each(&mut lanes, block, &join);
        }
        each(&mut total, &lanes, &join);
    }
    each(&mut total, tail, join);
    total
}

#[inline(always)]
fn each(totals: &mut [f32], x: &[f32], join: impl Fn(f32, f32) -> f32) {
    for (total, &x) in totals.iter_mut().zip(x) {
        *total = join(x, *total);
    }
}

/// Folds each row of `row` values into one of `totals`.
pub fn fold(values: &[f32], row: usize, fold: Fold, totals: &mut [f32]) {
    vectorised(
        #[inline(always)]
        || {
            for (total, row) in totals.iter_mut().zip(values.chunks_exact(row)) {
                *total = fold.row(row);
            }
        },
    );
}

/// Writes the softmax of each row of `row` values, `exp(x − max x) / Σ exp(x − max x)`, to `out`.
pub fn softmax(values: &[f32], out: &mut [f32], row: usize) {
    vectorised(
        #[inline(always)]
        || {
            for (from, to) in values.chunks_exact(row).zip(out.chunks_exact_mut(row)) {
                let top = Fold::Max.row(from);
                let (from, from_tail) = from.as_chunks::<LANES>();
                let (blocks, tail) = to.as_chunks_mut::<LANES>();
                // The sum is that of `Fold::Sum`.
                let mut total = [0.0; LANES];
                for (blocks, from) in blocks.chunks_mut(RESTART).zip(from.chunks(RESTART)) {
                    let mut lanes = [0.0; LANES];
                    for (block, from) in blocks.iter_mut().zip(from) {
                        // Hidden by a causal mask: the result is 0 without exponentials.
                        if from.iter().fold(true, |all, &x| all & (x - top < VANISHES)) {
                            block.fill(0.0);
                            continue;
                        }
                        for i in 0..LANES {
                            block[i] = exp_of_negative(from[i] - top);
                            lanes[i] += block[i];
                        }
                    }
                    for (total, lane) in total.iter_mut().zip(lanes) {
                        *total += lane;
                    }
                }
                for ((to, &x), total) in tail.iter_mut().zip(from_tail).zip(&mut total) {
                    *to = exp_of_negative(x - top);
                    *total += *to;
                }
                let scale = 1.0 / Fold::Sum.joined(total);
                for x in to {
                    *x *= scale;
                }
            }
        },
    );
}

/// Replaces each row of `length` values by `(x − mean) / √(variance + ε)`, the variance being the mean of squared
/// distances from the mean.
pub fn normalize(values: &mut [f32], length: usize, epsilon: f32) {
    vectorised(
        #[inline(always)]
        || {
            let n = length as f32;
            let mut squares = [0.0; LANES];
            for row in values.chunks_exact_mut(length) {
                let mean = Fold::Sum.row(row) / n;
                for x in row.iter_mut() {
                    *x -= mean;
                }
                let mut sum = 0.0;
                for part in row.chunks(LANES) {
                    let squares = &mut squares[..part.len()];
                    for (square, &x) in squares.iter_mut().zip(part) {
                        *square = x * x;
                    }
                    sum += Fold::Sum.row(squares);
                }
                let scale = 1.0 / (sum / n + epsilon).sqrt();
                for x in row {
                    *x *= scale;
                }
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_any_length_are_folded_exactly_on_integers() {
        for n in [1, 15, 16, 17, 1024, 1025, 5000] {
            let v: Vec<f32> = (0..2 * n).map(|i| (i % 7) as f32 - 2.0).collect();
            let of = |f: Fold| {
                let mut totals = [f32::NAN; 2];
                fold(&v, n, f, &mut totals);
                totals
            };
            let rows = [&v[..n], &v[n..]];
            assert_eq!(of(Fold::Sum), rows.map(|r| r.iter().sum::<f32>()), "{n}");
            assert_eq!(of(Fold::Max), rows.map(|r| r.iter().copied().fold(f32::MIN, f32::max)), "{n}");
            assert_eq!(of(Fold::Min), rows.map(|r| r.iter().copied().fold(f32::MAX, f32::min)), "{n}");
        }
    }

    #[test]
    fn lanes_do_not_depend_on_the_vectors() {
        let v: Vec<f32> = (0..1000).map(|i| (i as f32 * 0.7).sin()).collect();
        let mut total = [0.0];
        fold(&v, 1000, Fold::Sum, &mut total);
        assert_eq!(total[0].to_bits(), Fold::Sum.row(&v).to_bits());
    }

    #[test]
    fn what_vanishes_in_a_softmax_is_0_and_the_rest_is_not_touched() {
        for hidden in [-103.0, -103.9, -104.0, -1e30, f32::NEG_INFINITY] {
            let from: Vec<f32> = (0..50).map(|i| if i < 20 { i as f32 / 8.0 } else { hidden }).collect();
            let mut v = vec![f32::NAN; 50];
            let want: Vec<f32> = from.iter().map(|x| exp_of_negative(x - 19.0 / 8.0)).collect();
            let sum: f64 = want.iter().map(|&x| f64::from(x)).sum();
            softmax(&from, &mut v, 50);
            for (got, want) in v.iter().zip(want) {
                assert!((f64::from(*got) - f64::from(want) / sum).abs() < 1e-7, "{hidden}");
            }
            assert!(v[20..].iter().all(|&x| x == 0.0 || hidden > -104.0), "{hidden}");
        }
    }

    /// At every position: in whole vectors, in the tail, and in rows of columns.
    #[test]
    fn extremes_pass_over_nan() {
        for row in [1, 15, 16, 17, 100, 2100] {
            for at in 0..row.min(40) {
                let mut values: Vec<f32> = (0..row).map(|i| (i * 7 % 31) as f32 - 15.0).collect();
                values[at] = f32::NAN;
                let kept = || values.iter().copied().filter(|x| !x.is_nan());
                for (fold, want) in [
                    (Fold::Max, kept().fold(f32::NEG_INFINITY, f32::max)),
                    (Fold::Min, kept().fold(f32::INFINITY, f32::min)),
                ] {
                    let mut total = [0.0];
                    super::fold(&values, row, fold, &mut total);
                    assert_eq!(total, [want], "{fold:?} of {row} with NaN at {at}");
                    let mut totals = vec![fold.start(); row];
                    fold.into(&mut totals, &values);
                    assert_eq!(totals[at], fold.start(), "{fold:?}, a NaN in column {at}");
                }
            }
        }
    }

    #[test]
    fn softmax_of_a_row_with_a_nan_is_nan() {
        let mut v = [7.0; 6];
        softmax(&[1.0, f32::NAN, 2.0, 0.0, 0.0, 0.0], &mut v, 3);
        assert!(v[..3].iter().all(|x| x.is_nan()));
        assert!(v[3..].iter().all(|x| (x - 1.0 / 3.0).abs() < 1e-7));
    }
}
