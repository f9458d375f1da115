//! The norm of the whole gradient, and what keeps it in bounds.

use rayon::prelude::*;

use crate::host::{LANES, PIECE, simd, tree_sum};

/// Computes the L2 norm of all gradients together.
///
/// It is finite exactly if every gradient is: the square of any finite f32, summed over any number of them that
/// fits in memory, is far from the end of f64.
/// Numerics: squares and sums in f64, in fixed blocks added as a tree.
pub fn global_norm(grad: &[f32]) -> f64 {
    let squares = tree_sum(grad.len(), &|range| {
        let start = range.start;
        let (chunks, rest) = grad[range].as_chunks::<LANES>();
        simd(
            #[inline(always)]
            || {
                let mut lanes = [0.0; LANES];
                for (i, chunk) in chunks.iter().enumerate() {
                    softane::fetch(grad, start + i * LANES + AHEAD);
                    for (lane, &g) in lanes.iter_mut().zip(chunk) {
                        *lane += f64::from(g) * f64::from(g);
                    }
                }
                lanes.iter().sum::<f64>() + rest.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>()
            },
        )
    });
    squares.sqrt()
}

/// Gradients that the memory is asked for ahead of their use: 2 KiB.
const AHEAD: usize = 512;

/// The factor that brings a gradient of this norm down to at most `max_norm`; 1 if it is there already.
///
/// Without a bound (`max_norm` 0 or infinite) it is 1. A norm that is not finite has no such factor: leave the
/// step out.
pub fn clip_factor(norm: f64, max_norm: f64) -> f64 {
    if max_norm > 0.0 && norm > max_norm { max_norm / norm } else { 1.0 }
}

/// Multiplies every gradient by `factor`.
pub fn rescale(grad: &mut [f32], factor: f32) {
    grad.par_chunks_mut(PIECE).for_each(|grad| {
        simd(
            #[inline(always)]
            || grad.iter_mut().for_each(|g| *g *= factor),
        );
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::testing::{noise, on_threads};

    #[test]
    fn the_norm_is_the_definition_at_any_number_of_threads() {
        for n in [0, 1, 15, 17, 100_003] {
            let grad = noise(n, 5);
            let want = grad.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
            let got = on_threads(1, || global_norm(&grad));
            assert!((got - want).abs() <= 1e-13 * want, "{n}: {got}, not {want}");
            for threads in [2, 3] {
                assert_eq!(got.to_bits(), on_threads(threads, || global_norm(&grad)).to_bits());
            }
        }
    }

    #[test]
    fn the_norm_is_finite_exactly_if_all_gradients_are() {
        let mut grad = vec![f32::MAX; 70_000];
        assert!(global_norm(&grad).is_finite());
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for at in [0, 40_000, 69_999] {
                let good = std::mem::replace(&mut grad[at], bad);
                assert!(!global_norm(&grad).is_finite(), "{bad} at {at}");
                grad[at] = good;
            }
        }
    }

    #[test]
    fn clipping_only_shortens() {
        assert_eq!(clip_factor(4.0, 1.0), 0.25);
        assert_eq!(clip_factor(1.0, 1.0), 1.0);
        assert_eq!(clip_factor(0.0, 1.0), 1.0);
        assert_eq!(clip_factor(9.0, 0.0), 1.0);
        assert_eq!(clip_factor(9.0, f64::INFINITY), 1.0);
        let mut grad = vec![3.0, -4.0];
        rescale(&mut grad, clip_factor(global_norm(&[3.0, -4.0]), 1.0) as f32);
        assert_eq!(grad, [0.6, -0.8]);
    }
}
