//! The classifier with its loss, forward and backward, in blocks of the vocabulary.
//!
//! Logits are replaced by their exponentials while they are cached, so they are written and read once. In the backward pass
//! a thread's block stays cached from the gradient of its logits to that of its weights.

use rayon::prelude::*;
use softane::pool::for_each;
use std::cell::RefCell;

use super::gemm::{MatmulPrecision, Matrix, MatrixMut, Packed, Store, matmul_packed, matmul_serial};
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
    pub weight: &'a [f32],
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
    weight: &'a [f32],
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
        let (s, d) = (self.targets.len(), self.weight.len() / vocab);
        let (block, _) = cut(vocab);
        let x = Packed::new(self.math, Matrix::new(self.x, d, s));
        let (blocks, total) =
            stats.take(2 * s * (vocab.div_ceil(block) + 1)).split_at_mut(2 * s * vocab.div_ceil(block));
        // For each block, the logits of its targets.
        let hits = scratch.take(s * vocab.div_ceil(block));
        let tasks = logits.par_chunks_mut(block * s).zip(self.weight.par_chunks(block * d));
        let tasks = tasks.zip(blocks.par_chunks_mut(2 * s)).zip(hits.par_chunks_mut(s));
        for_each(tasks.enumerate(), |(i, (((logits, weight), stats), hits))| {
            let rows = weight.len() / d;
            let to = MatrixMut::new(&mut *logits, rows, s);
            matmul_packed(to, Store::Replace, 1.0, Matrix::new(weight, rows, d), &x);
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

    /// Computes the gradient of the weight (`dw` `[V, D]`, replaced or added to), unless it is frozen, and that of `x` (`dx`
    /// `[D, S]`, replaced) from the exponentials in `logits` (bounded logits stay as they are) and the sums in `stats`, both from [`Head::forward`].
    ///
    /// # Panics
    /// If the lengths do not fit together.
    pub fn backward(
        &self,
        logits: &[f32],
        stats: &mut Scratch,
        dw: Option<Gradient<'_>>,
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
        let part = |part: usize, logits: &[f32], mut dw: Option<Gradient<'_>>, task: Part<'_>| {
            let Part { weight, partial, stats } = task;
            let blocks = logits.chunks(block * s).zip(weight.chunks(block * d));
            let blocks = blocks.zip(stats.chunks_exact_mut(2 * s));
            LOCAL.with_borrow_mut(|Local { gradient, exponentials: scratch, outliers }| {
                for (i, ((logits, weight), stats)) in blocks.enumerate() {
                    let (first, tall) = (part * rows + i * block, weight.len() / d);
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
                    if let Some(Gradient { values, store, .. }) = &mut dw {
                        let dw = &mut values[i * block * d..][..tall * d];
                        matmul_packed(MatrixMut::new(dw, tall, d), *store, 1.0, gradient, &packed);
                    }
                    let add = if i == 0 { Store::Replace } else { Store::Add };
                    let to = MatrixMut::new(&mut *partial, s, d);
                    matmul_serial(self.math, to, add, 1.0, gradient.t(), Matrix::new(weight, tall, d));
                    let dw = dw.as_mut().map(|dw| (&mut dw.values[i * block * d..][..tall * d], dw.squares));
                    if is_apart {
                        outliers.multiply_transposed(weight, partial, d);
                    }
                    if let Some((dw, squares)) = dw {
                        if is_apart {
                            outliers.multiply(x, dw, d);
                        }
                        squares.take(first, dw);
                    }
                }
            });
        };
        let parts = self.weight.par_chunks(rows * d).zip(partial.par_chunks_mut(d * s));
        let parts = parts.zip(blocks.par_chunks_mut(rows / block * 2 * s));
        let parts = parts.map(|((weight, partial), stats)| Part { weight, partial, stats });
        let tasks = logits.par_chunks(rows * s).zip(parts);
        match dw {
            Some(Gradient { values, squares, store }) => {
                let tasks = tasks.zip(values.par_chunks_mut(rows * d)).enumerate();
                for_each(tasks, |(i, ((logits, task), values))| {
                    part(i, logits, Some(Gradient { values, squares, store }), task);
                });
            }
            None => for_each(tasks.enumerate(), |(i, (logits, task))| part(i, logits, None, task)),
        }
        let (sum, others) = partial.split_at_mut(d * s);
        for_each(sum.par_chunks_mut(d).enumerate(), |(t, sum)| {
            for part in others.chunks_exact(d * s) {
                sum.iter_mut().zip(&part[t * d..]).for_each(|(sum, x)| *sum += x);
            }
        });
        transpose(sum, s, d, dx);
    }
}

#[cfg(test)]
mod tests {
    use super::super::squared_norms::RowSquaredNorms;
    use super::super::testing::{assert_close, bits, finite_differences, noise, on_threads};
    use super::*;
    use softane::gemm::supports;

    struct Case {
        weight: Vec<f32>,
        x: Vec<f32>,
        targets: Vec<u32>,
    }

    fn case(vocab: usize, d: usize, s: usize) -> Case {
        let targets = (0..s).map(|t| (t * t * 7919 % vocab) as u32).collect();
        Case { weight: noise(vocab * d, 1), x: noise(d * s, 2), targets }
    }

    impl Case {
        /// Loss, dw and dx.
        fn run(&self, math: MatmulPrecision) -> (f64, Vec<f32>, Vec<f32>) {
            self.run_bounded(math, None)
        }

        fn run_bounded(&self, math: MatmulPrecision, cap: Option<SoftCap>) -> (f64, Vec<f32>, Vec<f32>) {
            let Case { weight, x, targets } = self;
            let s = targets.len();
            let vocab = weight.len() * s / x.len();
            let head =
                Head { math, weight, x, targets, weights: None, cap, loss: LossOptions { scale: 8.0 } };
            let (mut logits, mut dw, mut dx) =
                (vec![f32::NAN; vocab * s], vec![1.0; weight.len()], x.clone());
            let [mut stats, mut scratch] = [Scratch::new(), Scratch::new()];
            let loss = head.forward(&mut logits, &mut stats, &mut scratch).unwrap();
            let squares = RowSquaredNorms::new(vocab, x.len() / s);
            let to = Gradient { values: &mut dw, squares: &squares, store: Store::Add };
            head.backward(&logits, &mut stats, Some(to), &mut dx, &mut scratch);
            let mut frozen = vec![f32::NAN; dx.len()];
            head.forward(&mut logits, &mut stats, &mut scratch).unwrap();
            head.backward(&logits, &mut stats, None, &mut frozen, &mut scratch);
            assert_eq!(bits(&frozen), bits(&dx), "with a frozen classifier");
            assert!(squares.are_of(&dw));
            dw.iter_mut().for_each(|g| *g -= 1.0);
            (loss, dw, dx)
        }
    }

    /// The reference, by definition, in f64.
    fn loss(weight: &[f64], x: &[f64], targets: &[u32]) -> f64 {
        let s = targets.len();
        let d = x.len() / s;
        let column = |t: usize| -> f64 {
            let logit = |row: &[f64]| -> f64 { row.iter().enumerate().map(|(i, w)| w * x[i * s + t]).sum() };
            let all: Vec<f64> = weight.chunks(d).map(logit).collect();
            all.iter().map(|l| l.exp()).sum::<f64>().ln() - all[targets[t] as usize]
        };
        (0..s).map(column).sum::<f64>() / s as f64
    }

    #[test]
    fn gradients_are_those_of_finite_differences() {
        let wide = |x: &[f32]| -> Vec<f64> { x.iter().map(|&x| f64::from(x)).collect() };
        for (vocab, d, s) in [(2, 1, 1), (17, 5, 3), (40, 6, 9)] {
            let c = case(vocab, d, s);
            let (got, dw, dx) = c.run(MatmulPrecision::F32);
            let (weight, x) = (wide(&c.weight), wide(&c.x));
            assert!((got - loss(&weight, &x, &c.targets)).abs() < 1e-6);
            assert_close(&dw, &finite_differences(&c.weight, |w| 8.0 * loss(w, &x, &c.targets)), 2e-6);
            assert_close(&dx, &finite_differences(&c.x, |x| 8.0 * loss(&weight, x, &c.targets)), 2e-6);
        }
    }

    #[test]
    fn gradients_of_bounded_logits_are_those_of_finite_differences() {
        let wide = |x: &[f32]| -> Vec<f64> { x.iter().map(|&x| f64::from(x)).collect() };
        for (vocab, d, s) in [(17, 5, 3), (40, 6, 9)] {
            let c = case(vocab, d, s);
            let (got, dw, dx) = c.run_bounded(MatmulPrecision::F32, Some(SoftCap { limit: 1.5 }));
            let loss = |weight: &[f64], x: &[f64]| -> f64 {
                let column = |t: usize| -> f64 {
                    let logit =
                        |row: &[f64]| -> f64 { row.iter().enumerate().map(|(i, w)| w * x[i * s + t]).sum() };
                    let all: Vec<f64> = weight.chunks(d).map(|row| 1.5 * (logit(row) / 1.5).tanh()).collect();
                    all.iter().map(|l| l.exp()).sum::<f64>().ln() - all[c.targets[t] as usize]
                };
                (0..s).map(column).sum::<f64>() / s as f64
            };
            let (weight, x) = (wide(&c.weight), wide(&c.x));
            assert!((got - loss(&weight, &x)).abs() < 1e-6);
            assert_close(&dw, &finite_differences(&c.weight, |w| 8.0 * loss(w, &x)), 2e-6);
            assert_close(&dx, &finite_differences(&c.x, |x| 8.0 * loss(&weight, x)), 2e-6);
        }
    }

    #[test]
    fn threads_do_not_change_a_bit_in_blocks_of_any_size() {
        for vocab in [PARTS * BLOCK + 700, 3 * BLOCK, PARTS + 1] {
            let c = case(vocab, 16, 20);
            for math in
                [MatmulPrecision::F32, MatmulPrecision::Int16].into_iter().filter(|&math| supports(math))
            {
                let run = |threads| {
                    let (loss, dw, dx) = on_threads(threads, || c.run(math));
                    (loss.to_bits(), bits(&dw), bits(&dx))
                };
                assert!(run(1) == run(2) && run(1) == run(3), "{vocab} {math:?}");
            }
        }
    }

    /// Probabilities far below the largest ones must not round to 0.
    #[test]
    fn integers_keep_what_is_improbable() {
        let mut c = case(3000, 16, 40);
        // One token of fifty has a large logit.
        for (word, weight) in c.weight.chunks_mut(16).enumerate().filter(|(word, _)| word % 50 != 0) {
            weight
                .iter_mut()
                .enumerate()
                .for_each(|(i, w)| *w = 0.05 * *w + 0.01 * (word + i) as f32 / 3000.0);
        }
        let error = |got: &[f32], want: &[f32]| {
            let square = |x: f32| f64::from(x) * f64::from(x);
            let off: f64 = got.iter().zip(want).map(|(got, want)| square(got - want)).sum();
            (off / want.iter().map(|&x| square(x)).sum::<f64>()).sqrt()
        };
        if supports(MatmulPrecision::Int16) {
            let ((_, dw, dx), (_, want_dw, want_dx)) =
                (c.run(MatmulPrecision::Int16), c.run(MatmulPrecision::F32));
            let errors = [error(&dw, &want_dw), error(&dx, &want_dx)];
            assert!(errors.iter().all(|&e| e < 1e-4), "{errors:?}");
        }
    }
}
