//! Division of work into chunks by size alone.

use std::ops::Range;

/// Values per chunk of elementwise work: a chunk fits into the second-level cache and amortises a task's overhead.
pub(crate) const CHUNK: usize = 1 << 14;

/// Interleaved partial sums of a sum along contiguous values; fixed, so that the result does not depend on the
/// instruction set.
pub(crate) const LANES: usize = 16;

/// Sums `block(range)` over the chunks of `0..len`, pairwise as a balanced tree.
///
/// The tree depends on `len` alone, so the sum has the same bits at any number of threads.
pub(crate) fn tree_sum(len: usize, block: &(impl Fn(Range<usize>) -> f64 + Sync)) -> f64 {
    fn sum(range: Range<usize>, block: &(impl Fn(Range<usize>) -> f64 + Sync)) -> f64 {
        if range.len() <= CHUNK {
            return block(range);
        }
        let middle = range.start + (range.len() / 2).next_multiple_of(CHUNK);
        let (left, right) = rayon::join(|| sum(range.start..middle, block), || sum(middle..range.end, block));
        left + right
    }
    sum(0..len, block)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_sum_covers_every_element_once() {
        for len in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 5, 10 * CHUNK] {
            let total = tree_sum(len, &|range| range.map(|i| i as f64).sum());
            assert_eq!(total, (0..len).map(|i| i as f64).sum::<f64>(), "length {len}");
        }
    }
}
