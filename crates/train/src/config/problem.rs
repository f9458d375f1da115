//! Errors of configurations, with keys as the file spells them.

use std::path::{Path, PathBuf};

use crate::error::TrainError;

/// The names of keys in the user's file.
#[derive(Clone, Copy)]
pub(super) enum Spelling {
    /// Ours: `dim`, `heads`, …
    Short,
    /// Hugging Face's: `hidden_size`, `num_attention_heads`, …
    HuggingFace,
}

impl Spelling {
    /// The user's name of our short `key`.
    pub(super) fn of(self, key: &'static str) -> &'static str {
        if let Self::Short = self {
            return key;
        }
        match key {
            "dim" => "hidden_size",
            "hidden" => "intermediate_size",
            "layers" => "num_hidden_layers",
            "heads" => "num_attention_heads",
            "kv_heads" => "num_key_value_heads",
            "vocab" => "vocab_size",
            "seq" => "max_position_embeddings",
            "rms_eps" => "rms_norm_eps",
            "tied" => "tie_word_embeddings",
            same => same,
        }
    }
}

/// An error of a configuration, without its file.
pub(super) enum Problem {
    Syntax { line: usize, column: usize, problem: String },
    Value { key: String, problem: String, remedy: String },
}

impl Problem {
    pub(super) fn value(key: &str, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Value { key: key.to_owned(), problem: problem.into(), remedy: remedy.into() }
    }

    pub(super) fn missing(key: &str) -> Self {
        Self::value(key, format!("`{key}` is missing"), format!("Add `{key}`."))
    }

    pub(super) fn json(error: serde_json::Error) -> Self {
        let (line, column) = (error.line(), error.column());
        let message = error.to_string();
        let place = format!(" at line {line} column {column}");
        let problem = message.strip_suffix(&place).unwrap_or(&message);
        let problem = match error.is_syntax() || error.is_eof() {
            true => format!("this is not JSON: {problem}"),
            false => problem.to_owned(),
        };
        Self::Syntax { line, column, problem }
    }

    pub(super) fn at(self, file: Option<PathBuf>) -> TrainError {
        match self {
            Self::Syntax { line, column, problem } => {
                TrainError::ConfigSyntax { path: file.unwrap_or_default(), line, column, problem }
            }
            Self::Value { key, problem, remedy } => TrainError::ConfigValue { file, key, problem, remedy },
        }
    }

    pub(super) fn in_file(self, path: &Path) -> TrainError {
        self.at(Some(path.to_owned()))
    }

    pub(super) fn without_file(self) -> TrainError {
        self.at(None)
    }
}
