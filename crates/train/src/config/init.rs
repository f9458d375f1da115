//! Initial weights, the same on every platform and at any number of threads.

use rand::Rng;
use rayon::prelude::*;

use super::ModelConfig;
use super::params::{Init, ParamKind};
use host::rng::{Purpose, stream};

/// Initial weights as one flat slice in checkpoint order: a function of configuration and seed alone.
///
/// Embedding and classifier are normal with standard deviation 0.02, projections normal with variance
/// 1/(3·fan-in), those onto the residual stream smaller by 1/√(2L), norms 1, biases 0; for the regression task
/// projections are uniform in ±1/√D.
///
/// Numerics: a normal number is the sum of twelve 16-bit uniforms, centred (Irwin–Hall): exact integers
/// until one rounding to f32, no logarithm whose last bit differs between systems, tails end at 6σ.
pub fn init_params(config: &ModelConfig, seed: u64) -> Vec<f32> {
    let specs = config.params();
    let mut params = vec![0.0; config.param_count()];
    let mut rest = params.as_mut_slice();
    let mut chunks = Vec::with_capacity(specs.len());
    for (index, spec) in specs.iter().enumerate() {
        let (chunk, tail) = rest.split_at_mut(spec.count());
        chunks.push((index as u64, spec.init, chunk));
        rest = tail;
    }
    chunks.into_par_iter().for_each(|(index, init, chunk)| {
        let mut rng = stream(seed, Purpose::Init, index);
        match init {
            Init::Zeros => chunk.fill(0.0),
            Init::Ones => chunk.fill(1.0),
            Init::Normal { std } => chunk.iter_mut().for_each(|w| *w = std * standard_normal(&mut rng)),
            Init::Uniform { limit } => chunk.iter_mut().for_each(|w| *w = limit * symmetric(&mut rng)),
        }
    });
    params
}

/// Sets the projections onto the residual stream among `params`, `[N]`, to 0.
pub fn zero_outputs(config: &ModelConfig, params: &mut [f32]) {
    for spec in config.params().iter().filter(|s| matches!(s.kind, ParamKind::Wo | ParamKind::W2)) {
        params[spec.range()].fill(0.0);
    }
}

/// Mean 0, standard deviation 1: a 16-bit uniform has variance (2³²−1)/12, so twelve of them have 2³²−1.
fn standard_normal(rng: &mut impl Rng) -> f32 {
    let sum: u64 = (0..3)
        .map(|_| {
            let word = rng.next_u64();
            (word & 0xffff) + (word >> 16 & 0xffff) + (word >> 32 & 0xffff) + (word >> 48)
        })
        .sum();
    (sum as i64 - 6 * 0xffff) as f32 / 65536.0
}

/// Uniform in (−1, 1), on the odd multiples of 2⁻²⁴.
pub(crate) fn symmetric(rng: &mut impl Rng) -> f32 {
    let odd = (rng.next_u32() >> 8) as i32 * 2 + 1;
    (odd - (1 << 24)) as f32 / (1 << 24) as f32
}
