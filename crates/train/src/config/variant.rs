//! The differences of a model from a plain llama.

use super::{LayerKind, RopeScaling};

/// The differences of a model from a plain llama; the default is none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Variant {
    /// The family that defines the meaning of the folder's keys.
    pub family: Family,
    /// The projections with a bias.
    pub bias: Bias,
    /// How the frequencies of RoPE are scaled.
    pub scaling: RopeScaling,
    /// The kind of each layer; empty if all are plain.
    pub layers: Vec<LayerKind>,
    /// Base and scaling of RoPE in local layers, if they have their own.
    pub local_rope: Option<(f64, RopeScaling)>,
    /// The activation of the feed-forward part.
    pub activation: Activation,
    /// Scores are divided by its root; `None`: by that of the width of a head.
    pub query_scalar: Option<f64>,
    /// The bound of scores, `c·tanh(score/c)`.
    pub score_cap: Option<f64>,
    /// The bound of logits.
    pub logit_cap: Option<f64>,
}

/// The activation of the feed-forward part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activation {
    /// `x·σ(x)`.
    #[default]
    Silu,
    /// GELU, approximated by tanh.
    GeluTanh,
}

impl Activation {
    /// Hugging Face's name.
    pub fn name(self) -> &'static str {
        match self {
            Activation::Silu => "silu",
            Activation::GeluTanh => "gelu_pytorch_tanh",
        }
    }
}

/// A family of models: Hugging Face's `model_type`, with its class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Family {
    /// `llama`; with norms of queries and keys, `qwen3`.
    #[default]
    Llama,
    /// `qwen2`, which is also Qwen 2.5.
    Qwen2,
    /// `mistral`.
    Mistral,
    /// `smollm3`.
    SmolLm3,
    /// `gemma`.
    Gemma,
    /// `gemma2`.
    Gemma2,
    /// `gemma3_text`.
    Gemma3,
}

/// The projections of a layer with a bias.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bias {
    /// Queries, keys and values.
    pub qkv: bool,
    /// The output of the attention.
    pub out: bool,
    /// The three of the feed-forward part.
    pub mlp: bool,
}

/// Every `model_type` that is read, its family, and whether queries and keys have norms.
const TYPES: [(&str, Family, bool); 8] = [
    ("gemma", Family::Gemma, false),
    ("gemma2", Family::Gemma2, false),
    ("gemma3_text", Family::Gemma3, true),
    ("llama", Family::Llama, false),
    ("mistral", Family::Mistral, false),
    ("qwen2", Family::Qwen2, false),
    ("qwen3", Family::Llama, true),
    ("smollm3", Family::SmolLm3, false),
];

impl Family {
    /// The family of this `model_type`, and whether its queries and keys have norms.
    pub(super) fn named(model_type: &str) -> Option<(Family, bool)> {
        TYPES.iter().find(|(name, ..)| *name == model_type).map(|&(_, family, qk_norm)| (family, qk_norm))
    }

    /// Every `model_type` that is read, for messages.
    pub(super) fn list() -> String {
        TYPES.map(|(name, ..)| format!("`{name}`")).join(", ")
    }

    /// The base of RoPE where the file has none.
    pub(super) fn theta(self) -> f64 {
        match self {
            Family::SmolLm3 => 2_000_000.0,
            Family::Gemma3 => 1_000_000.0,
            _ => 10_000.0,
        }
    }

    /// Whether the classifier is the embedding where the file does not say.
    pub(super) fn is_tied(self) -> bool {
        self == Family::SmolLm3 || self.is_gemma()
    }

    /// Whether it is one of the three generations of Gemma.
    pub fn is_gemma(self) -> bool {
        matches!(self, Family::Gemma | Family::Gemma2 | Family::Gemma3)
    }

    /// What is added to the weights of norms.
    pub fn norm_offset(self) -> f64 {
        if self.is_gemma() { 1.0 } else { 0.0 }
    }

    /// Whether the outputs of attention and feed-forward part are normed before they are added to the residual stream.
    pub fn has_post_norms(self) -> bool {
        matches!(self, Family::Gemma2 | Family::Gemma3)
    }

    /// `model_type` and class of a model of this family, with or without norms of queries and keys.
    pub(super) fn names(self, qk_norm: bool) -> (&'static str, &'static str) {
        match self {
            Family::Llama if qk_norm => ("qwen3", "Qwen3ForCausalLM"),
            Family::Llama => ("llama", "LlamaForCausalLM"),
            Family::Qwen2 => ("qwen2", "Qwen2ForCausalLM"),
            Family::Mistral => ("mistral", "MistralForCausalLM"),
            Family::Gemma => ("gemma", "GemmaForCausalLM"),
            Family::Gemma2 => ("gemma2", "Gemma2ForCausalLM"),
            Family::Gemma3 => ("gemma3_text", "Gemma3ForCausalLM"),
            Family::SmolLm3 => ("smollm3", "SmolLM3ForCausalLM"),
        }
    }
}

impl Bias {
    /// The projections, for messages.
    pub(super) fn described(self) -> String {
        let parts = [(self.qkv, "q, k, v"), (self.out, "o"), (self.mlp, "feed-forward")];
        let parts: Vec<&str> = parts.into_iter().filter(|(has, _)| *has).map(|(_, name)| name).collect();
        if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }
    }
}
