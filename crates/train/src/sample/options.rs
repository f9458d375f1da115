//! Options of sampling.

use super::SampleError;

/// Options of sampling; the default takes the likeliest token each time.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplingOptions {
    /// Logits are divided by it; 0 always takes the likeliest token.
    pub temperature: f64,
    /// The number of likeliest tokens to sample from; 0: all.
    pub top_k: usize,
    /// The probability mass of the likeliest tokens to sample from.
    pub top_p: f64,
    /// Tokens with less than this share of the likeliest one's probability are left out.
    pub min_p: f64,
    /// The logits of tokens of prompt and text are divided by it if positive, and multiplied otherwise.
    pub repetition_penalty: f64,
    /// Subtracted from the logits of tokens of the text.
    pub presence_penalty: f64,
    /// Subtracted from the logits of tokens of the text, as often as it has them.
    pub frequency_penalty: f64,
    /// Added to the logits of tokens.
    pub logit_bias: Vec<(u32, f32)>,
    /// Seed of the draws.
    pub seed: u64,
}

impl Default for SamplingOptions {
    fn default() -> Self {
        SamplingOptions {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            logit_bias: Vec::new(),
            seed: 0,
        }
    }
}

impl SamplingOptions {
    /// Refuses values out of range.
    ///
    /// # Errors
    /// [`SampleError::Temperature`] unless it is 0 or more; [`SampleError::TopP`] unless it is above 0 and at most 1;
    /// [`SampleError::Option`] for the others.
    pub fn check(&self) -> Result<(), SampleError> {
        if !(self.temperature >= 0.0 && self.temperature.is_finite()) {
            return Err(SampleError::Temperature { got: self.temperature });
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return Err(SampleError::TopP { got: self.top_p });
        }
        let (at_least_0, number) = ("above 0", "a number from -100 to 100");
        let penalty = |x: f64| x.abs() <= 100.0;
        let repetition = self.repetition_penalty;
        let checks = [
            ("min-p", self.min_p, "from 0 to 1", (0.0..=1.0).contains(&self.min_p)),
            ("the repetition penalty", repetition, at_least_0, repetition > 0.0 && repetition.is_finite()),
            ("the presence penalty", self.presence_penalty, number, penalty(self.presence_penalty)),
            ("the frequency penalty", self.frequency_penalty, number, penalty(self.frequency_penalty)),
        ];
        for (what, got, want, is_valid) in checks {
            if !is_valid {
                return Err(SampleError::Option { what, got, want });
            }
        }
        match self.logit_bias.iter().find(|(_, bias)| bias.is_nan() || *bias == f32::INFINITY) {
            Some(&(_, bias)) => {
                let (what, got) = ("a logit bias", f64::from(bias));
                Err(SampleError::Option { what, got, want: "a number, or -inf to rule the token out" })
            }
            None => Ok(()),
        }
    }

    /// Whether logits change before they are chosen from.
    pub(super) fn changes_logits(&self) -> bool {
        !self.logit_bias.is_empty()
            || self.repetition_penalty != 1.0
            || self.presence_penalty != 0.0
            || self.frequency_penalty != 0.0
    }
}
