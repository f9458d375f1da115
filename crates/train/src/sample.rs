//! Choosing the next token from logits.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// An error of sampling.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SampleError {
    /// The temperature is negative or not a number.
    #[error("temperature {got} is invalid: it must be a number of at least 0")]
    Temperature {
        /// The invalid value.
        got: f64,
    },
    /// The share of probability to keep is not in 0..=1.
    #[error("top-p {got} is invalid: it must be above 0 and at most 1")]
    TopP {
        /// The invalid value.
        got: f64,
    },
    /// A logit is NaN or +∞.
    #[error("the model's logit for token {token} is {got}")]
    Logit {
        /// The token with that logit.
        token: u32,
        /// The logit.
        got: f32,
    },
    /// No token has a logit above −∞, or there are none.
    #[error("none of the model's {vocab} logits allows a token")]
    Nothing {
        /// The number of logits.
        vocab: usize,
    },
}

impl SampleError {
    /// What the user can do about it, if anything: one sentence, imperative.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Temperature { .. } => {
                Some("Use 0 for the likeliest token each time, or a value around 0.8.")
            }
            Self::TopP { .. } => Some("Use 1 to allow every token, or a value around 0.95."),
            Self::Logit { .. } | Self::Nothing { .. } => {
                Some("Generate from an earlier checkpoint: this model's weights are not usable.")
            }
        }
    }
}

/// Samples tokens by their probability: the same ones for the same seed and logits.
#[derive(Clone, Debug)]
pub struct Sampler {
    temperature: f64,
    top_p: f64,
    rng: ChaCha8Rng,
    /// Tokens with a nonzero weight, and their weights.
    candidates: Vec<(u32, f64)>,
}

impl Sampler {
    /// A sampler that divides logits by `temperature` (0 always takes the likeliest token), and keeps the fewest
    /// likeliest tokens whose probabilities reach `top_p`.
    ///
    /// # Errors
    /// [`SampleError::Temperature`] unless `temperature` is 0 or more; [`SampleError::TopP`] unless `top_p` is
    /// above 0 and at most 1.
    pub fn new(temperature: f64, top_p: f64, seed: u64) -> Result<Self, SampleError> {
        if !(temperature >= 0.0 && temperature.is_finite()) {
            return Err(SampleError::Temperature { got: temperature });
        }
        if !(top_p > 0.0 && top_p <= 1.0) {
            return Err(SampleError::TopP { got: top_p });
        }
        Ok(Self { temperature, top_p, rng: ChaCha8Rng::seed_from_u64(seed), candidates: Vec::new() })
    }

    /// Chooses a token.
    ///
    /// Shapes: `logits` `[V]`; −∞ rules a token out.
    /// Numerics: probabilities in f64; ties are ordered by token, lowest first. One random number per call, none at
    /// temperature 0.
    ///
    /// # Errors
    /// [`SampleError::Logit`] if a logit is NaN or +∞, [`SampleError::Nothing`] if no token can be chosen.
    pub fn next(&mut self, logits: &[f32]) -> Result<u32, SampleError> {
        let (likeliest, largest) = likeliest(logits)?;
        if self.temperature == 0.0 {
            return Ok(likeliest);
        }
        let weight = |&logit: &f32| ((f64::from(logit) - f64::from(largest)) / self.temperature).exp();
        self.candidates.clear();
        self.candidates.extend((0..).zip(logits.iter().map(weight)).filter(|&(_, weight)| weight > 0.0));
        if self.top_p < 1.0 {
            self.keep_top_p();
        }

        let total: f64 = self.candidates.iter().map(|&(_, weight)| weight).sum();
        let mut left = uniform(&mut self.rng) * total;
        for &(token, weight) in &self.candidates {
            left -= weight;
            if left < 0.0 {
                return Ok(token);
            }
        }
        // Rounding may leave a small remainder after the last candidate.
        Ok(self.candidates.last().map_or(likeliest, |&(token, _)| token))
    }

    /// Keeps the fewest candidates, the likeliest first, whose weights reach the share `top_p` of all.
    fn keep_top_p(&mut self) {
        let wanted = self.top_p * self.candidates.iter().map(|&(_, weight)| weight).sum::<f64>();
        self.candidates.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let mut sum = 0.0;
        let short = self.candidates.iter().take_while(|&&(_, weight)| {
            let short = sum < wanted;
            sum += weight;
            short
        });
        let kept = short.count();
        self.candidates.truncate(kept);
    }
}

/// The token with the largest logit (the lowest such token) and that logit.
fn likeliest(logits: &[f32]) -> Result<(u32, f32), SampleError> {
    let mut best = None;
    for (token, &logit) in (0..).zip(logits) {
        if logit.is_nan() || logit == f32::INFINITY {
            return Err(SampleError::Logit { token, got: logit });
        }
        if logit > best.map_or(f32::NEG_INFINITY, |(_, largest)| largest) {
            best = Some((token, logit));
        }
    }
    best.ok_or(SampleError::Nothing { vocab: logits.len() })
}

/// A number in 0..1, of 53 random bits.
fn uniform(rng: &mut ChaCha8Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(sampler: &mut Sampler, logits: &[f32], times: usize) -> Vec<u32> {
        (0..times).map(|_| sampler.next(logits).unwrap()).collect()
    }

    #[test]
    fn temperature_zero_is_greedy_and_the_lowest_of_equals() {
        let mut sampler = Sampler::new(0.0, 1.0, 1).unwrap();
        assert_eq!(sampler.next(&[1.0, 3.0, 3.0, f32::NEG_INFINITY]), Ok(1));
        assert_eq!(sampler.next(&[-5.0]), Ok(0));
    }

    #[test]
    fn frequencies_are_the_probabilities() {
        // Probabilities 1/7, 2/7, 4/7 at temperature 1; squared and normalised, 1/21, 4/21, 16/21, at ½.
        let logits = [0.0, 2f32.ln(), 4f32.ln(), f32::NEG_INFINITY];
        for (temperature, want) in [(1.0, [1.0 / 7.0, 2.0 / 7.0]), (0.5, [1.0 / 21.0, 4.0 / 21.0])] {
            let drawn = draw(&mut Sampler::new(temperature, 1.0, 3).unwrap(), &logits, 40_000);
            assert!(drawn.iter().all(|&token| token < 3));
            for (token, want) in (0..).zip(want) {
                let share = drawn.iter().filter(|&&d| d == token).count() as f64 / 40_000.0;
                // Four standard deviations of a share of 40 000 draws are at most 0.01.
                assert!((share - want).abs() < 0.01, "token {token}: {share}, not {want}");
            }
        }
    }

    #[test]
    fn top_p_keeps_the_fewest_tokens_that_reach_it() {
        // Probabilities 0.1, 0.4, 0.4, 0.1.
        let logits = [0.0, 4f32.ln(), 4f32.ln(), 0.0];
        for (top_p, allowed) in
            [(0.01, vec![1]), (0.5, vec![1, 2]), (0.85, vec![0, 1, 2]), (1.0, vec![0, 1, 2, 3])]
        {
            let mut drawn = draw(&mut Sampler::new(1.0, top_p, 9).unwrap(), &logits, 300);
            drawn.sort_unstable();
            drawn.dedup();
            assert_eq!(drawn, allowed, "top-p {top_p}");
        }
    }

    #[test]
    fn a_seed_gives_the_same_tokens_everywhere() {
        let logits: Vec<f32> = (0..50).map(|i| (i % 7) as f32 * 0.3).collect();
        let of_seed = |seed| draw(&mut Sampler::new(0.9, 0.95, seed).unwrap(), &logits, 8);
        assert_eq!(of_seed(1), of_seed(1));
        assert_ne!(of_seed(1), of_seed(2));
    }

    #[test]
    fn extreme_temperatures_stay_in_range() {
        let logits = [f32::MIN, -1.0, f32::MAX];
        assert_eq!(draw(&mut Sampler::new(1e-300, 0.9, 1).unwrap(), &logits, 5), [2; 5]);
        let hot = draw(&mut Sampler::new(1e300, 1.0, 1).unwrap(), &logits, 200);
        assert!([0, 1, 2].iter().all(|token| hot.contains(token)));
    }

    #[test]
    fn invalid_logits_and_options_are_refused() {
        let mut sampler = Sampler::new(1.0, 0.9, 0).unwrap();
        let refused = sampler.next(&[0.0, f32::NAN]).unwrap_err();
        assert_eq!(refused.to_string(), "the model's logit for token 1 is NaN");
        assert_eq!(sampler.next(&[f32::INFINITY]), Err(SampleError::Logit { token: 0, got: f32::INFINITY }));
        assert_eq!(sampler.next(&[f32::NEG_INFINITY; 3]), Err(SampleError::Nothing { vocab: 3 }));
        assert_eq!(sampler.next(&[]), Err(SampleError::Nothing { vocab: 0 }));
        assert!(matches!(Sampler::new(-1.0, 1.0, 0), Err(SampleError::Temperature { .. })));
        assert!(matches!(Sampler::new(f64::NAN, 1.0, 0), Err(SampleError::Temperature { .. })));
        assert!(matches!(Sampler::new(1.0, 0.0, 0), Err(SampleError::TopP { .. })));
        assert!(matches!(Sampler::new(1.0, 1.5, 0), Err(SampleError::TopP { .. })));
    }
}
