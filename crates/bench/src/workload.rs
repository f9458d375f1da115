//! The workload of a benchmark: a model with weights and data from splitmix64.

use train::config::{ModelConfig, ParamKind};
use train::step::Window;

/// A model whose weights, tokens and inputs come from splitmix64, so that other programs can generate them.
///
/// `benches/peers` trains the same model with PyTorch and others; first loss, gradient norm and fourth loss show that it
/// is the same.
#[derive(Clone, Debug)]
pub struct Workload {
    /// The model.
    pub config: ModelConfig,
}

/// Standard deviation of all matrices.
const STD: f64 = 0.02;

impl Workload {
    /// The workload on `config`.
    pub fn new(config: ModelConfig) -> Workload {
        Workload { config }
    }

    /// All weights, in checkpoint order: matrices uniform with a standard deviation of 0.02, norms 1.
    pub fn weights(&self) -> Vec<f32> {
        let mut theta = vec![1.0; self.config.param_count()];
        for spec in self.config.params() {
            let layer = 100 * (spec.layer.unwrap_or(0) as u64 + 1);
            let seed = match spec.kind {
                ParamKind::Embedding => 1,
                ParamKind::Classifier => 5,
                ParamKind::Wq => layer,
                ParamKind::Wk => layer + 1,
                ParamKind::Wv => layer + 2,
                ParamKind::Wo => layer + 3,
                ParamKind::W1 => layer + 4,
                ParamKind::W2 => layer + 5,
                ParamKind::W3 => layer + 6,
                _ => continue,
            };
            fill(seed, STD, &mut theta[spec.range()]);
        }
        theta
    }

    /// The data of a step: S + 1 tokens, or an input and the gradient of the layers' output.
    pub fn window(&self) -> Window {
        let c = &self.config;
        if c.vocab > 0 {
            let token = |i| (bits(4, i) % c.vocab as u64) as u32;
            return Window::Tokens((0..=c.seq as u64).map(token).collect());
        }
        // The generator's order is [S, D]; activations are [D, S].
        let drawn = |seed, std| {
            let mut rows = vec![0.0; c.seq * c.dim];
            fill(seed, std, &mut rows);
            (0..rows.len()).map(|i| rows[i % c.seq * c.dim + i / c.seq]).collect()
        };
        Window::Linear { x: drawn(2, 1.0), dy: drawn(3, 1.0 / c.seq as f64) }
    }

    /// Floating-point operations of a step's matrix products: forward, and twice that backward. Of attention only the
    /// unmasked half.
    pub fn flops(&self) -> f64 {
        let c = &self.config;
        let matrices: usize = c.params().iter().filter(|p| p.shape.len() == 2).map(|p| p.count()).sum();
        let unused = if c.tied || c.vocab == 0 { 0 } else { c.vocab * c.dim };
        let linear = 2.0 * (c.seq * (matrices - unused)) as f64;
        let attention = 2.0 * (c.layers * c.seq * c.seq * c.q_dim()) as f64;
        3.0 * (linear + attention)
    }
}

/// Number `index` of the generator `seed`: 24 bits of splitmix64.
fn bits(seed: u64, index: u64) -> u64 {
    let mut z = ((seed << 32) + index).wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (z ^ (z >> 31)) >> 40
}

/// Fills `to` with uniform numbers of mean 0 and this standard deviation.
fn fill(seed: u64, std: f64, to: &mut [f32]) {
    for (i, x) in to.iter_mut().enumerate() {
        let unit = 2.0 * bits(seed, i as u64) as f64 / (1u64 << 24) as f64 - 1.0;
        *x = (unit * 3f64.sqrt() * std) as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flops_are_those_of_the_published_workloads() {
        // Counted by hand: 3·(2·S·matrices + causal half of 4·S²·D a layer).
        for (name, giga) in [("layer768", 22.95), ("stories110m", 171.83), ("stories15m", 24.01)] {
            let flops = Workload::new(ModelConfig::preset(name).expect("a preset")).flops();
            assert!((flops / 1e9 - giga).abs() < 0.01, "{name}: {flops}");
        }
    }

    #[test]
    fn the_generator_is_splitmix64() {
        // splitmix64 seeded with 0 begins with 0xE220A8397B1DCDAF: Steele, Lea and Flood 2014, reference code.
        assert_eq!(bits(0, 0), 0xE220_A839_7B1D_CDAF >> 40);
    }
}
