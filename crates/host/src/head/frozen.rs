//! The loss without stored logits, and the gradient of its input: one pass over the vocabulary.
//!
//! ```text
//! dx = hit·(Σ p(v)·w(v) − (1 − p(target))·w(target)),   1 − p(target) = Σ p(v);   both sums without the target
//! ```
//! Each part of the vocabulary adds exponentials relative to its largest logit so far, and what it has added is scaled when a
//! larger one appears. The target is left out of the sums, so nothing cancels where its probability is near 1.
//! Source: Milakov & Gimelshein 2018, arXiv:1805.02867.

use std::ops::Range;

use rayon::prelude::*;
use softane::math::{exp, exp_of_negative};
use softane::pool::for_each;

use super::super::error::check_tokens;
use super::super::gemm::{MatmulPrecision, Matrix, MatrixMut, Packed, Store, matmul_packed, matmul_serial};
use super::super::logits_gradient::Hit;
use super::super::loss::finite_or_zero;
use super::super::outliers;
use super::super::soft_cap::SoftCap;
use super::super::transpose::transpose;
use super::super::{HostError, Scratch, simd};
use super::positions::positions_of;
use super::{Head, LARGE, LOCAL, Local, cut, parts};

/// Values for each position besides its sum of rows: the fields of [`Sums`].
const FIELDS: usize = 5;

/// Elements for each position that [`Head::frozen`] sums separately, in all parts of the vocabulary.
pub fn sums_of_frozen(vocab: usize, dim: usize) -> usize {
    parts(vocab).saturating_mul(dim.saturating_add(FIELDS))
}

/// The positions, of windows of `seq`, whose gradients are summed at once where the classifier `[vocab, dim]` is frozen.
pub fn frozen_positions(vocab: usize, dim: usize, seq: usize) -> usize {
    positions_of(sums_of_frozen(vocab, dim), seq)
}

/// The sums of a part of the vocabulary, for each position; in this order in memory.
struct Sums<'a> {
    /// The largest logit so far, besides the target's.
    largest: &'a mut [f32],
    /// The sum of `exp(logit − largest)` without the target.
    others: &'a mut [f32],
    /// The logit of the target, if it is in this part.
    target: &'a mut [f32],
    /// The factor on what was added before.
    factor: &'a mut [f32],
    /// The sum of the current block.
    block: &'a mut [f32],
    /// The sum of the rows of the weight, each by its exponential, `[S, D]`; empty if no gradient is wanted.
    rows: &'a mut [f32],
}

impl<'a> Sums<'a> {
    /// The sums in `values`, of `s` positions.
    fn of(values: &'a mut [f32], s: usize) -> Sums<'a> {
        let (fields, rows) = values.split_at_mut(FIELDS * s);
        let (largest, fields) = fields.split_at_mut(s);
        let (others, fields) = fields.split_at_mut(s);
        let (target, fields) = fields.split_at_mut(s);
        let (factor, block) = fields.split_at_mut(s);
        Sums { largest, others, target, factor, block, rows }
    }

    /// Adds the exponentials of a block of `logits`, which they replace, times the slope of the bound.
    fn add(&mut self, logits: &mut [f32], cap: Option<SoftCap>) {
        match cap {
            None => self.add_by(
                logits,
                #[inline(always)]
                |_| 1.0,
            ),
            Some(cap) => {
                let inverse = 1.0 / cap.limit;
                self.add_by(
                    logits,
                    #[inline(always)]
                    |y| {
                        // A target that was left out is −∞.
                        let t = if y < -cap.limit { -1.0 } else { y * inverse };
                        1.0 - t * t
                    },
                );
            }
        }
    }

    #[inline(always)]
    fn add_by(&mut self, logits: &mut [f32], slope: impl Fn(f32) -> f32) {
        let Sums { largest, others, factor, block, .. } = self;
        let s = largest.len();
        simd(
            #[inline(always)]
            || {
                factor.copy_from_slice(largest);
                for row in logits.chunks_exact(s) {
                    largest.iter_mut().zip(row).for_each(|(m, &x)| *m = if x > *m { x } else { *m });
                }
                let factors = factor.iter_mut().zip(&**largest);
                factors.for_each(|(old, &m)| *old = exp_of_negative(*old - finite_or_zero(m)));
                block.fill(0.0);
                for row in logits.chunks_exact_mut(s) {
                    for ((x, &m), sum) in row.iter_mut().zip(&**largest).zip(&mut **block) {
                        let power = exp_of_negative(*x - finite_or_zero(m));
                        *sum += power;
                        *x = power * slope(*x);
                    }
                }
                let sums = others.iter_mut().zip(&**factor).zip(&**block);
                sums.for_each(|((sum, factor), block)| *sum = *sum * factor + block);
            },
        );
    }

    /// Scales the sums of rows by the factors.
    fn scale(&mut self, dim: usize) {
        for (row, &factor) in self.rows.chunks_exact_mut(dim).zip(&*self.factor) {
            if factor != 1.0 {
                simd(
                    #[inline(always)]
                    || row.iter_mut().for_each(|x| *x *= factor),
                );
            }
        }
    }
}

impl Head<'_> {
    /// Computes the loss of [`Head::forward`] and the gradient of `x` (`dx` `[D, S]`, replaced), if it is wanted, without
    /// storing logits; the gradient of some positions at a time if its sums are large.
    ///
    /// Numerics: exponentials and their sums in f32, for each part relative to its largest logit; the parts' sums and
    /// logarithms in f64. A logit that is not finite makes the loss NaN.
    ///
    /// # Errors
    /// [`HostError::TokenOutOfRange`] if a target is V or more.
    ///
    /// # Panics
    /// If the lengths do not fit together.
    pub fn frozen(&self, dx: Option<&mut [f32]>, scratch: &mut Scratch) -> Result<f64, HostError> {
        let (s, d) = (self.targets.len(), self.dim());
        let vocab = self.weight.len() / d;
        check_tokens("targets", self.targets, vocab)?;
        let Some(dx) = dx else {
            return Ok(self.one_pass(None, scratch.take(s * sums_of_frozen(vocab, 0))));
        };
        self.frozen_by_positions(frozen_positions(vocab, d, s), dx, scratch)
    }

    /// [`Head::frozen`] with its gradient, `most` positions at a time.
    pub(super) fn frozen_by_positions(
        &self,
        most: usize,
        dx: &mut [f32],
        scratch: &mut Scratch,
    ) -> Result<f64, HostError> {
        let (s, d) = (self.targets.len(), self.dim());
        let each = sums_of_frozen(self.weight.len() / d, d);
        if most >= s {
            return Ok(self.one_pass(Some(dx), scratch.take(s * each)));
        }
        let (columns, sums) = scratch.take(most * (2 * d + each)).split_at_mut(2 * most * d);
        self.in_blocks(columns, dx, |head, dx| {
            Ok(head.one_pass(Some(dx), &mut sums[..head.targets.len() * each]))
        })
    }

    /// The loss and the gradient of `x`, if it is wanted; `sums` are those of all parts.
    fn one_pass(&self, dx: Option<&mut [f32]>, sums: &mut [f32]) -> f64 {
        let (s, d) = (self.targets.len(), self.dim());
        let vocab = self.weight.len() / d;
        let (block, rows) = cut(vocab);
        let x = Packed::new(self.math, Matrix::new(self.x, d, s));
        let each = sums.len() / parts(vocab);
        for_each(sums.par_chunks_mut(each).enumerate(), |(part, sums)| {
            let mut sums = Sums::of(sums, s);
            sums.largest.fill(f32::NEG_INFINITY);
            sums.others.fill(0.0);
            let all = part * rows..vocab.min((part + 1) * rows);
            for first in all.clone().step_by(block) {
                self.add_block(first..all.end.min(first + block), &x, &mut sums, first == all.start);
            }
        });
        let loss = self.join(sums, each, rows);
        if let Some(dx) = dx {
            let (first, others) = sums.split_at_mut(each);
            let Sums { factor, block: of_target, rows: total, .. } = Sums::of(first, s);
            for_each(total.par_chunks_mut(d).enumerate(), |(t, total)| {
                total.iter_mut().for_each(|x| *x *= factor[t]);
                for part in others.chunks_exact(each) {
                    let (factor, row) = (part[3 * s + t], &part[FIELDS * s + t * d..][..d]);
                    outliers::add(factor, row.into(), total);
                }
                outliers::add(-of_target[t], self.elements(self.targets[t] as usize, 1), total);
            });
            transpose(total, s, d, dx);
        }
        loss
    }

    /// Adds the block of the vocabulary `range` to `sums`.
    fn add_block(&self, range: Range<usize>, x: &Packed<'_>, sums: &mut Sums<'_>, is_first: bool) {
        let (s, d, count) = (self.targets.len(), self.dim(), range.len());
        let weight = self.rows(range.start, count);
        LOCAL.with_borrow_mut(|Local { gradient: logits, outliers, .. }| {
            let logits = logits.take(count * s);
            matmul_packed(MatrixMut::new(&mut *logits, count, s), Store::Replace, 1.0, weight, x);
            if let Some(cap) = self.cap {
                cap.apply(logits);
            }
            for (t, &target) in self.targets.iter().enumerate() {
                if range.contains(&(target as usize)) {
                    let at = (target as usize - range.start) * s + t;
                    sums.target[t] = std::mem::replace(&mut logits[at], f32::NEG_INFINITY);
                }
            }
            sums.add(logits, self.cap);
            if sums.rows.is_empty() {
                return;
            }
            if !is_first {
                sums.scale(d);
            }
            let is_apart = self.math == MatmulPrecision::Int16;
            if is_apart {
                outliers.take(logits, s, LARGE);
            }
            let (to, powers) = (MatrixMut::new(&mut *sums.rows, s, d), Matrix::new(&*logits, count, s));
            let store = if is_first { Store::Replace } else { Store::Add };
            matmul_serial(self.math, to, store, 1.0, powers.t(), weight);
            if is_apart {
                outliers.multiply_transposed(self.elements(range.start, count), sums.rows, d);
            }
        });
    }

    /// Joins the parts' `sums`, `each` values a part: the loss. The factors of the parts become those of their rows in the
    /// gradient; `block` of the first part becomes the factor of the target's row.
    fn join(&self, sums: &mut [f32], each: usize, rows: usize) -> f64 {
        let s = self.targets.len();
        let hit = Hit::new(self.loss.scale, s, self.weights);
        let mut loss = 0.0;
        for (t, &target) in self.targets.iter().enumerate() {
            let logit = sums[target as usize / rows * each + 2 * s + t];
            let largest = sums.chunks_exact(each).fold(logit, |most, part| most.max(part[t]));
            let mut others = 0.0;
            for part in sums.chunks_exact_mut(each) {
                let share = exp(part[t] - largest);
                part[3 * s + t] = share;
                others += f64::from(part[s + t]) * f64::from(share);
            }
            let total = others + f64::from(exp(logit - largest));
            let factor = (f64::from(hit.of(t)) / total) as f32;
            sums.chunks_exact_mut(each).for_each(|part| part[3 * s + t] *= factor);
            let slope = self.cap.map_or(1.0, |cap| 1.0 - (logit / cap.limit).powi(2));
            sums[4 * s + t] = (f64::from(hit.of(t)) * others / total) as f32 * slope;
            let nats = || total.ln() + f64::from(largest) - f64::from(logit);
            match self.weights.map(|weights| weights[t]) {
                None => loss += nats(),
                Some(0.0) => {}
                Some(weight) => loss += f64::from(weight) * nats(),
            }
        }
        if self.weights.is_some() { loss } else { loss / s as f64 }
    }
}
