//! Opening a model to generate text.

use super::predict::{Cached, Whole};
use super::{Completion, GenerateOptions, Language};
use crate::config::{ModelConfig, Task};
use crate::decode::{Conversation, ModelWeights, Session, most_positions};
use crate::demand::{self, Use};
use crate::error::TrainError;
use crate::formats::{FolderMetadata, ModelRef, QuantWeights};
use crate::model::{Norms, Precision};
use crate::run::RunError;
use crate::step::{Build, CompileEvent, ComputeOptions, Network, StepError};
use crate::tokenizer::Tokenizer;
use ane::{DeviceKind, DeviceOptions, Engine, Pool, SoftOptions, WeightMode};
use std::path::Path;

/// Options of opening a model for text generation.
#[derive(Clone, Copy, Debug)]
pub struct OpenOptions {
    /// Where and how the model computes; its plans of kernels are tried where keys and values are not kept.
    pub compute: ComputeOptions,
    /// The positions that there have to be.
    pub context: Context,
}

/// The positions that a model is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    /// All of the model's window.
    All,
    /// As many as prompt and new tokens take, all of them within the window.
    Prompt {
        /// Tokens to generate after the prompt; `None`: as the window has, at most 200.
        tokens: Option<usize>,
        /// Whether the oldest tokens are forgotten when the window is full.
        slides: bool,
    },
}

/// The length of windows is a multiple of this, where keys and values are not kept.
const STEP: usize = 64;

/// Tokens that are generated if nobody says how many.
const TOKENS: usize = 200;

/// A model with its tokenizer, opened to generate text.
#[derive(Debug)]
pub struct Writer {
    model: Model,
    tokenizer: Tokenizer,
    metadata: FolderMetadata,
    /// The tokens whose keys and values are kept.
    conversation: Conversation,
    /// The most tokens of a text with its prompt.
    pub window: usize,
    /// The tokens of the prompt; none where the whole window is open.
    pub prompt: Vec<u32>,
    /// The tokens to generate.
    pub tokens: usize,
    slides: bool,
}

#[derive(Debug)]
enum Model {
    /// Keys and values are kept.
    Session(Box<Session>),
    /// Each token is a pass over the whole window: for an engine that refuses the programs of decoding.
    Network(Box<Network>),
}

/// Opens a model, with its adapters merged, to continue `prompt`; `on_event` gets the progress of compiling. `tokenizer`, if
/// given, replaces the model's own.
///
/// # Errors
/// If it is not a model, or has no tokenizer; `Window`, if the window has too few positions.
pub fn open<'m>(
    model: impl Into<ModelRef<'m>>,
    tokenizer: Option<&Path>,
    prompt: &str,
    options: &OpenOptions,
    on_event: &mut dyn FnMut(CompileEvent<'_>),
) -> Result<Writer, RunError> {
    let from = model.into();
    let model = from.open(tokenizer)?;
    let Some(tokenizer) = model.tokenizer else {
        return Err(RunError::no_tokenizer(from.shown(), model.unfit));
    };
    if model.config.task != Task::Language {
        return Err(RunError::NotLanguage { what: "a prompt" });
    }
    let prompt = match options.context {
        Context::All => Vec::new(),
        Context::Prompt { .. } => tokenizer.encode_prompt(prompt)?,
    };
    let (seq, tokens, slides) = positions(&model.config, prompt.len(), options.context)?;
    // Engines refuse narrow surfaces.
    let whole = seq.checked_next_multiple_of(STEP).map_or(seq, |whole| whole.min(model.config.seq).max(seq));
    let cfg = ModelConfig { seq, ..model.config };
    let pool = options.compute.pool()?;
    let (metadata, conversation) = (model.metadata, Conversation::default());
    let stored = || from.open_quantised();
    let model = load((&cfg, whole), (model.params, &stored), &pool, &options.compute, on_event)?;
    Ok(Writer { model, tokenizer, metadata, conversation, window: seq, prompt, tokens, slides })
}

/// The positions to open a model for, the tokens to generate after a prompt, and whether old ones are forgotten.
fn positions(cfg: &ModelConfig, prompt: usize, context: Context) -> Result<(usize, usize, bool), RunError> {
    let window = most_positions(cfg);
    let Context::Prompt { tokens, slides } = context else { return Ok((cfg.seq, TOKENS, false)) };
    let room = window.saturating_sub(prompt);
    let wanted = tokens.unwrap_or(if slides { TOKENS } else { TOKENS.min(room) });
    if !slides && (wanted > room || wanted == 0) {
        return Err(RunError::Window { prompt, tokens: wanted, window });
    }
    Ok((prompt.saturating_add(wanted).min(window), wanted, slides))
}

/// Puts a model on an engine: by the programs of decoding, or where the engine refuses these, by those of training in windows of
/// `whole` tokens. `stored` reads the matrices that are stored in few bits.
fn load(
    (cfg, whole): (&ModelConfig, usize),
    (params, stored): (Vec<f32>, &dyn Fn() -> Result<QuantWeights, TrainError>),
    pool: &Pool,
    options: &ComputeOptions,
    on_event: &mut dyn FnMut(CompileEvent<'_>),
) -> Result<Model, RunError> {
    let (wanted, start) = (options.device, options.start);
    let in_windows = ModelConfig { seq: whole, ..cfg.clone() };
    demand::check(cfg, Use::Weights)?;
    let kind = match (options.storage, wanted.engine) {
        (Precision::F32, DeviceKind::Auto) => DeviceKind::Soft,
        (_, kind) => kind,
    };
    let device = ane::open(DeviceOptions { engine: kind, ..wanted }, SoftOptions { pool: pool.clone() })?;
    let engine = device.info().engine;
    // Programs of decoding have norms inside and weights on surfaces: an engine that refused such a plan is not asked again.
    let refuses = start.known.is_some_and(|rung| rung.place() > 0) || wanted.weights == WeightMode::Baked;
    if engine == Engine::Apple && refuses {
        return whole_windows(&in_windows, params, pool, options, on_event);
    }
    let arithmetic = (options.storage, start.norms == Norms::Host);
    let keeps = engine == Engine::Soft && options.storage == Precision::F16;
    let quantised = if keeps { stored()? } else { QuantWeights::new() };
    let weights = ModelWeights { theta: &params, quantised };
    let refused = match Session::new(cfg, weights, device, pool.clone(), arithmetic) {
        Ok(mut session) => match session.prepare() {
            Ok(()) => return Ok(Model::Session(Box::new(session))),
            Err(error) => error,
        },
        Err(error) => error,
    };
    if engine == Engine::Soft || !(refused.is_refusal() || matches!(refused, StepError::Budget { .. })) {
        return Err(refused.into());
    }
    whole_windows(&in_windows, params, pool, options, on_event)
}

/// A model by the programs of training.
fn whole_windows(
    cfg: &ModelConfig,
    params: Vec<f32>,
    pool: &Pool,
    options: &ComputeOptions,
    on_event: &mut dyn FnMut(CompileEvent<'_>),
) -> Result<Model, RunError> {
    demand::check(cfg, Use::Infer)?;
    Ok(Model::Network(Box::new(options.compile(cfg, pool, Build::infer, params, on_event)?)))
}

impl Writer {
    /// The tokenizer, and the tokens at which texts end.
    pub fn language(&self) -> Language<'_> {
        Language { tokenizer: &self.tokenizer, ends: self.metadata.ends() }
    }

    /// The model's files besides its weights.
    pub fn metadata(&self) -> &FolderMetadata {
        &self.metadata
    }

    /// The session, if keys and values are kept.
    pub fn session(&mut self) -> Option<&mut Session> {
        match &mut self.model {
            Model::Session(session) => Some(session),
            Model::Network(_) => None,
        }
    }

    /// Its parts, for several texts at once: the session, the tokenizer, and the model's other files.
    ///
    /// # Errors
    /// `NoSession`, if the engine refused the programs that keep keys and values.
    pub fn into_parts(self) -> Result<(Session, Tokenizer, FolderMetadata), RunError> {
        match self.model {
            Model::Session(session) => Ok((*session, self.tokenizer, self.metadata)),
            Model::Network(_) => Err(RunError::NoSession),
        }
    }

    /// Continues the prompt; streams the text to `sink` until that returns `false`.
    ///
    /// # Errors
    /// If the options make no sense, or the engine fails.
    pub fn generate(
        &mut self,
        options: &GenerateOptions,
        sink: &mut dyn FnMut(&str) -> bool,
    ) -> Result<Completion, RunError> {
        let prompt = std::mem::take(&mut self.prompt);
        let done = self.complete(&prompt, options, sink);
        self.prompt = prompt;
        done
    }

    /// Continues the tokens `prompt` likewise. Tokens that it begins with as the text before did are not computed again.
    ///
    /// # Errors
    /// As [`Writer::generate`].
    pub fn complete(
        &mut self,
        prompt: &[u32],
        options: &GenerateOptions,
        sink: &mut dyn FnMut(&str) -> bool,
    ) -> Result<Completion, RunError> {
        let language = Language { tokenizer: &self.tokenizer, ends: self.metadata.ends() };
        match &mut self.model {
            Model::Session(session) => {
                let mut cached = Cached::new(session, &mut self.conversation, self.slides);
                language.complete(&mut cached, prompt, options, sink)
            }
            Model::Network(network) => language.complete(&mut Whole::new(network), prompt, options, sink),
        }
    }
}
