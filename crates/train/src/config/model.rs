//! The model's description: sizes, variants, task.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{RopeScaling, Variant};

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
    /// The position embedding.
    pub rope: Rope,
    /// RMSNorm over each head's queries and keys before RoPE (as in Qwen 3).
    pub qk_norm: bool,
    /// The classifier is the embedding, transposed.
    pub tied: bool,
    /// The training objective.
    pub task: Task,
    /// What differs from a plain llama.
    pub variant: Variant,
}

/// Rotary position embedding: the pairing of channels, and the base of the angles.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rope {
    /// The pairing of channels.
    pub kind: RopeKind,
    /// θ: pair i of a head is rotated by position · θ^(−2i/E).
    pub theta: f64,
}

/// The channels of a head that RoPE rotates as a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RopeKind {
    /// Channels 2i and 2i+1 (Meta's and llama2.c's layout of the q and k weights).
    Interleaved,
    /// Channels i and i + E/2 (Hugging Face's layout).
    RotateHalf,
    /// No RoPE.
    None,
}

/// The training objective.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// Next-token prediction: embedding, layers, final norm, classifier, cross-entropy.
    Language,
    /// The layers alone, on seeded synthetic activations with mean squared error.
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

    /// The factor on embedded tokens: √D in Gemma, in f32 as in transformers with weights in f32.
    pub fn embedding_scale(&self) -> f32 {
        if self.variant.family.is_gemma() { (self.dim as f64).sqrt() as f32 } else { 1.0 }
    }

    /// Whether a folder may name a longer longest window than the model was trained with: dynamic RoPE depends on it.
    pub(crate) fn can_grow(&self) -> bool {
        !matches!(self.variant.scaling, RopeScaling::Dynamic { .. })
    }

    /// The first difference from `other`, as (key, own value, other value).
    pub fn difference(&self, other: &Self) -> Option<(&'static str, String, String)> {
        let (own, others) = (self.described(), other.described());
        own.into_iter().zip(others).find(|(a, b)| a.1 != b.1).map(|((key, a), (_, b))| (key, a, b))
    }

    /// Every key with its value; numbers in the shortest form that parses to the same bits.
    fn described(&self) -> [(&'static str, String); 23] {
        let number = |number: Option<f64>| number.map_or("null".to_owned(), |number| number.to_string());
        let local = |(theta, scaling): &(f64, RopeScaling)| format!("{theta} with {}", scaling.described());
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
            ("model_type", self.variant.family.names(self.qk_norm).0.to_owned()),
            ("bias", self.variant.bias.described()),
            ("layer_types", self.described_layers()),
            ("local_rope", self.variant.local_rope.as_ref().map_or("null".to_owned(), local)),
            ("hidden_act", self.variant.activation.name().to_owned()),
            ("query_pre_attn_scalar", number(self.variant.query_scalar)),
            ("attn_logit_softcapping", number(self.variant.score_cap)),
            ("final_logit_softcapping", number(self.variant.logit_cap)),
            ("rope_scaling", self.variant.scaling.described()),
        ]
    }
}
