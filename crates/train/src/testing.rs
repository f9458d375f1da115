//! What the tests of several modules share: a small model, and numbers that must survive.

use crate::config::{ModelConfig, init_params};

/// The smallest model with every kind of tensor.
pub(crate) fn small() -> ModelConfig {
    ModelConfig {
        dim: 8,
        hidden: 12,
        layers: 2,
        heads: 4,
        kv_heads: 2,
        head_dim: 4,
        vocab: 10,
        qk_norm: true,
        tied: false,
        ..ModelConfig::preset("tiny").unwrap()
    }
}

/// Numbers with every kind of bit pattern that must survive: negative zero, subnormal, the largest.
pub(crate) fn moments(config: &ModelConfig, seed: u64) -> Vec<f32> {
    let mut numbers = init_params(config, seed);
    numbers[..4].copy_from_slice(&[-0.0, 1e-45, f32::MAX, -f32::MAX]);
    numbers
}

/// The bits of every value, for exact comparison.
pub(crate) fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| x.to_bits()).collect()
}
