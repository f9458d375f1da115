//! Hints of errors.

use super::TrainError;
use std::borrow::Cow;
use std::io;
use std::path::Path;

impl TrainError {
    /// What the user can do about it, if anything: one sentence, imperative.
    pub fn hint(&self) -> Option<Cow<'_, str>> {
        let sentence = match self {
            Self::Io { source, .. } => return io_hint(source.kind()).map(Cow::Borrowed),
            Self::UnknownModel { presets, .. } => return Some(Cow::Owned(any_model(presets))),
            Self::ModelFormat { .. } => "Name a file or folder of one of these formats.",
            Self::NoWeights { .. } => {
                "Name a folder with `model.safetensors`, a GGUF file, or a llama2.c checkpoint."
            }
            Self::Unsupported { .. } => {
                "Use another model, another quantisation of it, or its Hugging Face folder."
            }
            Self::ConfigSyntax { .. } => "Correct the file at that place.",
            Self::ConfigValue { remedy, .. } | Self::Export { remedy, .. } | Self::Foreign { remedy, .. } => {
                return Some(Cow::Borrowed(remedy));
            }
            Self::Several { .. } => "Name one of these files.",
            Self::Exists { .. } => "Name another one, or remove it first.",
            Self::Memory { keys, .. } => return Some(Cow::Owned(format!("Make {keys} smaller."))),
            Self::EmptyText { .. } => "Give a file with text in it.",
            Self::NotAFile { .. } => "Write its content into a file, and name that.",
            Self::NoTextFiles { .. } => "Put the text into files that end in `.txt`, or name one file.",
            Self::NotUtf8 { .. } | Self::NotText { .. } => {
                "Convert the text to UTF-8; a file of tokens must have a name that ends in `.bin` or `.npy`."
            }
            Self::DataFormat { remedy, .. } => remedy,
            Self::TokenFileSize { .. } => {
                "Make the file again: little-endian tokens alone, 16-bit ones for a vocabulary of at most 65536, else \
                 32-bit ones."
            }
            Self::TokenFormat { .. } => {
                "Make the file again: in llm.c's format, or `numpy.save` of one axis of `<u2` or `<u4`."
            }
            Self::TokenWidth { bits: 16, .. } => {
                "Store 16-bit tokens, or save them as `.npy`, which says its width."
            }
            Self::TokenWidth { .. } => "Store 32-bit tokens, or save them as `.npy`, which says its width.",
            Self::TokenOutOfRange { .. } | Self::TokensOfOther { .. } => {
                "Use a model with the vocabulary of the tokenizer that made this file, or make the file again."
            }
            Self::TooFewTokens { seq: 1, .. } => "Give more text.",
            Self::TooFewTokens { .. } => "Give more text, or a smaller `--seq`.",
            Self::TokenFileShrank { .. } | Self::TokenFileChanged { .. } => {
                "Restore the token file, then go on from the last checkpoint with `--resume`."
            }
            Self::TokenizerTooLarge { .. } => "Name the tokenizer of the model with `--tokenizer`.",
            Self::TokenizerFormat { .. } => {
                "Name the model's tokenizer with `--tokenizer`: a `tokenizer.json` with a vocabulary of BPE, WordPiece or \
                 Unigram, or llama2.c's `tokenizer.bin`."
            }
            Self::TokenizerKind { part, known, .. } => return Some(Cow::Owned(known_kinds(part, known))),
            Self::SentencePiece { path } => return Some(Cow::Owned(from_sentencepiece(path))),
            Self::VocabTooSmall { .. } => "Give the model a larger `vocab`.",
            Self::CheckpointVersion { .. } => "Go on with the version of this program that wrote it.",
            Self::FileFormat { .. } => {
                "Fetch or write the file again: it is truncated, damaged or in another format."
            }
            Self::Llama2cVersion { .. } => "Write it again with llama2.c's `export.py --version 0`.",
            Self::WeightsFormat { path, .. } => return Some(Cow::Owned(from_pickle(path))),
            Self::TensorMissing { .. } | Self::TensorUnexpected { .. } | Self::TensorShape { .. } => {
                "Use weights and configuration that belong together."
            }
            Self::TensorType { .. } => "Convert the weights to F32, F16 or BF16.",
            Self::TensorDamaged { .. } | Self::Damaged { .. } => {
                "Fetch the file again, or restore it from a copy; a run writes its own again with `train --resume`."
            }
            Self::TensorNotFinite { .. } => {
                "Use weights from before the training diverged, or convert them again from their source."
            }
            Self::Link { .. } => "Remove the link, or name another folder with `--out`.",
            Self::StateOfOtherModel { .. } => "Resume with the model settings the run was started with.",
            Self::Adapter { remedy, .. } => return Some(Cow::Borrowed(remedy.as_str())),
            Self::NoCheckpoint { .. } => {
                "Start without `--resume`, or name the folder of an earlier run with `--out`."
            }
            Self::Tokenizer { .. } => "Use a tokenizer that has all of this text, with `--tokenizer`.",
            _ => return self.example_hint().map(Cow::Borrowed),
        };
        Some(Cow::Borrowed(sentence))
    }
}

/// What a model may be, with the names of the presets.
fn any_model(presets: &[&str]) -> String {
    let presets = presets.join(", ");
    format!(
        "Name a preset ({presets}), a `.toml` or `.json` file, a GGUF file, or a folder with `config.json`."
    )
}

impl TrainError {
    /// What the user can do about examples.
    fn example_hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Record { .. } => {
                "Correct that line; where keys have other names, give them with `--messages-key`, `--prompt-key`, \
                 `--completion-key` or `--text-key`."
            }
            Self::NoTemplate { .. } => {
                "Name a file with a Jinja template by `--chat-template`, or use `--chat-template chatml`."
            }
            Self::NoExamples { .. } => {
                "Give records with an answer, a completion or a text that is not empty."
            }
            Self::ExamplesTooLong { .. } => "Give a larger `--seq`, or `--loss-on all`.",
            Self::ValidFile { .. } => "Leave `--valid` out, or give lines of JSON with `--data`.",
            Self::ChatTemplate { .. } => {
                "Correct the messages, or use another template with `--chat-template FILE`."
            }
            _ => return None,
        })
    }
}

/// The kinds that a part of a tokenizer may be.
fn known_kinds(part: &str, kinds: &[&str]) -> String {
    let kinds = kinds.join("`, `");
    format!("Use a tokenizer whose {part} is one of `{kinds}`.")
}

/// The command that makes a `tokenizer.json` of a model of SentencePiece.
fn from_sentencepiece(path: &Path) -> String {
    let dir = match path.parent() {
        Some(dir) if dir != Path::new("") => dir,
        _ => Path::new("."),
    };
    let dir = dir.display();
    format!(
        "Convert it: `python -c \"from transformers import AutoTokenizer as T; \
         T.from_pretrained('{dir}').save_pretrained('{dir}')\"` writes `{dir}/tokenizer.json`."
    )
}

/// The command that makes safetensors of the pickles in the folder `dir`.
fn from_pickle(dir: &Path) -> String {
    let dir = dir.display();
    format!(
        "Convert them: `python -c \"from transformers import AutoModelForCausalLM as M; \
         M.from_pretrained('{dir}').save_pretrained('{dir}')\"`."
    )
}

/// What the user can do about a file that cannot be read or written.
fn io_hint(kind: io::ErrorKind) -> Option<&'static str> {
    Some(match kind {
        io::ErrorKind::NotFound => "Check the path.",
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "Choose a place this user may read and write."
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "Free some disk space, or choose another disk with `--out`."
        }
        _ => return None,
    })
}
