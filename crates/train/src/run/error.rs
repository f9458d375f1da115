//! What can go wrong in a run.

use crate::error::TrainError;
use crate::host::HostError;
use crate::sample::SampleError;
use crate::step::StepError;
use ane::DeviceError;
use std::path::PathBuf;

/// What can go wrong in a run, in generation or evaluation.
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
    #[error("{what} is {got}, it must be {want}")]
    Setting { what: &'static str, got: String, want: &'static str },
    #[error("`{}` already holds a run", dir.display())]
    Occupied { dir: PathBuf },
    #[error("`{}` was trained on other data: {want} tokens with mark {want_mark:016x}, `{}` has {got} with {got_mark:016x}", dir.display(), data.display())]
    OtherData { dir: PathBuf, data: PathBuf, want: u64, want_mark: u64, got: u64, got_mark: u64 },
    #[error("{steps} steps in a row had gradients that are not finite (step {step}, loss {loss})")]
    NotFinite { step: u64, steps: u32, loss: f64 },
    #[error("`{}` has no tokenizer, and what was asked for needs text", dir.display())]
    NoTokenizer { dir: PathBuf },
    #[error("the model is trained on synthetic activations, not on text: {what} means nothing for it")]
    NotLanguage { what: &'static str },
    #[error("`{}`: tensor `tokens` is {shape:?}, not one row of at least 2 tokens", path.display())]
    TokensShape { path: PathBuf, shape: Vec<usize> },
    #[error("`{}`: line {line} of the metrics cannot be read: {problem}", path.display())]
    Metrics { path: PathBuf, line: usize, problem: String },
}

impl RunError {
    /// What the user can do about it, if anything.
    pub fn hint(&self) -> Option<String> {
        let sentence = match self {
            RunError::Train(e) => return e.hint().map(|h| h.into_owned()),
            RunError::Step(e) => return e.hint(),
            RunError::Device(e) => return e.hint().map(str::to_owned),
            RunError::Sample(e) => return e.hint().map(str::to_owned),
            RunError::Setting { .. } | RunError::NotLanguage { .. } => return None,
            RunError::Occupied { .. } => {
                "Continue it with `--resume`, or choose another folder with `--out`."
            }
            RunError::OtherData { .. } => {
                "Resume with the data the run was started with, or start a new run."
            }
            RunError::NotFinite { .. } => {
                "Lower `--lr` or `--loss-scale`, and resume from the last checkpoint."
            }
            RunError::NoTokenizer { .. } => {
                "Name the model's tokenizer with `--tokenizer`, or put its `tokenizer.json` or `tokenizer.bin` beside its \
                 weights."
            }
            RunError::TokensShape { .. } => "Store the tokens as int32 `[1, S + 1]`.",
            RunError::Metrics { .. } => "Move the file away; the run goes on without it.",
        };
        Some(sentence.to_owned())
    }

    /// Whether the same may succeed in a new process: the engine's compiler refused.
    pub fn may_pass(&self) -> bool {
        match self {
            RunError::Step(e) => e.may_pass(),
            RunError::Device(e) => e.may_pass(),
            _ => false,
        }
    }

    /// Whether the cause is what the user gave, and not the machine or this program.
    pub fn is_input(&self) -> bool {
        match self {
            RunError::Step(StepError::Host(HostError::TokenOutOfRange { .. }) | StepError::Budget { .. }) => {
                true
            }
            RunError::Step(_) | RunError::Device(_) | RunError::NotFinite { .. } => false,
            _ => true,
        }
    }
}
