//! Options of opening a run, and notices of its progress.

use super::Overrides;
use crate::step::CompileEvent;
use ane::DeviceOptions;
use std::path::PathBuf;

/// Options of opening a run.
#[derive(Clone, Debug)]
pub struct Options {
    /// A preset, or the path of a model or configuration; `shakespeare` if absent, or the run's own when it is resumed.
    pub model: Option<String>,
    /// Text or tokens; the bundled text if absent.
    pub data: Option<PathBuf>,
    /// A tokenizer; if absent, the model's, or one that is trained from the text.
    pub tokenizer: Option<PathBuf>,
    /// The folder of the run.
    pub out: PathBuf,
    /// Whether to resume from the newest checkpoint of that folder.
    pub resume: bool,
    /// Settings that the user gave.
    pub overrides: Overrides,
    /// Number of compute threads; 0: as many as the machine runs at once.
    pub threads: usize,
    /// The engine; the settings override its precision of products.
    pub device: DeviceOptions,
}

/// Progress of opening a run.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Notice<'a> {
    TrainingTokenizer { vocab: usize },
    Tokenizing { done: u64, total: u64 },
    Compiling { done: usize, total: usize },
    Kernels(CompileEvent<'a>),
    Warning(&'a str),
}
