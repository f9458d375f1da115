//! Text generation.

mod chat;
mod open;
mod predict;
mod stream;

pub use chat::{Answer, Chat, template_of};
pub use open::{Context, OpenOptions, Writer, open};
pub use predict::{Cached, Predict, Whole};
pub use stream::TextStream;

use crate::run::RunError;
use crate::sample::{Sampled, Sampler, SamplingOptions};
use crate::step::Network;
use crate::tokenizer::Tokenizer;
use std::time::{Duration, Instant};

/// Options of text generation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GenerateOptions {
    /// The most tokens to generate.
    pub tokens: usize,
    /// How tokens are chosen.
    pub sampling: SamplingOptions,
    /// The text ends before the first of these.
    pub stops: Vec<String>,
    /// The text ends at these tokens, too.
    pub stop_ids: Vec<u32>,
}

/// A generated text.
#[derive(Clone, Debug, PartialEq)]
pub struct Completion {
    /// The text, without the prompt and without what ended it.
    pub text: String,
    /// The tokens, without the one that ended the text.
    pub tokens: Vec<Sampled>,
    /// Why it ended.
    pub finish: Finish,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// The time until the first token was chosen.
    pub first: Duration,
    /// The time of all others.
    pub rest: Duration,
}

/// Why a text ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finish {
    /// By a token that ends texts.
    End(u32),
    /// By a stop string.
    Stop,
    /// It has as many tokens as were asked for.
    Length,
    /// The model's window has no more positions.
    Window,
    /// The caller ended it.
    Cancelled,
}

impl Finish {
    /// OpenAI's word: `stop` or `length`.
    pub fn reason(&self) -> &'static str {
        match self {
            Finish::End(_) | Finish::Stop | Finish::Cancelled => "stop",
            Finish::Length | Finish::Window => "length",
        }
    }
}

impl Completion {
    /// Tokens per second after the first one; 0 if there are none.
    pub fn speed(&self) -> f64 {
        let seconds = self.rest.as_secs_f64();
        if seconds > 0.0 { self.tokens.len().saturating_sub(1) as f64 / seconds } else { 0.0 }
    }
}

/// A tokenizer, and the tokens at which texts end.
#[derive(Clone, Copy, Debug)]
pub struct Language<'a> {
    /// The tokenizer.
    pub tokenizer: &'a Tokenizer,
    /// Tokens that end a text, besides special ones.
    pub ends: &'a [u32],
}

impl Language<'_> {
    /// Whether texts end at `token`: a special one, or one of those that the model ends texts with.
    pub fn ends_a_text(&self, token: u32) -> bool {
        self.tokenizer.is_special(token) || self.tokenizer.end() == Some(token) || self.ends.contains(&token)
    }

    /// Rules out ids that the tokenizer does not have: they are no text.
    pub fn rule_out(&self, logits: &mut [f32], stop_ids: &[u32]) {
        for (id, logit) in (0u32..).zip(logits).skip(self.tokenizer.vocab_size()) {
            if !self.ends.contains(&id) && !stop_ids.contains(&id) {
                *logit = f32::NEG_INFINITY;
            }
        }
    }

    /// Continues the tokens `prompt` by what `model` predicts; streams the text to `sink` until that returns `false`.
    ///
    /// # Errors
    /// If the options make no sense, or the model fails.
    pub fn complete(
        &self,
        model: &mut dyn Predict,
        prompt: &[u32],
        options: &GenerateOptions,
        sink: &mut dyn FnMut(&str) -> bool,
    ) -> Result<Completion, RunError> {
        let mut sampler = Sampler::new(options.sampling.clone())?;
        sampler.note_prompt(prompt);
        let mut stream = TextStream::new(self.tokenizer, prompt, &options.stops);
        let mut all = prompt.to_vec();
        let began = Instant::now();
        let mut done = Completion {
            text: String::new(),
            tokens: Vec::new(),
            finish: Finish::Length,
            prompt_tokens: prompt.len(),
            first: Duration::ZERO,
            rest: Duration::ZERO,
        };
        let mut is_open = true;
        while done.tokens.len() < options.tokens {
            let Some(mut logits) = model.predict(&all)? else {
                done.finish = Finish::Window;
                break;
            };
            self.rule_out(&mut logits, &options.stop_ids);
            let next = sampler.next(&logits)?;
            if done.first.is_zero() {
                done.first = began.elapsed();
            }
            if self.ends_a_text(next.token) || options.stop_ids.contains(&next.token) {
                done.finish = Finish::End(next.token);
                break;
            }
            all.push(next.token);
            done.tokens.push(next);
            let piece = stream.push(next.token);
            done.text.push_str(&piece);
            is_open = sink(&piece);
            if stream.is_stopped() || !is_open {
                done.finish = if is_open { Finish::Stop } else { Finish::Cancelled };
                break;
            }
        }
        let rest = stream.finish();
        done.text.push_str(&rest);
        if is_open {
            sink(&rest);
        }
        done.rest = began.elapsed().saturating_sub(done.first);
        Ok(done)
    }
}

/// Generates text with a network of training.
#[derive(Debug)]
pub struct Generator<'a> {
    network: &'a Network,
    language: Language<'a>,
}

impl<'a> Generator<'a> {
    /// A generator that stops at special tokens of the tokenizer and at the tokens `ends`.
    pub(crate) fn new(network: &'a Network, tokenizer: &'a Tokenizer, ends: &'a [u32]) -> Generator<'a> {
        Generator { network, language: Language { tokenizer, ends } }
    }

    /// The tokens of `prompt`.
    ///
    /// # Errors
    /// If it has none in the vocabulary.
    pub fn encode(&self, prompt: &str) -> Result<Vec<u32>, RunError> {
        Ok(self.language.tokenizer.encode_prompt(prompt)?)
    }

    /// Continues `prompt`; streams the text to `sink` until that returns `false`.
    ///
    /// The model sees at most its S last tokens; each new one costs a forward pass.
    ///
    /// # Errors
    /// If the prompt has no tokens in the vocabulary, the options make no sense, or the engine fails.
    pub fn generate(
        &self,
        prompt: &str,
        options: &GenerateOptions,
        sink: &mut dyn FnMut(&str) -> bool,
    ) -> Result<Completion, RunError> {
        let prompt = self.encode(prompt)?;
        self.complete(&prompt, options, sink)
    }

    /// As [`Generator::generate`], for a prompt of tokens.
    ///
    /// # Errors
    /// As there.
    pub fn complete(
        &self,
        prompt: &[u32],
        options: &GenerateOptions,
        sink: &mut dyn FnMut(&str) -> bool,
    ) -> Result<Completion, RunError> {
        if !self.network.is_language() {
            return Err(RunError::NotLanguage { what: "a prompt" });
        }
        self.language.complete(&mut Whole::new(self.network), prompt, options, sink)
    }

    /// The text of `tokens`, without special ones.
    pub fn text(&self, tokens: &[u32]) -> String {
        let tokens: Vec<u32> =
            tokens.iter().copied().filter(|&token| !self.language.tokenizer.is_special(token)).collect();
        self.language.tokenizer.decode(&tokens)
    }
}
