//! The cross-entropy of tokens, and its gradient in blocks of the vocabulary.

use super::error::check_tokens;
use super::{HostError, simd};
use softane::math::{exp, exp_of_negative};

pub(super) fn check_shape(logits: &[f32], targets: &[u32]) -> Result<usize, HostError> {
    let (n, s) = (logits.len(), targets.len());
    assert!(s > 0 && n.is_multiple_of(s), "{n} logits are no rows of {s} positions");
    check_tokens("targets", targets, n / s)?;
    Ok(n / s)
}

/// For each column of a block of rows, the largest logit and the sum of `exp(logit − largest)`: `stats` becomes
/// `[2, S]`, largest logits and sums.
pub(super) fn block_stats(logits: &[f32], stats: &mut [f32]) {
    let (largest, sum) = stats.split_at_mut(stats.len() / 2);
    simd(
        #[inline(always)]
        || {
            find_largest(logits, largest);
            let rows = logits.chunks_exact(sum.len());
            add_up(
                rows,
                largest,
                sum,
                #[inline(always)]
                |x, m| exp_of_negative(x - m),
            );
        },
    );
}

/// The exponentials of a block of logits, relative to the `largest` of each column.
pub(super) fn exponentials(logits: &[f32], largest: &[f32], to: &mut [f32]) {
    simd(
        #[inline(always)]
        || {
            for (row, to) in logits.chunks_exact(largest.len()).zip(to.chunks_exact_mut(largest.len())) {
                let terms = to.iter_mut().zip(row).zip(largest);
                terms.for_each(|((to, x), m)| *to = exp_of_negative(x - finite_or_zero(*m)));
            }
        },
    );
}

/// As [`block_stats`], with each logit replaced by its exponential.
pub(super) fn block_exponentials(logits: &mut [f32], stats: &mut [f32]) {
    let (largest, sum) = stats.split_at_mut(stats.len() / 2);
    simd(
        #[inline(always)]
        || {
            find_largest(logits, largest);
            let rows = logits.chunks_exact_mut(sum.len());
            add_up(
                rows,
                largest,
                sum,
                #[inline(always)]
                |x: &mut f32, m| {
                    *x = exp_of_negative(*x - m);
                    *x
                },
            );
        },
    );
}

/// For each column, the sum of `exponential(element, largest element)`.
#[inline(always)]
fn add_up<X, R: IntoIterator<Item = X>>(
    rows: impl Iterator<Item = R>,
    largest: &[f32],
    sum: &mut [f32],
    exponential: impl Fn(X, f32) -> f32,
) {
    sum.fill(0.0);
    for row in rows {
        for ((sum, &m), x) in sum.iter_mut().zip(largest).zip(row) {
            *sum += exponential(x, finite_or_zero(m));
        }
    }
}

/// Finds the largest of each column.
#[inline(always)]
fn find_largest(logits: &[f32], largest: &mut [f32]) {
    largest.fill(f32::NEG_INFINITY);
    for row in logits.chunks_exact(largest.len()) {
        largest.iter_mut().zip(row).for_each(|(m, &x)| *m = if x > *m { x } else { *m });
    }
}

/// Joins the results of [`block_stats`] of several blocks of rows.
pub(super) fn join_stats(blocks: &[f32], largest: &mut [f32], sum: &mut [f32]) {
    let s = largest.len();
    simd(
        #[inline(always)]
        || {
            largest.fill(f32::NEG_INFINITY);
            sum.fill(0.0);
            for stats in blocks.chunks_exact(2 * s) {
                largest.iter_mut().zip(stats).for_each(|(m, &x)| *m = if x > *m { x } else { *m });
            }
            for stats in blocks.chunks_exact(2 * s) {
                let (block_largest, block_sum) = stats.split_at(s);
                for (((sum, m), block_m), block) in
                    sum.iter_mut().zip(&*largest).zip(block_largest).zip(block_sum)
                {
                    *sum += block * exp(block_m - m);
                }
            }
        },
    );
}

/// Avoids exp(−∞ + ∞) in a block whose logits are all −∞: its sum is 0.
#[inline(always)]
pub(super) fn finite_or_zero(largest: f32) -> f32 {
    if largest == f32::NEG_INFINITY { 0.0 } else { largest }
}

/// The mean over positions, or the sum by `weights`; `logit(t)` is that of target t.
pub(super) fn joined_loss(
    largest: &[f32],
    sum: &[f32],
    weights: Option<&[f32]>,
    logit: impl Fn(usize) -> f32,
) -> f64 {
    let of_column = |t: usize| f64::from(sum[t]).ln() + f64::from(largest[t]) - f64::from(logit(t));
    match weights {
        None => (0..sum.len()).map(of_column).sum::<f64>() / sum.len() as f64,
        Some(weights) => {
            let counted = weights.iter().enumerate().filter(|&(_, &weight)| weight != 0.0);
            counted.map(|(t, &weight)| f64::from(weight) * of_column(t)).sum()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::logits_gradient::{Hit, LogitsGradient};
    use super::super::testing::{assert_close, bits, finite_differences, noise, on_threads};
    use super::*;

    /// Rows of a block: a few for these cases.
    fn rows_per_block(s: usize) -> usize {
        ((1 << 15) / s).max(1)
    }

    fn case(vocab: usize, s: usize) -> (Vec<f32>, Vec<u32>) {
        let logits = noise(vocab * s, 1).iter().map(|x| 5.0 * x).collect();
        (logits, (0..s).map(|t| (t * t * 7919 % vocab) as u32).collect())
    }

    /// Loss and gradient, from the functions that the head combines.
    fn cross_entropy_gradient(logits: &mut [f32], targets: &[u32], scale: f32) -> Result<f64, HostError> {
        weighted_gradient(logits, targets, None, scale)
    }

    /// As [`cross_entropy_gradient`], by `weights`.
    fn weighted_gradient(
        logits: &mut [f32],
        targets: &[u32],
        weights: Option<&[f32]>,
        scale: f32,
    ) -> Result<f64, HostError> {
        let (vocab, s) = (check_shape(logits, targets)?, targets.len());
        let target_logits: Vec<f32> = (0..s).map(|t| logits[targets[t] as usize * s + t]).collect();
        let rows = rows_per_block(s);
        let mut blocks = vec![0.0; 2 * s * vocab.div_ceil(rows)];
        let tasks = logits.chunks_mut(rows * s).zip(blocks.chunks_mut(2 * s));
        tasks.for_each(|(logits, stats)| block_exponentials(logits, stats));
        let (mut largest, mut sum) = (vec![0.0; s], vec![0.0; s]);
        join_stats(&blocks, &mut largest, &mut sum);
        let loss = joined_loss(&largest, &sum, weights, |t| target_logits[t]);
        let hit = Hit::new(scale, s, weights);
        sum.iter_mut().enumerate().for_each(|(t, sum)| *sum = hit.of(t) / *sum);
        let tasks = logits.chunks_mut(rows * s).zip(blocks.chunks_mut(2 * s));
        for (block, (logits, stats)) in tasks.enumerate() {
            let exponentials = logits.to_vec();
            let of = LogitsGradient { targets, largest: &largest, factor: &sum, hit };
            of.block(&exponentials, logits, stats, block * rows);
        }
        Ok(loss)
    }

    /// The reference, by definition, in f64, column by column.
    fn reference(logits: &[f64], targets: &[u32]) -> f64 {
        let s = targets.len();
        let column = |t: usize| logits.iter().skip(t).step_by(s);
        let loss = |t: usize| {
            let largest = column(t).fold(f64::NEG_INFINITY, |m, &x| m.max(x));
            let sum: f64 = column(t).map(|x| (x - largest).exp()).sum();
            sum.ln() + largest - logits[targets[t] as usize * s + t]
        };
        (0..s).map(loss).sum::<f64>() / s as f64
    }

    fn widened(x: &[f32]) -> Vec<f64> {
        x.iter().map(|&x| f64::from(x)).collect()
    }

    #[test]
    fn the_loss_is_the_definition_across_blocks() {
        for (vocab, s) in [(1, 1), (11, 3), (700, 100), (3000, 33)] {
            let (mut logits, targets) = case(vocab, s);
            let want = reference(&widened(&logits), &targets);
            let loss = cross_entropy_gradient(&mut logits, &targets, 1.0).unwrap();
            // A relative error of the sum is an absolute error of its logarithm: a few 2⁻²⁴ each.
            assert!((loss - want).abs() < 1e-6, "{vocab}×{s}: {loss}, not {want}");
        }
    }

    #[test]
    fn the_gradient_is_that_of_finite_differences() {
        for (vocab, s) in [(2, 1), (11, 3), (40, 17)] {
            let (logits, targets) = case(vocab, s);
            let want = finite_differences(&logits, |x| 256.0 * reference(x, &targets));
            let mut got = logits;
            cross_entropy_gradient(&mut got, &targets, 256.0).unwrap();
            assert_close(&got, &want, 2e-6);
        }
    }

    #[test]
    fn what_has_no_weight_does_not_count() {
        let (vocab, s) = (40, 17);
        let (mut logits, targets) = case(vocab, s);
        let weights: Vec<f32> = (0..s).map(|t| [0.0, 0.25, 0.5][t % 3]).collect();
        let by_weight = |logits: &[f64]| -> f64 {
            let column = |t: usize| -> Vec<f64> { logits.iter().skip(t).step_by(s).copied().collect() };
            (0..s).map(|t| f64::from(weights[t]) * reference(&column(t), &targets[t..=t])).sum()
        };
        let want = finite_differences(&logits, |x| 256.0 * by_weight(x));
        // The loss of a position that does not count may be anything.
        logits[0] = 3e38;
        let counted = by_weight(&widened(&logits));
        let loss = weighted_gradient(&mut logits, &targets, Some(&weights), 256.0).unwrap();
        assert!((loss - counted).abs() < 1e-6, "{loss}");
        assert_close(&logits, &want, 2e-6);
        assert!((0..vocab).all(|row| logits[row * s] == 0.0 && logits[row * s + 3] == 0.0));
    }

    #[test]
    fn the_gradient_is_softmax_less_onehot_across_blocks() {
        let (vocab, s) = (3000, 33);
        assert!(vocab > 2 * rows_per_block(s), "this case has several blocks, the last one shorter");
        let (logits, targets) = case(vocab, s);
        let sums: Vec<f64> =
            (0..s).map(|t| logits.iter().skip(t).step_by(s).map(|&x| f64::from(x).exp()).sum()).collect();
        let want: Vec<f64> = (0..vocab * s)
            .map(|at| {
                let (row, t) = (at / s, at % s);
                let hit = if targets[t] as usize == row { 1.0 } else { 0.0 };
                (f64::from(logits[at]).exp() / sums[t] - hit) / s as f64
            })
            .collect();
        let mut got = logits;
        cross_entropy_gradient(&mut got, &targets, 1.0).unwrap();
        assert_close(&got, &want, 1e-6);
    }

    #[test]
    fn large_and_masked_logits_are_no_problem() {
        // Two positions; 20000 rows make several blocks, of which the masked ones hold nothing but −∞.
        let (vocab, s) = (20_000, 2);
        let mut logits = vec![f32::NEG_INFINITY; vocab * s];
        logits[0..4].copy_from_slice(&[1e4, -1e4, 1e4, -1e4]);
        let loss = cross_entropy_gradient(&mut logits, &[0, 1], 1.0).unwrap();
        assert!((loss - 2f64.ln()).abs() < 1e-7, "{loss}");
        assert_eq!(logits[0..4], [-0.25, 0.25, 0.25, -0.25]);
        assert!(logits[4..].iter().all(|&x| x == 0.0));
    }

    #[test]
    fn what_is_not_finite_shows_in_the_loss() {
        for bad in [f32::NAN, f32::INFINITY] {
            let mut logits = vec![0.0; 30];
            logits[17] = bad;
            assert!(cross_entropy_gradient(&mut logits, &[0, 1, 2], 1.0).unwrap().is_nan(), "{bad}");
        }
        let mut nothing = [f32::NEG_INFINITY; 4];
        assert!(cross_entropy_gradient(&mut nothing, &[0], 1.0).unwrap().is_nan());
    }

    #[test]
    fn a_target_past_the_vocabulary_is_named_and_nothing_changes() {
        let mut logits = [1.0; 10];
        let refused = cross_entropy_gradient(&mut logits, &[4, 5], 1.0);
        let want = HostError::TokenOutOfRange { role: "targets", position: 1, token: 5, vocab: 5 };
        assert_eq!(refused, Err(want));
        assert_eq!(logits, [1.0; 10]);
    }

    #[test]
    fn threads_do_not_change_a_bit() {
        let (logits, targets) = case(1500, 100);
        let run = |threads| {
            let mut logits = logits.clone();
            let loss = on_threads(threads, || cross_entropy_gradient(&mut logits, &targets, 3.0).unwrap());
            (loss.to_bits(), bits(&logits))
        };
        assert!(run(1) == run(2) && run(1) == run(3));
    }
}
