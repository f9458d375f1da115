//! A smooth bound of logits.

use softane::math::tanh;

use super::simd;

/// The bound `y = c·tanh(x/c)`.
///
/// Source: Gemma 2, arXiv:2408.00118, section 2.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SoftCap {
    /// c: the results are in (−c, c).
    pub limit: f32,
}

impl SoftCap {
    /// Bounds each of `x`.
    pub fn apply(&self, x: &mut [f32]) {
        let (limit, inverse) = (self.limit, 1.0 / self.limit);
        simd(
            #[inline(always)]
            || x.iter_mut().for_each(|x| *x = limit * tanh(*x * inverse)),
        );
    }

    /// Turns the gradient of the results `y` into that of their arguments: `g ← g·(1 − (y/c)²)`.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn slope(&self, gradient: &mut [f32], y: &[f32]) {
        assert_eq!(gradient.len(), y.len(), "results, and their gradients");
        let inverse = 1.0 / self.limit;
        simd(
            #[inline(always)]
            || {
                gradient.iter_mut().zip(y).for_each(|(g, y)| {
                    let t = y * inverse;
                    *g *= 1.0 - t * t;
                });
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, finite_differences, noise};
    use super::*;

    #[test]
    fn results_are_bounded_and_the_slope_is_that_of_finite_differences() {
        let cap = SoftCap { limit: 3.0 };
        let x: Vec<f32> = noise(37, 1).iter().map(|x| 6.0 * x).collect();
        let mut y = x.clone();
        cap.apply(&mut y);
        let of = |x: f64| 3.0 * (x / 3.0).tanh();
        // A few ulp of the limit.
        assert_close(&y, &x.iter().map(|&x| of(x.into())).collect::<Vec<_>>(), 1e-6);
        let weight = noise(37, 2);
        let want =
            finite_differences(&x, |x| x.iter().zip(&weight).map(|(&x, &w)| f64::from(w) * of(x)).sum());
        let mut got = weight.clone();
        cap.slope(&mut got, &y);
        assert_close(&got, &want, 1e-6);
    }
}
