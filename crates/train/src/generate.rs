//! Text generation.

use crate::demand::{self, Use};
use crate::formats::open_model;
use crate::model::{Precision, Start};
use crate::run::RunError;
use crate::sample::Sampler;
use crate::step::{Build, CompileEvent, CompileRequest, Network, compile};
use crate::tokenizer::Tokenizer;
use ane::{DeviceOptions, Pool};
use std::path::Path;

/// Options of text generation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GenerateOptions {
    /// The number of tokens to generate.
    pub tokens: usize,
    /// The sampling temperature; 0 always takes the likeliest token.
    pub temperature: f64,
    /// The probability mass of the likeliest tokens to sample from.
    pub top_p: f64,
    /// Seed of the sampling.
    pub seed: u64,
}

/// Generates text with a model.
#[derive(Debug)]
pub struct Generator<'a> {
    network: &'a Network,
    tokenizer: &'a Tokenizer,
    ends: &'a [u32],
}

/// A [`Generator`] that owns its model.
#[derive(Debug)]
pub struct OwnedGenerator {
    network: Network,
    tokenizer: Tokenizer,
    ends: Vec<u32>,
}

/// Options of opening a model for text generation.
#[derive(Clone, Copy, Debug)]
pub struct OpenOptions {
    /// Number of compute threads; 0: as many as the machine runs at once.
    pub threads: usize,
    /// The engine.
    pub device: DeviceOptions,
    /// The plans of kernels to try.
    pub start: Start,
    /// The element type of programs and surfaces.
    pub storage: Precision,
    /// Tokens to generate after the prompt; limits the length of windows.
    pub tokens: usize,
}

/// The length of windows is a multiple of this.
const STEP: usize = 64;

/// Opens the model at `dir` to continue `prompt`; `on_event` gets the progress of compiling. `tokenizer`, if given, replaces the
/// model's own.
///
/// # Errors
/// If `dir` is not a model, or has no tokenizer.
pub fn open(
    dir: &Path,
    tokenizer: Option<&Path>,
    prompt: &str,
    options: &OpenOptions,
    on_event: &mut dyn FnMut(CompileEvent<'_>),
) -> Result<OwnedGenerator, RunError> {
    let mut model = open_model(dir, tokenizer)?;
    let Some(tokenizer) = model.tokenizer else {
        return Err(RunError::no_tokenizer(dir, model.unfit));
    };
    let ends = model.metadata.ends().to_vec();
    let needed = tokenizer.encode_prompt(prompt)?.len().saturating_add(options.tokens);
    let seq = &mut model.config.seq;
    *seq = needed.checked_next_multiple_of(STEP).map_or(*seq, |needed| needed.min(*seq));
    demand::check(&model.config, Use::Infer)?;
    let pool = Pool::new(options.threads).map_err(crate::step::StepError::Threads)?;
    let build = Build::infer(options.storage).on(options.device);
    let (wanted, start) = (options.device, options.start);
    let request = CompileRequest { cfg: &model.config, wanted, pool: &pool, build: &build, start };
    let network = compile(request, model.params, on_event)?;
    Ok(OwnedGenerator { network, tokenizer, ends })
}

impl OwnedGenerator {
    /// As [`Generator::generate`].
    ///
    /// # Errors
    /// As [`Generator::generate`].
    pub fn generate(
        &self,
        prompt: &str,
        options: &GenerateOptions,
        sink: &mut dyn FnMut(&str) -> bool,
    ) -> Result<usize, RunError> {
        Generator::new(&self.network, &self.tokenizer, &self.ends).generate(prompt, options, sink)
    }
}

impl<'a> Generator<'a> {
    /// A generator that stops at special tokens of the tokenizer and at the tokens `ends`.
    pub(crate) fn new(network: &'a Network, tokenizer: &'a Tokenizer, ends: &'a [u32]) -> Generator<'a> {
        Generator { network, tokenizer, ends }
    }

    /// Whether `prompt` can be encoded.
    pub fn takes(&self, prompt: &str) -> bool {
        self.tokenizer.encode_prompt(prompt).is_ok()
    }

    fn ends_a_text(&self, token: u32) -> bool {
        self.tokenizer.is_special(token) || self.tokenizer.end() == Some(token) || self.ends.contains(&token)
    }

    /// Continues `prompt`; streams the text to `sink` until that returns `false`. Returns the number of tokens.
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
    ) -> Result<usize, RunError> {
        if !self.network.is_language() {
            return Err(RunError::NotLanguage { what: "a prompt" });
        }
        let mut sampler = Sampler::new(options.temperature, options.top_p, options.seed)?;
        let mut tokens = self.tokenizer.encode_prompt(prompt)?;
        let mut decoder = self.tokenizer.decoder();
        for &token in &tokens {
            decoder.push(token);
        }
        let seq = self.network.cfg.seq;
        let mut window = vec![0; seq + 1];
        for written in 0..options.tokens {
            let seen = &tokens[tokens.len().saturating_sub(seq)..];
            // Attention is causal: tokens after the last one do not matter.
            window.fill(0);
            window[..seen.len()].copy_from_slice(seen);
            if written == 0 && self.network.hides_infinity() {
                self.network.check_range(&window)?;
            }
            let mut logits = self.network.logits_at(&window, seen.len() - 1)?;
            // Ids that the tokenizer does not have are no text.
            for (id, logit) in (0u32..).zip(&mut logits).skip(self.tokenizer.vocab_size()) {
                if !self.ends.contains(&id) {
                    *logit = f32::NEG_INFINITY;
                }
            }
            let next = sampler.next(&logits)?;
            if self.ends_a_text(next) {
                sink(&decoder.finish());
                return Ok(written);
            }
            tokens.push(next);
            if !sink(&decoder.push(next)) {
                return Ok(written + 1);
            }
        }
        sink(&decoder.finish());
        Ok(options.tokens)
    }
}
