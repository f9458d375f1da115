//! Sums of activations: the residual stream and its gradient.

use rayon::prelude::*;
use softane::pool::for_each;

use super::{CHUNK, simd};

/// Adds `x` to `sum`, element by element.
///
/// # Panics
/// If the lengths differ.
pub fn add(sum: &mut [f32], x: &[f32]) {
    assert_eq!(sum.len(), x.len(), "values to add, and the sum");
    for_each(sum.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)), |(sum, x)| {
        simd(
            #[inline(always)]
            || sum.iter_mut().zip(x).for_each(|(sum, x)| *sum += x),
        );
    });
}

/// Multiplies each element of `x` by `factor`.
pub fn scale(x: &mut [f32], factor: f32) {
    for_each(x.par_chunks_mut(CHUNK), |x| {
        simd(
            #[inline(always)]
            || x.iter_mut().for_each(|x| *x *= factor),
        );
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_every_element() {
        let n = 2 * CHUNK + 3;
        let (mut sum, x): (Vec<f32>, Vec<f32>) = (0..n).map(|i| (i as f32, 2.0 * i as f32)).unzip();
        add(&mut sum, &x);
        assert!(sum.iter().enumerate().all(|(i, &s)| s == 3.0 * i as f32));
    }
}
