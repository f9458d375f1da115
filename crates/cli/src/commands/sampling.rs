//! The flags of sampling, for every command that generates text.

use super::engine::{not_negative, share};
use std::time::{SystemTime, UNIX_EPOCH};
use train::generate::GenerateOptions;
use train::sample::SamplingOptions;

/// How tokens are chosen, and where a text ends.
#[derive(clap::Args, Clone, Debug)]
pub struct SamplingArgs {
    /// Sampling temperature: 0 always takes the likeliest token, 1 samples from the model's probabilities
    #[arg(long, value_name = "F", default_value_t = 0.8, value_parser = not_negative::<f64>)]
    temperature: f64,

    /// Sample from the fewest likeliest tokens whose probabilities reach this sum
    #[arg(long, value_name = "F", default_value_t = 0.95, value_parser = share)]
    top_p: f64,

    /// Sample from this many of the likeliest tokens; 0: from all
    #[arg(long, value_name = "N", default_value_t = 0)]
    top_k: usize,

    /// Leave out tokens with less than this share of the likeliest one's probability
    #[arg(long, value_name = "F", default_value_t = 0.0)]
    min_p: f64,

    /// Divide positive logits of tokens in prompt and text by this, and multiply negative ones with it
    #[arg(long, value_name = "F", default_value_t = 1.0)]
    repetition_penalty: f64,

    /// Subtract this from the logits of tokens in the text
    #[arg(long, value_name = "F", default_value_t = 0.0, allow_negative_numbers = true)]
    presence_penalty: f64,

    /// Subtract this from the logits of tokens in the text, as often as it has them
    #[arg(long, value_name = "F", default_value_t = 0.0, allow_negative_numbers = true)]
    frequency_penalty: f64,

    /// Add a number to the logit of a token; -inf rules it out. May be given several times
    #[arg(long, value_name = "ID=F", value_parser = bias, allow_hyphen_values = true)]
    logit_bias: Vec<(u32, f32)>,

    /// End a text before this string. May be given several times
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,

    /// End a text at this token, too. May be given several times
    #[arg(long, value_name = "ID")]
    stop_id: Vec<u32>,

    /// Seed of the sampling [default: another one each time]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

impl SamplingArgs {
    /// The options for a text of at most `tokens` tokens, with a seed from the clock where none is given.
    pub fn options(&self, tokens: usize) -> GenerateOptions {
        GenerateOptions {
            tokens,
            sampling: SamplingOptions {
                temperature: self.temperature,
                top_k: self.top_k,
                top_p: self.top_p,
                min_p: self.min_p,
                repetition_penalty: self.repetition_penalty,
                presence_penalty: self.presence_penalty,
                frequency_penalty: self.frequency_penalty,
                logit_bias: self.logit_bias.clone(),
                seed: self.seed.unwrap_or_else(from_clock),
            },
            stops: self.stop.clone(),
            stop_ids: self.stop_id.clone(),
        }
    }
}

/// Parses `ID=F`.
fn bias(text: &str) -> Result<(u32, f32), String> {
    let parsed = text.split_once('=').and_then(|(id, bias)| Some((id.parse().ok()?, bias.parse().ok()?)));
    parsed.ok_or_else(|| "a token's id, `=` and a number are needed, such as 42=-5".to_owned())
}

/// A seed from the clock, short enough to type.
fn from_clock() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_micros() as u64 % 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bias_is_an_id_and_a_number() {
        assert_eq!(bias("42=-5"), Ok((42, -5.0)));
        assert_eq!(bias("0=-inf"), Ok((0, f32::NEG_INFINITY)));
        assert!(["42", "a=1", "1=b", "-1=2", "="].into_iter().all(|text| bias(text).is_err()));
    }
}
