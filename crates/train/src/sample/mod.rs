//! Choosing the next token from logits.
//!
//! The order is fixed: logit bias, penalties, temperature, top-k, top-p, min-p, a draw; that of transformers 5.24 and of vLLM but
//! for min-p, which vLLM has before top-k. `docs/decoding.md` has the formulas.

mod error;
mod options;
#[cfg(test)]
mod tests;

pub use error::SampleError;
pub use options::SamplingOptions;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::collections::BTreeMap;

/// A chosen token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampled {
    /// The token.
    pub token: u32,
    /// The logarithm of its probability in the model: before bias, penalties and temperature.
    pub logprob: f64,
}

/// Samples tokens by their probability: the same ones for the same seed and logits.
#[derive(Clone, Debug)]
pub struct Sampler {
    options: SamplingOptions,
    rng: ChaCha8Rng,
    /// The tokens of prompt and text, and how often the text has each.
    seen: BTreeMap<u32, u32>,
    /// Logits with bias and penalties, if there are any.
    changed: Vec<f32>,
    /// Tokens with a nonzero weight, and their weights.
    candidates: Vec<(u32, f64)>,
}

impl Sampler {
    /// A sampler with these options.
    ///
    /// # Errors
    /// As [`SamplingOptions::check`].
    pub fn new(options: SamplingOptions) -> Result<Self, SampleError> {
        options.check()?;
        let rng = ChaCha8Rng::seed_from_u64(options.seed);
        Ok(Self { options, rng, seen: BTreeMap::new(), changed: Vec::new(), candidates: Vec::new() })
    }

    /// Notes the tokens of a prompt, which the repetition penalty applies to.
    pub fn note_prompt(&mut self, tokens: &[u32]) {
        tokens.iter().for_each(|&token| {
            self.seen.entry(token).or_insert(0);
        });
    }

    /// Chooses a token, which is part of the text then.
    ///
    /// Shapes: `logits` `[V]`; −∞ rules a token out.
    /// Numerics: probabilities in f64; ties are ordered by token, lowest first. One random number per call, none at
    /// temperature 0.
    ///
    /// # Errors
    /// [`SampleError::Logit`] if a logit is NaN or +∞, [`SampleError::Nothing`] if no token can be chosen,
    /// [`SampleError::Bias`] if there is a bias for a token that there is not.
    pub fn next(&mut self, logits: &[f32]) -> Result<Sampled, SampleError> {
        check(logits)?;
        let token = if self.options.changes_logits() {
            let mut changed = std::mem::take(&mut self.changed);
            changed.clear();
            changed.extend_from_slice(logits);
            let chosen = self.change(&mut changed).and_then(|()| self.choose(&changed));
            self.changed = changed;
            chosen?
        } else {
            self.choose(logits)?
        };
        *self.seen.entry(token).or_insert(0) += 1;
        Ok(Sampled { token, logprob: logprob(logits, token) })
    }

    /// Adds the bias and applies the penalties.
    fn change(&self, logits: &mut [f32]) -> Result<(), SampleError> {
        let SamplingOptions { logit_bias, repetition_penalty, presence_penalty, frequency_penalty, .. } =
            &self.options;
        let vocab = logits.len();
        for &(token, bias) in logit_bias {
            let Some(logit) = logits.get_mut(token as usize) else {
                return Err(SampleError::Bias { token, vocab });
            };
            *logit += bias;
        }
        for (&token, &count) in &self.seen {
            let Some(logit) = logits.get_mut(token as usize) else { continue };
            let penalised = f64::from(*logit);
            let penalised =
                if penalised < 0.0 { penalised * repetition_penalty } else { penalised / repetition_penalty };
            let present = if count > 0 { *presence_penalty } else { 0.0 };
            *logit = (penalised - present - f64::from(count) * frequency_penalty) as f32;
        }
        Ok(())
    }

    fn choose(&mut self, logits: &[f32]) -> Result<u32, SampleError> {
        let (likeliest, largest) = likeliest(logits)?;
        if self.options.temperature == 0.0 {
            return Ok(likeliest);
        }
        self.filter(logits, largest);
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

    /// Temperature, top-k, top-p and min-p: the candidates that are left, with their weights.
    fn filter(&mut self, logits: &[f32], largest: f32) {
        let SamplingOptions { temperature, top_k, top_p, min_p, .. } = self.options;
        let weight = |&logit: &f32| ((f64::from(logit) - f64::from(largest)) / temperature).exp();
        self.candidates.clear();
        self.candidates.extend((0..).zip(logits.iter().map(weight)).filter(|&(_, weight)| weight > 0.0));
        if top_k > 0 && top_k < self.candidates.len() {
            largest_first(&mut self.candidates, top_k);
            self.candidates.truncate(top_k);
        }
        if top_p < 1.0 {
            self.keep_top_p(top_p);
        }
        // The largest weight is 1.
        if min_p > 0.0 {
            self.candidates.retain(|&(_, weight)| weight >= min_p);
        }
    }

    /// Keeps the fewest candidates, the likeliest first, whose weights reach the share `top_p` of all.
    fn keep_top_p(&mut self, top_p: f64) {
        let wanted = top_p * self.candidates.iter().map(|&(_, weight)| weight).sum::<f64>();
        let mut sorted = FEW;
        loop {
            let sorted_now = largest_first(&mut self.candidates, sorted);
            let mut sum = 0.0;
            let short = self.candidates[..sorted_now].iter().take_while(|&&(_, weight)| {
                let short = sum < wanted;
                sum += weight;
                short
            });
            let kept = short.count();
            if kept < sorted_now || sum >= wanted || sorted_now == self.candidates.len() {
                return self.candidates.truncate(kept);
            }
            sorted *= 8;
        }
    }
}

/// Candidates that are sorted first: mostly they have all of the probability that is asked for.
const FEW: usize = 256;

/// Sorts the `count` largest candidates to the front, the lowest token first of equals; returns how many these are.
fn largest_first(candidates: &mut [(u32, f64)], count: usize) -> usize {
    let order = |a: &(u32, f64), b: &(u32, f64)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    let count = count.min(candidates.len());
    if count < candidates.len() {
        candidates.select_nth_unstable_by(count, order);
    }
    candidates[..count].sort_unstable_by(order);
    count
}

/// Refuses NaN and +∞.
fn check(logits: &[f32]) -> Result<(), SampleError> {
    match logits.iter().position(|x| x.is_nan() || *x == f32::INFINITY) {
        Some(at) => Err(SampleError::Logit { token: at as u32, got: logits[at] }),
        None => Ok(()),
    }
}

/// The token with the largest logit (the lowest such token) and that logit.
fn likeliest(logits: &[f32]) -> Result<(u32, f32), SampleError> {
    let mut best = None;
    for (token, &logit) in (0..).zip(logits) {
        if logit > best.map_or(f32::NEG_INFINITY, |(_, largest)| largest) {
            best = Some((token, logit));
        }
    }
    best.ok_or(SampleError::Nothing { vocab: logits.len() })
}

/// `log softmax(logits)` of `token`, in f64.
pub fn logprob(logits: &[f32], token: u32) -> f64 {
    let largest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let sum: f64 = logits.iter().map(|&x| (f64::from(x) - largest).exp()).sum();
    logits.get(token as usize).map_or(f64::NEG_INFINITY, |&x| f64::from(x) - largest - sum.ln())
}

/// A number in 0..1, of 53 random bits.
fn uniform(rng: &mut ChaCha8Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}
