//! The classifier with its loss, forward and backward, in blocks of the vocabulary.
//!
//! Logits are written once and read once: the block that a thread works on stays in its cache, from the gradient of
//! its logits to that of its weights.

use rayon::prelude::*;

use super::gemm::{Math, Matrix, MatrixMut, Store, matmul_serial};
use super::loss::{block_stats, check_shape, gradient_block, join_stats, mean_loss};
use super::{HostError, Scratch};

/// Rows of the vocabulary that are worked on at a time.
const BLOCK: usize = 512;

/// Parts of the vocabulary whose contributions to `dx` are added up separately, then in order: the same at any number
/// of threads.
const PARTS: usize = 16;

/// A classifier on S positions.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// How matrix products are computed.
    pub math: Math,
    /// `[V, D]`
    pub weight: &'a [f32],
    /// What is classified, `[D, S]`.
    pub x: &'a [f32],
    /// The token that follows each position, `[S]`.
    pub targets: &'a [u32],
    /// The factor on the gradient: the loss scale.
    pub scale: f32,
}

impl Head<'_> {
    /// Computes the logits `[V, S]` and the mean cross-entropy of the targets, in nats per target; leaves in `stats`
    /// what [`Head::backward`] needs.
    ///
    /// Numerics: exponentials and their sums in f32, blocks of rows by their own largest logit and then together;
    /// logarithms and the mean in f64. What is not finite makes the loss NaN.
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
        let x = Matrix::new(self.x, d, s);
        let blocks = scratch.take(2 * s * vocab.div_ceil(BLOCK));
        let tasks = logits.par_chunks_mut(BLOCK * s).zip(self.weight.par_chunks(BLOCK * d));
        tasks.zip(blocks.par_chunks_mut(2 * s)).with_max_len(1).for_each(|((logits, weight), stats)| {
            let rows = weight.len() / d;
            let to = MatrixMut::new(&mut *logits, rows, s);
            matmul_serial(self.math, to, Store::Replace, 1.0, Matrix::new(weight, rows, d), x);
            block_stats(logits, stats);
        });
        let (largest, factor) = stats.take(2 * s).split_at_mut(s);
        join_stats(blocks, largest, factor);
        let loss = mean_loss(logits, self.targets, largest, factor);
        let hit = self.scale / s as f32;
        factor.iter_mut().for_each(|sum| *sum = hit / *sum);
        Ok(loss)
    }

    /// Turns the logits that [`Head::forward`] has left into their gradient, and computes from it that of the weight
    /// (`dw` `[V, D]`, replaced or added to) and that of `x` (`dx` `[D, S]`, replaced).
    ///
    /// # Panics
    /// If the lengths do not fit together.
    pub fn backward(
        &self,
        logits: &mut [f32],
        stats: &mut Scratch,
        dw: &mut [f32],
        store: Store,
        dx: &mut [f32],
        scratch: &mut Scratch,
    ) {
        let s = self.targets.len();
        let (vocab, d) = (logits.len() / s, self.x.len() / s);
        let (largest, factor) = stats.take(2 * s).split_at(s);
        let hit = self.scale / s as f32;
        let x = Matrix::new(self.x, d, s);
        let rows = vocab.div_ceil(PARTS).max(1);
        let partial = scratch.take(d * s * vocab.div_ceil(rows));
        let tasks = logits.par_chunks_mut(rows * s).zip(dw.par_chunks_mut(rows * d));
        let tasks = tasks.zip(self.weight.par_chunks(rows * d)).zip(partial.par_chunks_mut(d * s));
        tasks.enumerate().with_max_len(1).for_each(|(part, (((logits, dw), weight), partial))| {
            let blocks = logits.chunks_mut(BLOCK * s).zip(dw.chunks_mut(BLOCK * d));
            for (i, ((logits, dw), weight)) in blocks.zip(weight.chunks(BLOCK * d)).enumerate() {
                let (first, tall) = (part * rows + i * BLOCK, weight.len() / d);
                gradient_block(logits, first, self.targets, largest, factor, hit);
                let gradient = Matrix::new(&*logits, tall, s);
                matmul_serial(self.math, MatrixMut::new(dw, tall, d), store, 1.0, gradient, x.t());
                let (to, add) =
                    (MatrixMut::new(partial, d, s), if i == 0 { Store::Replace } else { Store::Add });
                matmul_serial(self.math, to, add, 1.0, Matrix::new(weight, tall, d).t(), gradient);
            }
        });
        let partial = &*partial;
        dx.par_chunks_mut(s).enumerate().for_each(|(row, dx)| {
            dx.fill(0.0);
            for part in partial.chunks_exact(d * s) {
                dx.iter_mut().zip(&part[row * s..]).for_each(|(sum, x)| *sum += x);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, bits, finite_differences, noise, on_threads};
    use super::*;

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
        fn run(&self) -> (f64, Vec<f32>, Vec<f32>) {
            let Case { weight, x, targets } = self;
            let s = targets.len();
            let vocab = weight.len() * s / x.len();
            let head = Head { math: Math::F32, weight, x, targets, scale: 8.0 };
            let (mut logits, mut dw, mut dx) =
                (vec![f32::NAN; vocab * s], vec![1.0; weight.len()], x.clone());
            let [mut stats, mut scratch] = [Scratch::new(), Scratch::new()];
            let loss = head.forward(&mut logits, &mut stats, &mut scratch).unwrap();
            head.backward(&mut logits, &mut stats, &mut dw, Store::Add, &mut dx, &mut scratch);
            dw.iter_mut().for_each(|g| *g -= 1.0);
            (loss, dw, dx)
        }
    }

    /// The definition in f64.
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
            let (got, dw, dx) = c.run();
            let (weight, x) = (wide(&c.weight), wide(&c.x));
            assert!((got - loss(&weight, &x, &c.targets)).abs() < 1e-6);
            assert_close(&dw, &finite_differences(&c.weight, |w| 8.0 * loss(w, &x, &c.targets)), 2e-6);
            assert_close(&dx, &finite_differences(&c.x, |x| 8.0 * loss(&weight, x, &c.targets)), 2e-6);
        }
    }

    #[test]
    fn threads_do_not_change_a_bit_in_blocks_of_any_size() {
        for vocab in [PARTS * BLOCK + 700, 3 * BLOCK] {
            let c = case(vocab, 16, 20);
            let run = |threads| {
                let (loss, dw, dx) = on_threads(threads, || c.run());
                (loss.to_bits(), bits(&dw), bits(&dx))
            };
            assert!(run(1) == run(2) && run(1) == run(3), "{vocab}");
        }
    }
}
