//! An exponential moving average of the weights.

use crate::{CHUNK, simd};
use rayon::prelude::*;
use softane::pool::for_each;

/// An exponential moving average of the weights, `[N]` in the order of a checkpoint's.
///
/// ```text
/// e ← θ after the first update, then e ← e + (1−β)(θ − e)
/// ```
///
/// Numerics: all f32; the result does not depend on the number of threads, and weights that do not change keep their bits.
/// Source: Polyak & Juditsky 1992 for averages; the rule and its beginning are those of `torch.optim.swa_utils.AveragedModel` with
/// `get_ema_multi_avg_fn`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Average {
    values: Option<Vec<f32>>,
}

impl Average {
    /// That of a checkpoint; `None` before the first update.
    pub fn new(values: Option<Vec<f32>>) -> Average {
        Average { values }
    }

    /// The average; `None` before the first update.
    pub fn values(&self) -> Option<&[f32]> {
        self.values.as_deref()
    }

    /// The average, to be exchanged with the weights.
    pub fn values_mut(&mut self) -> Option<&mut [f32]> {
        self.values.as_deref_mut()
    }

    /// Takes the weights `theta` after an update into the average, with decay β.
    ///
    /// # Panics
    /// If the number of weights changes.
    pub fn add(&mut self, theta: &[f32], decay: f64) {
        let Some(values) = &mut self.values else {
            self.values = Some(theta.to_vec());
            return;
        };
        assert_eq!(values.len(), theta.len(), "weights of the average and of the model");
        let share = (1.0 - decay) as f32;
        for_each(values.par_chunks_mut(CHUNK).zip(theta.par_chunks(CHUNK)), |(values, theta)| {
            simd(
                #[inline(always)]
                || values.iter_mut().zip(theta).for_each(|(e, theta)| *e += share * (theta - *e)),
            );
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Recorded;

    /// Averages by `torch.optim.swa_utils.AveragedModel`, recorded by `tests/fixtures/recipes.py`.
    #[test]
    fn the_average_is_pytorchs() {
        let file = Recorded::open("recipes");
        let read = |name: String| file.read(&name, &[1, 9]);
        let mut average = Average::default();
        for step in 1..=4 {
            average.add(&read(format!("ema.weight.{step}")), 0.9);
            let got = average.values().expect("an average");
            for (got, want) in got.iter().zip(read(format!("ema.average.{step}"))) {
                // Weights of the order of 1: some roundings of f32.
                assert!((got - want).abs() <= 5e-7, "step {step}: {got}, not {want}");
            }
        }
    }
}
