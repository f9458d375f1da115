//! The classifier with its loss, forward and backward, in blocks of the vocabulary.
//!
//! | the classifier | logits | |
//! |---|---|---|
//! | is trained | are stored, `[V, S]` | [`Head::forward`], [`Head::backward`] |
//! | is trained, and V is large | are stored for some positions at a time | [`Head::by_positions`] |
//! | is frozen, or only the loss is wanted | are not stored | [`Head::frozen`] |
//!
//! Stored logits are replaced by their exponentials while they are cached, so they are written and read once. In the backward pass
//! a thread's block stays cached from the gradient of its logits to that of its weights.

mod frozen; //    without stored logits
mod positions; // with the logits of some positions

pub use frozen::{frozen_positions, sums_of_frozen};
pub use positions::sums_of_trained;
pub use positions::{HeadMemory, positions_at_a_time};

use rayon::prelude::*;
use softane::pool::for_each;
use std::cell::RefCell;

use super::gemm::{
    Elements, MatmulPrecision, Matrix, MatrixMut, Packed, Store, matmul_packed, matmul_serial,
};
use super::logits_gradient::{Hit, LogitsGradient};
use super::loss::{block_exponentials, block_stats, check_shape, exponentials, join_stats, joined_loss};
use super::outliers::Outliers;
use super::soft_cap::SoftCap;
use super::squared_norms::Gradient;
use super::transpose::transpose;
use super::{HostError, Scratch};

/// The largest number of rows of the vocabulary in a block.
const BLOCK: usize = 512;

/// The largest number of parts of the vocabulary. Their contributions to `dx` are computed separately and added in order,
/// which gives the same bits at any number of threads.
const PARTS: usize = 16;

/// Elements of `softmax − onehot` above this magnitude are multiplied separately where factors are rounded to integers:
/// factors below 2⁻¹³ of the largest of their block round to 0, and most tokens of a vocabulary are that improbable.
const LARGE: f32 = 1.0 / 512.0;

/// A thread's working memory in the backward pass; it is not shared, as the thread runs no other task of the pool
/// while it uses it.
#[derive(Default)]
struct Local {
    /// The gradient of a block's logits; it stays in the cache.
    gradient: Scratch,
    /// The exponentials of a block's bounded logits.
    exponentials: Scratch,
    outliers: Outliers,
}

thread_local! {
    /// Kept between steps, so that these allocate nothing.
    static LOCAL: RefCell<Local> = RefCell::default();
}

/// The rows per block, and the rows per part, which is a number of whole blocks.
fn cut(vocab: usize) -> (usize, usize) {
    let part = vocab.div_ceil(PARTS).max(1);
    let blocks = part.div_ceil(BLOCK);
    let block = part.div_ceil(blocks);
    (block, block * blocks)
}

/// The number of parts.
fn parts(vocab: usize) -> usize {
    vocab.div_ceil(cut(vocab).1)
}

/// How the loss and its gradient are formed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossOptions {
    /// The factor on the gradient that keeps small ones in the range of fp16.
    pub scale: f32,
}

impl Default for LossOptions {
    fn default() -> LossOptions {
        LossOptions { scale: 1.0 }
    }
}

/// A classifier on S positions.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// How matrix products are computed.
    pub math: MatmulPrecision,
    /// `[V, D]`
    pub weight: Elements<'a>,
    /// The final norm's output, `[D, S]`.
    pub x: &'a [f32],
    /// The token that follows each position, `[S]`.
    pub targets: &'a [u32],
    /// The weight of each target, `[S]`; without them the loss is the mean.
    pub weights: Option<&'a [f32]>,
    /// The bound of the logits.
    pub cap: Option<SoftCap>,
    /// How the loss and its gradient are formed.
    pub loss: LossOptions,
}

/// The operands of a part of the vocabulary in [`Head::backward`].
struct Part<'a> {
    /// The part's rows of the gradient of the weight.
    dw: &'a mut [f32],
    /// What the part adds to the gradient of `x`, `[S, D]`.
    partial: &'a mut [f32],
    stats: &'a mut [f32],
}

impl Head<'_> {
    /// Computes the mean cross-entropy of the targets, in nats per target, or their sum by the weights; `logits` `[V, S]` and `stats` are then the
    /// input of [`Head::backward`].
    ///
    /// Numerics: exponentials and their sums in f32, blocks of rows by their own largest logit and then together;
    /// logarithms and the mean in f64. A logit that is not finite makes the loss NaN.
    ///
    /// # Errors
    /// [`HostError::TokenOutOfRange`] if a target is V or more.
    ///
    /// # Panics
    /// If the lengths do not fit together.
    pub fn forward(
        &self,
        logits: &mut [f32],
        stats: &mut Scratch,
        scratch: &mut Scratch,
    ) -> Result<f64, HostError> {
        let vocab = check_shape(logits, self.targets)?;
        let (s, d) = (self.targets.len(), self.dim());
        let (block, _) = cut(vocab);
        let x = Packed::new(self.math, Matrix::new(self.x, d, s));
        let (blocks, total) =
            stats.take(2 * s * (vocab.div_ceil(block) + 1)).split_at_mut(2 * s * vocab.div_ceil(block));
        // For each block, the logits of its targets.
        let hits = scratch.take(s * vocab.div_ceil(block));
        let tasks = logits.par_chunks_mut(block * s).zip(blocks.par_chunks_mut(2 * s));
        for_each(tasks.zip(hits.par_chunks_mut(s)).enumerate(), |(i, ((logits, stats), hits))| {
            let rows = logits.len() / s;
            let to = MatrixMut::new(&mut *logits, rows, s);
            matmul_packed(to, Store::Replace, 1.0, self.rows(i * block, rows), &x);
            if let Some(cap) = self.cap {
                cap.apply(logits);
            }
            for ((t, hit), &target) in hits.iter_mut().enumerate().zip(self.targets) {
                if target as usize / block == i {
                    *hit = logits[target as usize % block * s + t];
                }
            }
            match self.cap {
                None => block_exponentials(logits, stats),
                Some(_) => block_stats(logits, stats),
            }
        });
        let (largest, sum) = total.split_at_mut(s);
        join_stats(blocks, largest, sum);
        Ok(joined_loss(largest, sum, self.weights, |t| hits[self.targets[t] as usize / block * s + t]))
    }

    /// Computes the gradient of the weight (`dw` `[V, D]`, replaced or added to) and that of `x` (`dx` `[D, S]`, replaced)
    /// from the exponentials in `logits` (bounded logits stay as they are) and the sums in `stats`, both from
    /// [`Head::forward`].
    ///
    /// # Panics
    /// If the lengths do not fit together.
    pub fn backward(
        &self,
        logits: &[f32],
        stats: &mut Scratch,
        dw: Gradient<'_>,
        dx: &mut [f32],
        scratch: &mut Scratch,
    ) {
        let s = self.targets.len();
        let (vocab, d) = (logits.len() / s, self.x.len() / s);
        let (block, rows) = cut(vocab);
        let hit = Hit::new(self.loss.scale, s, self.weights);
        let count = vocab.div_ceil(block);
        let (blocks, total) = stats.take(2 * s * (count + 1)).split_at_mut(2 * s * count);
        let (largest, factor) = total.split_at_mut(s);
        factor.iter_mut().enumerate().for_each(|(t, sum)| *sum = hit.of(t) / *sum);
        let of = LogitsGradient { targets: self.targets, largest: &*largest, factor: &*factor, hit };
        // [S, D]: outliers are multiplied with contiguous rows.
        let parts = vocab.div_ceil(rows);
        let (x, partial) = scratch.take((parts + 1) * d * s).split_at_mut(d * s);
        transpose(self.x, d, s, x);
        let x = &*x;
        let packed = Packed::new(self.math, Matrix::new(x, s, d));
        let is_apart = self.math == MatmulPrecision::Int16;
        let Gradient { values, squares, store } = dw;
        let part = |part: usize, logits: &[f32], task: Part<'_>| {
            let Part { dw, partial, stats } = task;
            let blocks = logits.chunks(block * s).zip(dw.chunks_mut(block * d));
            let blocks = blocks.zip(stats.chunks_exact_mut(2 * s));
            LOCAL.with_borrow_mut(|Local { gradient, exponentials: scratch, outliers }| {
                for (i, ((logits, dw), stats)) in blocks.enumerate() {
                    let (first, tall) = (part * rows + i * block, dw.len() / d);
                    let gradient = gradient.take(logits.len());
                    match self.cap {
                        None => of.block(logits, gradient, stats, first),
                        Some(cap) => {
                            let powers = scratch.take(logits.len());
                            exponentials(logits, &stats[..s], powers);
                            of.block(powers, gradient, stats, first);
                            cap.slope(gradient, logits);
                        }
                    }
                    if is_apart {
                        outliers.take(gradient, s, hit.most() * LARGE);
                    }
                    let gradient = Matrix::new(&*gradient, tall, s);
                    matmul_packed(MatrixMut::new(dw, tall, d), store, 1.0, gradient, &packed);
                    let add = if i == 0 { Store::Replace } else { Store::Add };
                    let to = MatrixMut::new(&mut *partial, s, d);
                    matmul_serial(self.math, to, add, 1.0, gradient.t(), self.rows(first, tall));
                    if is_apart {
                        outliers.multiply_transposed(self.elements(first, tall), partial, d);
                        outliers.multiply(x, dw, d);
                    }
                    squares.take(first, dw);
                }
            });
        };
        let parts = values.par_chunks_mut(rows * d).zip(partial.par_chunks_mut(d * s));
        let parts = parts.zip(blocks.par_chunks_mut(rows / block * 2 * s));
        let parts = parts.map(|((dw, partial), stats)| Part { dw, partial, stats });
        let tasks = logits.par_chunks(rows * s).zip(parts).enumerate();
        for_each(tasks, |(i, (logits, task))| part(i, logits, task));
        let (sum, others) = partial.split_at_mut(d * s);
        for_each(sum.par_chunks_mut(d).enumerate(), |(t, sum)| {
            for part in others.chunks_exact(d * s) {
                sum.iter_mut().zip(&part[t * d..]).for_each(|(sum, x)| *sum += x);
            }
        });
        transpose(sum, s, d, dx);
    }

    /// The width of a row of the weight, D.
    fn dim(&self) -> usize {
        self.x.len() / self.targets.len()
    }

    /// The elements of `count` rows of the weight.
    fn elements(&self, first: usize, count: usize) -> Elements<'_> {
        let d = self.dim();
        self.weight.part(first * d..(first + count) * d)
    }

    /// `count` rows of the weight, `[count, D]`.
    fn rows(&self, first: usize, count: usize) -> Matrix<'_> {
        Matrix::new(self.elements(first, count), count, self.dim())
    }
}

#[cfg(test)]
mod tests;
