//! What a model is: its sizes, its variants, and where each weight lies in the flat parameter slice.
//!
//! A [`ModelConfig`] comes from a preset ([`ModelConfig::preset`]), from a file with Hugging Face's keys or our own short
//! ones ([`ModelConfig::read`]), or from any model by its name ([`ModelConfig::find`], in `formats`).

mod hugging_face;
mod init;
mod params;
mod presets;
mod short;
mod validate;

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::TrainError;

pub use init::init_params;
pub(crate) use init::symmetric;
pub use params::{Init, ParamKind, ParamSpec};
pub use presets::PRESETS;

/// A llama-style transformer, completely described.
///
/// Letters used in shape comments: D = `dim`, F = `hidden`, V = `vocab`, L = `layers`, H = `heads`,
/// K = `kv_heads`, E = `head_dim`, S = `seq`. Query head j reads key/value head j // (H / K).
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    /// D: width of the residual stream.
    pub dim: usize,
    /// F: width of the feed-forward layer.
    pub hidden: usize,
    /// L: number of transformer layers.
    pub layers: usize,
    /// H: query heads.
    pub heads: usize,
    /// K: key/value heads; divides `heads`.
    pub kv_heads: usize,
    /// E: width of one head; H·E need not be D.
    pub head_dim: usize,
    /// V: vocabulary size; 0 for [`Task::Regression`].
    pub vocab: usize,
    /// S: tokens in one training window.
    pub seq: usize,
    /// ε of every RMSNorm: x · (mean x² + ε)^−½.
    pub rms_eps: f64,
    /// How positions enter the attention.
    pub rope: Rope,
    /// RMSNorm over each head's queries and keys before RoPE (as in Qwen 3).
    pub qk_norm: bool,
    /// The classifier is the embedding, transposed.
    pub tied: bool,
    /// What is trained.
    pub task: Task,
}

/// Rotary position embedding: which channels form a pair, and the base of the angles.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rope {
    /// Which two channels turn together.
    pub kind: RopeKind,
    /// θ: pair i of a head turns by position · θ^(−2i/E).
    pub theta: f64,
}

/// Which two channels of a head RoPE turns together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RopeKind {
    /// Channels 2i and 2i+1 (Meta's and llama2.c's layout of the q and k weights).
    Interleaved,
    /// Channels i and i + E/2 (Hugging Face's layout).
    RotateHalf,
    /// No position information but the causal mask.
    None,
}

/// What a model is trained on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// Next-token prediction: embedding, layers, final norm, classifier, cross-entropy.
    Language,
    /// The bare layers, fed and judged by seeded synthetic activations: mean squared error.
    Regression,
}

impl fmt::Display for RopeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Interleaved => "interleaved",
            Self::RotateHalf => "rotate-half",
            Self::None => "none",
        })
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Language => "language",
            Self::Regression => "regression",
        })
    }
}

impl ModelConfig {
    /// Reads and validates a configuration file: JSON if its first character is `{`, with Hugging Face's keys if there is a
    /// `hidden_size` and our short ones if not; otherwise TOML with our short keys.
    ///
    /// # Errors
    /// [`TrainError::Io`], [`TrainError::ConfigSyntax`] with line and column, or
    /// [`TrainError::ConfigValue`] with the key.
    pub fn read(path: &Path) -> Result<Self, TrainError> {
        let text = std::fs::read_to_string(path).map_err(TrainError::io("read", path))?;
        let is_json = text.trim_start().starts_with('{');
        let parsed = if is_json { Self::from_json(&text) } else { short::from_toml(&text) };
        parsed.map_err(|problem| problem.in_file(path))
    }

    /// Parses either JSON form, found inside the file `path`.
    pub(crate) fn from_json_in(path: &Path, text: &str) -> Result<Self, TrainError> {
        Self::from_json(text).map_err(|problem| problem.in_file(path))
    }

    /// Parses either JSON form.
    fn from_json(text: &str) -> Result<Self, Problem> {
        let value: serde_json::Value = serde_json::from_str(text).map_err(Problem::json)?;
        if value.get("hidden_size").is_some() {
            hugging_face::from_json(text)
        } else {
            short::from_json(text)
        }
    }

    /// Refuses values that no model can have.
    ///
    /// # Errors
    /// [`TrainError::ConfigValue`] with the first impossible key, in our short spelling.
    pub fn validate(&self) -> Result<(), TrainError> {
        validate::check(self, Spelling::Short).map_err(|problem| problem.without_file())
    }

    /// Channels of all query heads, H·E.
    pub fn q_dim(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Channels of all key heads (or value heads), K·E.
    pub fn kv_dim(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// Query heads that share one key/value head, H / K.
    pub fn group(&self) -> usize {
        self.heads / self.kv_heads
    }

    /// The first difference to `other`, as (key, own value, other value).
    pub fn difference(&self, other: &Self) -> Option<(&'static str, String, String)> {
        let (own, others) = (self.described(), other.described());
        own.into_iter().zip(others).find(|(a, b)| a.1 != b.1).map(|((key, a), (_, b))| (key, a, b))
    }

    /// Every key with its value; numbers in their shortest form that reads back to the same bits.
    fn described(&self) -> [(&'static str, String); 14] {
        [
            ("dim", self.dim.to_string()),
            ("hidden", self.hidden.to_string()),
            ("layers", self.layers.to_string()),
            ("heads", self.heads.to_string()),
            ("kv_heads", self.kv_heads.to_string()),
            ("head_dim", self.head_dim.to_string()),
            ("vocab", self.vocab.to_string()),
            ("seq", self.seq.to_string()),
            ("rms_eps", self.rms_eps.to_string()),
            ("rope", self.rope.kind.to_string()),
            ("rope_theta", self.rope.theta.to_string()),
            ("qk_norm", self.qk_norm.to_string()),
            ("tied", self.tied.to_string()),
            ("task", self.task.to_string()),
        ]
    }
}

/// Which names a configuration's keys have where the user wrote them.
#[derive(Clone, Copy)]
enum Spelling {
    /// Ours: `dim`, `heads`, …
    Short,
    /// Hugging Face's: `hidden_size`, `num_attention_heads`, …
    HuggingFace,
}

impl Spelling {
    /// The key the user knows our short `key` by.
    fn of(self, key: &'static str) -> &'static str {
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

/// What is wrong with a configuration, before it is known which file it came from.
enum Problem {
    Syntax { line: usize, column: usize, problem: String },
    Value { key: String, problem: String, remedy: String },
}

impl Problem {
    fn value(key: &str, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Value { key: key.to_owned(), problem: problem.into(), remedy: remedy.into() }
    }

    fn missing(key: &str) -> Self {
        Self::value(key, format!("`{key}` is missing"), format!("Add `{key}`."))
    }

    fn json(error: serde_json::Error) -> Self {
        let (line, column) = (error.line(), error.column());
        let message = error.to_string();
        let place = format!(" at line {line} column {column}");
        let problem = message.strip_suffix(&place).unwrap_or(&message).to_owned();
        Self::Syntax { line, column, problem }
    }

    fn at(self, file: Option<PathBuf>) -> TrainError {
        match self {
            Self::Syntax { line, column, problem } => {
                TrainError::ConfigSyntax { path: file.unwrap_or_default(), line, column, problem }
            }
            Self::Value { key, problem, remedy } => TrainError::ConfigValue { file, key, problem, remedy },
        }
    }

    fn in_file(self, path: &Path) -> TrainError {
        self.at(Some(path.to_owned()))
    }

    fn without_file(self) -> TrainError {
        self.at(None)
    }
}

#[cfg(test)]
mod tests;
