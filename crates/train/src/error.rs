//! What can go wrong in the trainer, each case with both sides of the mismatch and the place it was found.

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};

/// What can go wrong with configurations, data, tokenizers and checkpoints.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The operating system refused to read or write.
    #[error("cannot {doing} `{}`: {source}", path.display())]
    Io {
        /// The verb: `read`, `write`, `create`…
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },

    /// A model name that is neither a preset nor something on disk.
    #[error("there is no model preset, file or folder `{name}`")]
    UnknownModel {
        /// The name that was asked for.
        name: String,
    },
    /// A configuration file that is not valid JSON or TOML, or lacks a key.
    #[error("`{}`, line {line}, column {column}: {problem}", path.display())]
    ConfigSyntax {
        /// The configuration file.
        path: PathBuf,
        /// Line, counted from 1.
        line: usize,
        /// Column, counted from 1.
        column: usize,
        /// What the parser said.
        problem: String,
    },
    /// A configuration value that no model can have.
    #[error("{}{problem}", in_file(file.as_deref()))]
    ConfigValue {
        /// The file it stands in, if it came from one.
        file: Option<PathBuf>,
        /// The key, as the file spells it.
        key: String,
        /// Key, values and why they are impossible.
        problem: String,
        /// What to do about it, one imperative sentence.
        remedy: String,
    },

    /// A text file without a byte in it.
    #[error("`{}` is empty", path.display())]
    EmptyText {
        /// The file, or the folder whose files are all empty.
        path: PathBuf,
    },
    /// A folder of training text without any `.txt` file.
    #[error("the folder `{}` holds no `.txt` file", path.display())]
    NoTextFiles {
        /// The folder.
        path: PathBuf,
    },
    /// Training text that is not UTF-8.
    #[error("`{}` is not UTF-8 text: byte {offset} starts no valid character", path.display())]
    NotUtf8 {
        /// The text file.
        path: PathBuf,
        /// Offset of the first invalid byte, counted from 0.
        offset: u64,
    },
    /// A token file with half a token at its end.
    #[error("`{}` has {bytes} bytes, which is not a whole number of 2-byte tokens", path.display())]
    TokenFileSize {
        /// The token file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// A token the model has no embedding for.
    #[error("`{}`: token {position} is {id}, the model's vocabulary ends at {}", path.display(), vocab.saturating_sub(1))]
    TokenOutOfRange {
        /// The token file.
        path: PathBuf,
        /// Index of the token in the file, counted from 0.
        position: u64,
        /// The token.
        id: u32,
        /// The model's vocabulary size.
        vocab: usize,
    },
    /// Text or token file shorter than one training window.
    #[error("`{}` holds {got} tokens, one window of {seq} tokens and its targets needs {want}", path.display())]
    TooFewTokens {
        /// The file.
        path: PathBuf,
        /// Tokens there are.
        got: u64,
        /// Tokens needed, `seq + 1`.
        want: u64,
        /// The sequence length.
        seq: usize,
    },
    /// A token file that lost its end while it was in use.
    #[error("`{}` was cut while in use: tokens {start} to {end} can no longer be read", path.display())]
    TokenFileShrank {
        /// The token file.
        path: PathBuf,
        /// First token asked for.
        start: u64,
        /// One past the last token asked for.
        end: u64,
    },
    /// A vocabulary that two bytes a token cannot number.
    #[error("a vocabulary of {vocab} does not fit the 2-byte tokens of a token file (at most 65536)")]
    VocabTooLarge {
        /// The vocabulary size.
        vocab: usize,
    },

    /// A tokenizer file that is truncated, foreign or of a kind this crate does not read.
    #[error("`{}` is not a tokenizer this program reads: {problem}", path.display())]
    TokenizerFormat {
        /// The tokenizer file.
        path: PathBuf,
        /// What was expected and what was found.
        problem: String,
    },
    /// A byte-level vocabulary smaller than its bytes.
    #[error("a byte-level vocabulary has at least {want} tokens, `vocab` is {got}")]
    VocabTooSmall {
        /// The size asked for.
        got: usize,
        /// The smallest possible size.
        want: usize,
    },
    /// The tokenizer library refused to train or encode.
    #[error("the tokenizer failed: {problem}")]
    Tokenizer {
        /// The library's reason.
        problem: String,
    },

    /// A weight or state file that is truncated, foreign or damaged.
    #[error("`{}` is not a complete {kind} file: {problem}", path.display())]
    FileFormat {
        /// The file.
        path: PathBuf,
        /// The format it should have.
        kind: &'static str,
        /// What was expected and what was found.
        problem: String,
    },
    /// A weight the model needs and the file lacks.
    #[error("`{}` has no tensor `{name}`, which this model needs", path.display())]
    TensorMissing {
        /// The file.
        path: PathBuf,
        /// The tensor's name.
        name: String,
    },
    /// A weight the file has and the model does not know.
    #[error("`{}` has a tensor `{name}` that this model does not know", path.display())]
    TensorUnexpected {
        /// The file.
        path: PathBuf,
        /// The tensor's name.
        name: String,
    },
    /// A weight of another shape than the configuration says.
    #[error("`{}`: tensor `{name}` has shape {got:?}, this model wants {want:?}", path.display())]
    TensorShape {
        /// The file.
        path: PathBuf,
        /// The tensor's name.
        name: String,
        /// Shape in the file.
        got: Vec<usize>,
        /// Shape the configuration asks for.
        want: Vec<usize>,
    },
    /// A weight in a number format that is not read.
    #[error("`{}`: tensor `{name}` holds {got} numbers, only F32, F16 and BF16 are read", path.display())]
    TensorType {
        /// The file.
        path: PathBuf,
        /// The tensor's name.
        name: String,
        /// The number format in the file.
        got: String,
    },
    /// A training state of a model with another configuration.
    #[error("`{}` belongs to a model with {key} = {got}, this run has {key} = {want}", path.display())]
    StateOfOtherModel {
        /// The state file.
        path: PathBuf,
        /// The first key that differs.
        key: String,
        /// Its value in the file.
        got: String,
        /// Its value in this run.
        want: String,
    },
    /// A run folder without any checkpoint.
    #[error("`{}` holds no checkpoint to resume from", dir.display())]
    NoCheckpoint {
        /// The run folder.
        dir: PathBuf,
    },
}

/// `file: ` when there is one, for the start of a message.
fn in_file(file: Option<&Path>) -> String {
    file.map(|path| format!("`{}`: ", path.display())).unwrap_or_default()
}

impl TrainError {
    /// What the user can do about it, if anything: one sentence, imperative.
    pub fn hint(&self) -> Option<Cow<'_, str>> {
        let sentence = match self {
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => "Check the path.",
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                    "Choose a place this user may read and write."
                }
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    "Free some disk space, or choose another disk with `--out`."
                }
                _ => return None,
            },
            Self::UnknownModel { .. } => {
                return Some(Cow::Owned(format!(
                    "Name a preset ({}), a `.toml` or `.json` file, or a folder with `config.json`.",
                    crate::config::PRESETS.join(", ")
                )));
            }
            Self::ConfigSyntax { .. } => "Correct the file at that place.",
            Self::ConfigValue { remedy, .. } => return Some(Cow::Borrowed(remedy)),
            Self::EmptyText { .. } => "Give a file with text in it.",
            Self::NoTextFiles { .. } => "Put the text into files that end in `.txt`, or name one file.",
            Self::NotUtf8 { .. } => {
                "Convert the text to UTF-8; a file of 2-byte tokens must have a name that ends in `.bin`."
            }
            Self::TokenFileSize { .. } => {
                "Make the file again: it must hold little-endian 16-bit tokens and nothing else."
            }
            Self::TokenOutOfRange { .. } => {
                "Use a model with the vocabulary of the tokenizer that made this file, or make the file again."
            }
            Self::TooFewTokens { .. } => "Give more text, or a smaller `--seq`.",
            Self::TokenFileShrank { .. } => "Restore the token file, then resume from the last checkpoint.",
            Self::VocabTooLarge { .. } => "Use a tokenizer with at most 65536 tokens.",
            Self::TokenizerFormat { .. } => {
                "Use the `tokenizer.json` of a byte-level or SentencePiece BPE, or llama2.c's `tokenizer.bin`."
            }
            Self::VocabTooSmall { .. } => "Give the model a larger `vocab`.",
            Self::FileFormat { .. } => {
                "Fetch or write the file again; it is cut, damaged or of another kind."
            }
            Self::TensorMissing { .. } | Self::TensorUnexpected { .. } | Self::TensorShape { .. } => {
                "Use the `config.json` that belongs to these weights."
            }
            Self::TensorType { .. } => "Convert the weights to F32, F16 or BF16.",
            Self::StateOfOtherModel { .. } => "Resume with the model settings the run was started with.",
            Self::NoCheckpoint { .. } => "Start without `--resume`, or name the folder of an earlier run.",
            Self::Tokenizer { .. } => return None,
        };
        Some(Cow::Borrowed(sentence))
    }

    /// Wraps a system error with what was being done to which path; made for `map_err`.
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { doing, path, source }
    }
}
