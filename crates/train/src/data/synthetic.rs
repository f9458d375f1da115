//! Inputs and targets for the regression task, from a seed.

use std::f64::consts::TAU;

use crate::config::{ModelConfig, symmetric};
use host::rng::{Purpose, stream};

/// Input and target of one regression sample, both `[D, S]`, channel first: the input is uniform in ±0.1, the
/// target a wave, 0.1·sin(0.1·s + 2π·d/D).
///
/// The input depends on seed and index; the target is the same for all samples.
pub fn regression_sample(config: &ModelConfig, seed: u64, index: u64) -> (Vec<f32>, Vec<f32>) {
    let (d, s) = (config.dim, config.seq);
    let mut rng = stream(seed, Purpose::Synthetic, index);
    let input = (0..d * s).map(|_| 0.1 * symmetric(&mut rng)).collect();
    let wave = |i: usize| 0.1 * (0.1 * (i % s) as f64 + TAU * (i / s) as f64 / d as f64).sin();
    (input, (0..d * s).map(|i| wave(i) as f32).collect())
}
