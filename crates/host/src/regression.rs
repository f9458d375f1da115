//! Losses of activations, and their gradients.

use rayon::prelude::*;

use super::{CHUNK, LANES, simd, tree_sum};

/// Computes the mean squared error of `y` and writes its gradient, `dy = 2(y − target)·scale/N`.
///
/// Shapes: all `[N]`. Units: the loss that is returned is not scaled; the gradient is, by the loss scale.
/// Numerics: differences in f32; squares and their mean in f64.
///
/// # Panics
/// If the lengths differ or are 0.
pub fn mse(y: &[f32], target: &[f32], scale: f32, dy: &mut [f32]) -> f64 {
    let n = y.len();
    assert!(n > 0 && target.len() == n && dy.len() == n, "{n}, {} and {} values", target.len(), dy.len());
    let factor = 2.0 * scale / n as f32;
    dy.par_chunks_mut(CHUNK).zip(y.par_chunks(CHUNK)).zip(target.par_chunks(CHUNK)).for_each(
        |((dy, y), target)| {
            simd(
                #[inline(always)]
                || dy.iter_mut().zip(y).zip(target).for_each(|((dy, y), target)| *dy = (y - target) * factor),
            );
        },
    );
    let squares = tree_sum(n, &|range| {
        let (y, y_rest) = y[range.clone()].as_chunks::<LANES>();
        let (target, target_rest) = target[range].as_chunks::<LANES>();
        simd(
            #[inline(always)]
            || {
                let square = |y: f32, target: f32| f64::from(y - target) * f64::from(y - target);
                let mut lanes = [0.0; LANES];
                for (y, target) in y.iter().zip(target) {
                    for i in 0..LANES {
                        lanes[i] += square(y[i], target[i]);
                    }
                }
                let rest = y_rest.iter().zip(target_rest).map(|(&y, &target)| square(y, target));
                lanes.iter().sum::<f64>() + rest.sum::<f64>()
            },
        )
    });
    squares / n as f64
}

/// Computes `Σ y·gradient` and writes its gradient, `dy = gradient·scale`.
///
/// Shapes: all `[N]`. Units: the loss that is returned is not scaled; the gradient is, by the loss scale.
/// Numerics: products and their sum in f64.
///
/// # Panics
/// If the lengths differ or are 0.
pub fn linear(y: &[f32], gradient: &[f32], scale: f32, dy: &mut [f32]) -> f64 {
    let n = y.len();
    assert!(n > 0 && gradient.len() == n && dy.len() == n, "{n}, {} and {} values", gradient.len(), dy.len());
    dy.iter_mut().zip(gradient).for_each(|(dy, g)| *dy = g * scale);
    tree_sum(n, &|range| {
        let pairs = y[range.clone()].iter().zip(&gradient[range]);
        pairs.map(|(&y, &g)| f64::from(y) * f64::from(g)).sum()
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, finite_differences, noise, on_threads};
    use super::*;

    #[test]
    fn mse_is_the_definition_and_its_gradient() {
        let (y, target) = (noise(50, 1), noise(50, 2));
        let definition = |y: &[f64]| {
            y.iter().zip(&target).map(|(y, &t)| (y - f64::from(t)).powi(2)).sum::<f64>() / y.len() as f64
        };
        let mut dy = vec![f32::NAN; 50];
        let loss = mse(&y, &target, 8.0, &mut dy);
        assert!((loss - definition(&y.iter().map(|&y| f64::from(y)).collect::<Vec<_>>())).abs() < 1e-7);
        assert_close(&dy, &finite_differences(&y, |y| 8.0 * definition(y)), 1e-6);
    }

    #[test]
    fn the_linear_loss_is_a_sum_of_products_and_hands_its_gradient_on() {
        let (y, gradient) = (noise(50, 1), noise(50, 2));
        let mut dy = vec![f32::NAN; 50];
        let want: f64 = y.iter().zip(&gradient).map(|(&y, &g)| f64::from(y) * f64::from(g)).sum();
        let loss = linear(&y, &gradient, 8.0, &mut dy);
        assert!((loss - want).abs() < 1e-12);
        assert!(dy.iter().zip(&gradient).all(|(dy, g)| *dy == 8.0 * g));
    }

    #[test]
    fn mse_has_the_same_bits_at_any_number_of_threads() {
        let n = 5 * CHUNK + 17;
        let (y, target) = (noise(n, 1), noise(n, 2));
        let run = |threads| on_threads(threads, || mse(&y, &target, 1.0, &mut vec![0.0; n])).to_bits();
        assert!(run(1) == run(2) && run(1) == run(3));
    }
}
