//! Options of opening a run, and notices of its progress.

use super::Overrides;
use crate::data::Keys;
use crate::step::CompileEvent;
use ane::DeviceOptions;
use std::path::PathBuf;

/// How lines of JSON are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExampleOptions {
    /// The names of keys.
    pub keys: Keys,
    /// The template of chats.
    pub template: TemplateChoice,
    /// Examples to validate on; if absent, those beside the data, or a share of these.
    pub valid: Option<PathBuf>,
}

/// The template that chats, and prompts with their completions, are written with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TemplateChoice {
    /// The model's; if it has none, ChatML where the tokenizer has its marks.
    #[default]
    Model,
    /// None: prompts and completions are joined as they are.
    None,
    /// ChatML.
    ChatMl,
    /// That in a file.
    File(PathBuf),
}

/// Options of opening a run.
#[derive(Clone, Debug)]
pub struct Options {
    /// A preset, or the path of a model or configuration; `shakespeare` if absent, or the run's own when it is resumed.
    pub model: Option<String>,
    /// Text, examples or tokens; the bundled text if absent.
    pub data: Option<PathBuf>,
    /// How lines of JSON are read.
    pub examples: ExampleOptions,
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
