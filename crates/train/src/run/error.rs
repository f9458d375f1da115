//! Errors of runs.

use super::fault::Fault;
use crate::error::TrainError;
use crate::sample::SampleError;
use crate::step::{OutOfRange, StepError};
use ane::DeviceError;
use host::HostError;
use std::fmt;
use std::path::{Path, PathBuf};

/// An error of a run, of generation or of evaluation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say it")]
pub enum RunError {
    #[error(transparent)]
    Train(#[from] TrainError),
    #[error(transparent)]
    Step(#[from] StepError),
    #[error(transparent)]
    Device(#[from] DeviceError),
    #[error(transparent)]
    Sample(#[from] SampleError),
    #[error("{what} is {got}, but must be {want}")]
    Setting { what: &'static str, got: String, want: &'static str },
    #[error("`{}` already holds a run", dir.display())]
    Occupied { dir: PathBuf },
    #[error("`{}` holds `{file}`, which is not part of a run and would be overwritten", dir.display())]
    Foreign { dir: PathBuf, file: String },
    #[error("`{}` is an input and cannot be the output too", path.display())]
    OutIsInput { path: PathBuf },
    #[error("`{}` was trained on other data: {want} tokens with fingerprint {want_mark:016x}, `{}` has {got} with {got_mark:016x}", dir.display(), data.display())]
    OtherData { dir: PathBuf, data: PathBuf, want: u64, want_mark: u64, got: u64, got_mark: u64 },
    #[error("another process is training in `{}`", dir.display())]
    Busy { dir: PathBuf },
    #[error("the run in `{}` was started with `{}`: {source}", dir.display(), data.display())]
    NoData { dir: PathBuf, data: PathBuf, source: Box<TrainError> },
    #[error("`{}` has lost the tokenizer that the run was started with", dir.display())]
    TokenizerGone { dir: PathBuf },
    #[error("`{}` is not the tokenizer that the run in `{}` was started with", tokenizer.display(), dir.display())]
    OtherTokenizer { dir: PathBuf, tokenizer: PathBuf },
    #[error("the run in `{}` was started with `--optimizer {want}`, not `{got}`, whose moments differ", dir.display())]
    OtherOptimizer { dir: PathBuf, want: &'static str, got: &'static str },
    #[error("`{flag}` has no effect: {because}")]
    NoEffect { flag: &'static str, because: &'static str, remedy: &'static str },
    #[error("{steps} steps in a row had gradients that are not finite (step {step}, loss {loss}{}); {}", began(found.as_deref()), kept(*saved))]
    NotFinite {
        step: u64,
        steps: u32,
        loss: f64,
        saved: Option<u64>,
        found: Option<Box<OutOfRange>>,
        fault: Box<Fault>,
    },
    #[error(
        "all gradients that kernels compute are 0 in each of the first {steps} steps (loss {loss}): at the loss scale {scale} they are below the smallest numbers of {storage}"
    )]
    Idle { steps: u32, loss: f64, scale: f32, storage: &'static str, remedy: &'static str },
    #[error("the training has diverged by step {step}: {unfit}; {}", kept(*saved))]
    Diverged { step: u64, unfit: Unfit, saved: Option<u64>, fault: Box<Fault> },
    #[error("`{}` has no tokenizer, which text needs", dir.display())]
    NoTokenizer { dir: PathBuf },
    #[error("lines of JSON need a model with a tokenizer")]
    ExamplesNeedTokenizer,
    #[error("the model is trained on synthetic activations, not on text: {what} does not apply to it")]
    NotLanguage { what: &'static str },
    #[error(
        "a prompt of {prompt} tokens and {tokens} new ones do not fit into the model's window of {window} positions"
    )]
    Window { prompt: usize, tokens: usize, window: usize },
    #[error("the model has no chat template: it says nowhere how messages become its text")]
    NoTemplate,
    #[error(
        "the engine refuses the programs that keep keys and values, without which texts cannot be written together"
    )]
    NoSession,
    #[error("`{}`: tensor `tokens` is {shape:?}, not one row of at least 2 tokens", path.display())]
    TokensShape { path: PathBuf, shape: Vec<usize> },
    #[error("`{}`: line {line} of the metrics cannot be read: {problem}", path.display())]
    Metrics { path: PathBuf, line: usize, problem: String },
}

/// The reason why weights are not saved.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum Unfit {
    /// The loss or the gradient of a step with them is not finite.
    Step { loss: f64, grad_norm: f64, found: Option<Box<OutOfRange>> },
    /// A weight or a moment is not finite.
    Weights { name: String },
    /// A weight is too large for the engine's element type.
    Range { name: String },
    /// The validation loss is not finite.
    Validation { loss: f64, found: Option<Box<OutOfRange>> },
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unfit::Step { loss, grad_norm, found } => {
                let began = began(found.as_deref());
                write!(f, "a step with its weights has loss {loss} and a gradient of norm {grad_norm}{began}")
            }
            Unfit::Weights { name } => write!(f, "`{name}` has elements that are not finite"),
            Unfit::Range { name } => write!(f, "`{name}` has elements beyond fp16's 65504"),
            Unfit::Validation { loss, found } => {
                write!(f, "the validation loss is {loss}{}", began(found.as_deref()))
            }
        }
    }
}

/// What fits into a window after a prompt.
fn room(prompt: usize, window: usize) -> String {
    match window.saturating_sub(prompt) {
        0 => "Give a shorter prompt, or forget the oldest tokens with `--slide`.".to_owned(),
        room => format!("Generate at most `--tokens {room}`, or forget the oldest tokens with `--slide`."),
    }
}

/// Describes the first value of a forward pass that is out of range.
fn began(found: Option<&OutOfRange>) -> String {
    found.map_or(String::new(), |found| format!("; {found}"))
}

/// Describes the newest checkpoint of a diverged run.
fn kept(saved: Option<u64>) -> String {
    match saved {
        Some(step) => format!("the checkpoint of step {step} is kept"),
        None => "nothing was saved before".to_owned(),
    }
}

impl RunError {
    /// The error for a model at `dir` without a tokenizer: the one beside it is `unfit`, or there is none.
    pub(crate) fn no_tokenizer(dir: &Path, unfit: Option<TrainError>) -> RunError {
        unfit.map_or_else(|| RunError::NoTokenizer { dir: dir.to_owned() }, RunError::Train)
    }

    /// For divergence, the step of the newest checkpoint, if there is one; `None` for other errors.
    pub fn diverged(&self) -> Option<Option<u64>> {
        match self {
            RunError::NotFinite { saved, .. } | RunError::Diverged { saved, .. } => Some(*saved),
            _ => None,
        }
    }

    /// For divergence, what is at fault, and the step of the newest checkpoint, if there is one.
    pub fn fault(&self) -> Option<(&Fault, Option<u64>)> {
        match self {
            RunError::NotFinite { saved, fault, .. } | RunError::Diverged { saved, fault, .. } => {
                Some((fault, *saved))
            }
            _ => None,
        }
    }

    /// What the user can do about it, if anything.
    pub fn hint(&self) -> Option<String> {
        let sentence = match self {
            RunError::Train(e) => return e.hint().map(|h| h.into_owned()),
            RunError::Step(e) => return e.hint(),
            RunError::Device(e) => return e.hint().map(str::to_owned),
            RunError::Sample(e) => return e.hint().map(str::to_owned),
            RunError::NoSession => "Run with `--device soft` to use the software engine.",
            RunError::NoTemplate => {
                "Name a template with `--chat-template FILE`, or continue a text with `generate`."
            }
            RunError::Window { prompt, window, .. } => return Some(room(*prompt, *window)),
            RunError::Setting { .. } | RunError::NotLanguage { .. } => return None,
            RunError::Occupied { .. } => {
                "Continue it with `--resume`, or choose another folder with `--out`."
            }
            RunError::Foreign { .. } => "Choose another folder with `--out`.",
            RunError::OutIsInput { .. } => "Choose another file with `--out`.",
            RunError::OtherData { .. } => {
                "Name the data the run was started with by `--data`, or start a new run."
            }
            RunError::OtherOptimizer { .. } => {
                "Leave `--optimizer` out, or start a new run from the model with `--model` and another `--out`."
            }
            RunError::Busy { .. } => {
                "Wait for it or stop it, then go on with `--resume`; or choose another folder with `--out`."
            }
            RunError::NoData { .. } => "Put it back, or name its new place with `--data`.",
            RunError::TokenizerGone { .. } | RunError::OtherTokenizer { .. } => {
                "Restore the file, or name the run's tokenizer with `--tokenizer`."
            }
            RunError::NotFinite { saved, fault, .. } | RunError::Diverged { saved, fault, .. } => {
                return Some(fault.hint(*saved, "--resume"));
            }
            RunError::NoEffect { remedy, .. } | RunError::Idle { remedy, .. } => remedy,
            RunError::NoTokenizer { .. } => {
                "Name the model's tokenizer with `--tokenizer`, or put its `tokenizer.json` or `tokenizer.bin` beside its \
                 weights."
            }
            RunError::ExamplesNeedTokenizer => {
                "Name a pretrained model with `--model`, or a tokenizer with `--tokenizer`."
            }
            RunError::TokensShape { .. } => "Store the tokens as int32 `[1, S + 1]`.",
            RunError::Metrics { .. } => "Move the file away; the run continues without it.",
        };
        Some(sentence.to_owned())
    }

    /// Whether a retry in a new process may succeed, because the engine's compiler refused.
    pub fn is_retryable(&self) -> bool {
        match self {
            RunError::Step(e) => e.is_retryable(),
            RunError::Device(e) => e.is_retryable(),
            _ => false,
        }
    }

    /// Whether the user's input is the cause.
    pub fn is_input(&self) -> bool {
        match self {
            RunError::Step(StepError::Host(HostError::TokenOutOfRange { .. }) | StepError::Budget { .. }) => {
                true
            }
            RunError::NoSession
            | RunError::Step(_)
            | RunError::Device(_)
            | RunError::NotFinite { .. }
            | RunError::Idle { .. }
            | RunError::Diverged { .. } => false,
            _ => true,
        }
    }
}
