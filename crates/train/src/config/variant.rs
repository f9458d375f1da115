//! The differences of a model from a plain llama.

/// The differences of a model from a plain llama; the default is none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Variant {
    /// The family that defines the meaning of the folder's keys.
    pub family: Family,
    /// The projections with a bias.
    pub bias: Bias,
}

/// A family of models: Hugging Face's `model_type`, with its class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Family {
    /// `llama`; with norms of queries and keys, `qwen3`.
    #[default]
    Llama,
    /// `qwen2`, which is also Qwen 2.5.
    Qwen2,
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
const TYPES: [(&str, Family, bool); 3] =
    [("llama", Family::Llama, false), ("qwen2", Family::Qwen2, false), ("qwen3", Family::Llama, true)];

impl Family {
    /// The family of this `model_type`, and whether its queries and keys have norms.
    pub(super) fn named(model_type: &str) -> Option<(Family, bool)> {
        TYPES.iter().find(|(name, ..)| *name == model_type).map(|&(_, family, qk_norm)| (family, qk_norm))
    }

    /// Every `model_type` that is read, for messages.
    pub(super) fn list() -> String {
        TYPES.map(|(name, ..)| format!("`{name}`")).join(", ")
    }

    /// `model_type` and class of a model of this family, with or without norms of queries and keys.
    pub(super) fn names(self, qk_norm: bool) -> (&'static str, &'static str) {
        match self {
            Family::Llama if qk_norm => ("qwen3", "Qwen3ForCausalLM"),
            Family::Llama => ("llama", "LlamaForCausalLM"),
            Family::Qwen2 => ("qwen2", "Qwen2ForCausalLM"),
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
