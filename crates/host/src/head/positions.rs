//! The classifier with its loss, some positions at a time.

use super::super::squared_norms::Gradient;
use super::super::{HostError, Scratch, Store};
use super::{Head, parts};

/// Elements that are stored at once, at most (64 MiB), unless those of the fewest positions are more.
const MOST: usize = 16 << 20;

/// The fewest positions: every block reads the weight, and where it is trained reads and writes its gradient.
const FEWEST: usize = 16;

/// The positions, of `seq`, that are computed at once if each takes `each` elements.
pub(super) fn positions_of(each: usize, seq: usize) -> usize {
    let blocks = each.saturating_mul(seq).div_ceil(MOST).max(1);
    seq.div_ceil(blocks).next_multiple_of(FEWEST).min(seq)
}

/// The positions, of windows of `seq`, whose logits are stored at once where the classifier `[vocab, dim]` is trained.
pub fn positions_at_a_time(vocab: usize, dim: usize, seq: usize) -> usize {
    positions_of(vocab.max(sums_of_trained(vocab, dim)), seq)
}

/// Elements for each position that [`Head::backward`] sums separately: a row for each part of the vocabulary, and `x`.
pub fn sums_of_trained(vocab: usize, dim: usize) -> usize {
    dim.saturating_mul(parts(vocab) + 1)
}

/// The working memory of [`Head::by_positions`].
#[derive(Debug)]
pub struct HeadMemory<'a> {
    /// Those of [`positions_at_a_time`], `[V, positions]`.
    pub logits: &'a mut [f32],
    /// As in [`Head::forward`].
    pub stats: &'a mut Scratch,
    /// Working memory.
    pub scratch: &'a mut Scratch,
    /// Columns of a block.
    pub columns: &'a mut Scratch,
}

impl Head<'_> {
    /// Computes the results of [`Head::forward`] and [`Head::backward`], with the logits of some positions at a time. The
    /// gradient of the weight is the sum over these blocks, in order.
    ///
    /// # Errors
    /// [`HostError::TokenOutOfRange`] if a target is V or more.
    ///
    /// # Panics
    /// If the lengths do not fit together.
    pub fn by_positions(
        &self,
        memory: HeadMemory<'_>,
        dw: Gradient<'_>,
        dx: &mut [f32],
    ) -> Result<f64, HostError> {
        let HeadMemory { logits, stats, scratch, columns } = memory;
        let d = self.dim();
        let vocab = self.weight.len() / d;
        let most = logits.len() / vocab;
        let Gradient { values, squares, mut store } = dw;
        self.in_blocks(columns.take(2 * most * d), dx, |head, dx| {
            let logits = &mut logits[..vocab * head.targets.len()];
            let loss = head.forward(logits, stats, scratch)?;
            head.backward(logits, stats, Gradient { values: &mut *values, squares, store }, dx, scratch);
            store = Store::Add;
            Ok(loss)
        })
    }

    /// The loss, and the gradient of `x` in `dx` `[D, S]`, from those that `compute` gives of blocks of positions, in order.
    /// `columns` is working memory for the columns of a block and their gradient.
    ///
    /// # Errors
    /// What `compute` returns.
    pub(super) fn in_blocks(
        &self,
        columns: &mut [f32],
        dx: &mut [f32],
        mut compute: impl FnMut(&Head<'_>, &mut [f32]) -> Result<f64, HostError>,
    ) -> Result<f64, HostError> {
        let (s, d) = (self.targets.len(), self.dim());
        let most = columns.len() / (2 * d);
        let (x, d_columns) = columns.split_at_mut(most * d);
        let mut sum = 0.0;
        for first in (0..s).step_by(most) {
            let block = first..s.min(first + most);
            let count = block.len();
            let (x, d_columns) = (&mut x[..count * d], &mut d_columns[..count * d]);
            let rows = x.chunks_exact_mut(count).zip(self.x.chunks_exact(s));
            rows.for_each(|(to, from)| to.copy_from_slice(&from[block.clone()]));
            let (targets, weights) = (&self.targets[block.clone()], self.weights.map(|w| &w[block.clone()]));
            let mut loss = self.loss;
            // Without weights, the mean of a block counts as much as it has positions.
            let share = if weights.is_some() { 1.0 } else { count as f64 / s as f64 };
            loss.scale *= share as f32;
            sum += share * compute(&Head { x, targets, weights, loss, ..*self }, d_columns)?;
            let rows = dx.chunks_exact_mut(s).zip(d_columns.chunks_exact(count));
            rows.for_each(|(to, from)| to[block.clone()].copy_from_slice(from));
        }
        Ok(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_stored_than_fits() {
        // stories15m, SmolLM2-135M, Gemma 3 1B, and a wide model with a small vocabulary.
        for (vocab, dim, seq, want) in [
            (32_000, 288, 256, 256),
            (49_152, 576, 512, 256),
            (262_144, 1152, 512, 64),
            (1000, 16_384, 512, 64),
        ] {
            let positions = positions_at_a_time(vocab, dim, seq);
            assert_eq!(positions, want, "{vocab} tokens of width {dim}, {seq} positions");
            assert!(positions * vocab.max(17 * dim) <= MOST * 5 / 4);
        }
        assert_eq!(positions_at_a_time(1 << 27, 1, 100), FEWEST);
        assert_eq!(positions_at_a_time(5, usize::MAX, 100), FEWEST);
        assert_eq!(positions_at_a_time(5, 1, 3), 3);
    }
}
