//! The keys of a GGUF file after the architecture's prefix, and the names of its tensors: one record says how each is read and
//! how it is written.
//!
//! Source: ggml `docs/gguf.md`, llama.cpp `src/llama-arch.cpp` and `conversion`, constants of the `gguf` Python package.

use super::layers::{self, WINDOWED};
use super::rope;
use super::write::Value;
use crate::config::{Family, ModelConfig};

/// The architectures that are read, with Hugging Face's `model_type` and class. A Mistral is a `llama`, with or without windows.
pub const ARCHITECTURES: [(&str, &str, &str); 8] = [
    ("llama", "llama", "LlamaForCausalLM"),
    ("llama", "mistral", "MistralForCausalLM"),
    ("qwen2", "qwen2", "Qwen2ForCausalLM"),
    ("qwen3", "qwen3", "Qwen3ForCausalLM"),
    ("smollm3", "smollm3", "SmolLM3ForCausalLM"),
    ("gemma", "gemma", "GemmaForCausalLM"),
    ("gemma2", "gemma2", "Gemma2ForCausalLM"),
    ("gemma3", "gemma3_text", "Gemma3ForCausalLM"),
];

/// The architecture of a model: its `model_type`, in llama.cpp's words.
pub fn architecture(config: &ModelConfig) -> &'static str {
    let family = config.variant.family;
    match family {
        Family::Llama if config.qk_norm => "qwen3",
        Family::Llama | Family::Mistral => "llama",
        Family::Qwen2 => "qwen2",
        Family::SmolLm3 => "smollm3",
        Family::Gemma => "gemma",
        Family::Gemma2 => "gemma2",
        Family::Gemma3 => "gemma3",
    }
}

/// Whether rows of queries and keys are stored in the order of rotated pairs: for these architectures alone.
pub fn stores_pairs(config: &ModelConfig) -> bool {
    matches!(architecture(config), "llama" | "smollm3")
}

/// A key after the architecture's prefix.
pub struct Record {
    /// GGUF's name.
    pub name: &'static str,
    /// The architectures that have it; empty: all. For others, 0 is as good as nothing, and all else is refused.
    pub of: &'static [&'static str],
    /// How it is read.
    pub read: Read,
    /// How it is written.
    pub write: fn(&Written<'_>) -> Option<Value>,
}

/// How a key is read.
pub enum Read {
    /// A whole number, to be a key of `config.json`; `true`: it must be there.
    Size(&'static str, bool),
    /// A finite number, to be a key of `config.json`; where it is missing, this one if there is one.
    Number(&'static str, Option<f64>),
    /// As [`Read::Number`], and it must be there.
    Needed(&'static str),
    /// A whole number that must be the width of a head.
    Width,
    /// By `layers` or `rope`, together with others.
    Together,
    /// Not at all: it changes nothing.
    Not,
    /// Not at all, and refused but for these values, which change nothing.
    Only(&'static [f64]),
}

/// What is written.
pub struct Written<'m> {
    /// The model.
    pub config: &'m ModelConfig,
    /// The longest text that it is made for.
    pub context: usize,
}

impl Written<'_> {
    fn size(n: usize) -> Option<Value> {
        // `export` refuses larger ones.
        u32::try_from(n).ok().map(Value::U32)
    }

    fn number(x: f64) -> Option<Value> {
        Some(Value::F32(x as f32))
    }
}

const fn record(name: &'static str, read: Read, write: fn(&Written<'_>) -> Option<Value>) -> Record {
    Record { name, of: &[], read, write }
}

const fn only(name: &'static str, values: &'static [f64]) -> Record {
    Record { name, of: &[], read: Read::Only(values), write: |_| None }
}

/// llama.cpp's base of RoPE where a file has none.
const THETA: f64 = 10_000.0;

/// Every known key.
pub const RECORDS: [Record; 42] = [
    record("context_length", Read::Size("max_position_embeddings", true), |w| Written::size(w.context)),
    record("embedding_length", Read::Size("hidden_size", true), |w| Written::size(w.config.dim)),
    record("block_count", Read::Size("num_hidden_layers", true), |w| Written::size(w.config.layers)),
    record("feed_forward_length", Read::Size("intermediate_size", true), |w| Written::size(w.config.hidden)),
    record("attention.head_count", Read::Size("num_attention_heads", true), |w| {
        Written::size(w.config.heads)
    }),
    record("attention.head_count_kv", Read::Size("num_key_value_heads", false), |w| {
        Written::size(w.config.kv_heads)
    }),
    record("attention.key_length", Read::Size("head_dim", false), |w| Written::size(w.config.head_dim)),
    record("attention.value_length", Read::Width, |w| Written::size(w.config.head_dim)),
    record("rope.dimension_count", Read::Width, |w| Written::size(w.config.head_dim)),
    record("attention.key_length_swa", Read::Width, |_| None),
    record("attention.value_length_swa", Read::Width, |_| None),
    record("rope.dimension_count_swa", Read::Width, |_| None),
    record("vocab_size", Read::Not, |w| Written::size(w.config.vocab)),
    record("attention.layer_norm_rms_epsilon", Read::Needed("rms_norm_eps"), |w| {
        Written::number(w.config.rms_eps)
    }),
    record("rope.freq_base", Read::Number("rope_theta", Some(THETA)), |w| {
        Written::number(w.config.rope.theta)
    }),
    Record {
        name: "rope.freq_base_swa",
        of: &["gemma3"],
        read: Read::Number("rope_local_base_freq", Some(THETA)),
        write: |w| Written::number(w.config.variant.local_rope.as_ref()?.0),
    },
    Record {
        name: "attn_logit_softcapping",
        of: &["gemma2"],
        read: Read::Number("attn_logit_softcapping", None),
        write: |w| Written::number(w.config.variant.score_cap?),
    },
    Record {
        name: "final_logit_softcapping",
        of: &["gemma2", "gemma3"],
        read: Read::Number("final_logit_softcapping", None),
        write: |w| Written::number(w.config.variant.logit_cap?),
    },
    Record {
        name: layers::WINDOW,
        of: WINDOWED,
        read: Read::Together,
        write: |w| Written::size(layers::window(w.config)?),
    },
    Record {
        name: layers::PATTERN,
        of: WINDOWED,
        read: Read::Together,
        write: |w| layers::pattern(w.config, architecture(w.config)),
    },
    record(rope::TYPE, Read::Together, |w| rope::kind(w.config).map(|kind| Value::Str(kind.to_owned()))),
    record(rope::FACTOR, Read::Together, |w| Written::number(rope::factor(w.config)?)),
    record(rope::ORIGINAL, Read::Together, |w| Written::size(rope::original(w.config)?)),
    record(rope::AMPLITUDE, Read::Together, |w| Written::number(rope::amplitude(w.config)?)),
    record(rope::BETA_FAST, Read::Together, |w| Written::number(rope::betas(w.config)[0]?)),
    record(rope::BETA_SLOW, Read::Together, |w| Written::number(rope::betas(w.config)[1]?)),
    record(rope::SCALE_LINEAR, Read::Together, |_| None),
    record("rope.scaling.finetuned", Read::Not, |_| None),
    record("attention.layer_norm_epsilon", Read::Not, |_| None),
    record("tensor_data_layout", Read::Not, |_| None),
    only("attention.causal", &[1.0]),
    only("attention.scale", &[0.0]),
    only("expert_count", &[0.0]),
    only("expert_used_count", &[0.0]),
    only("logit_scale", &[0.0, 1.0]),
    only("embedding_scale", &[0.0, 1.0]),
    only("residual_scale", &[0.0, 1.0]),
    only("rope.scaling.alpha", &[0.0]),
    only("rope.scaling.yarn_log_multiplier", &[0.0]),
    only("rope.scaling.yarn_attn_factor", &[0.0, 1.0]),
    only("rope.scaling.yarn_ext_factor", &[1.0]),
    only("nextn_predict_layers", &[0.0]),
];

/// The tensors outside of layers: Hugging Face's name and GGUF's.
const WHOLE: [(&str, &str); 3] =
    [("model.embed_tokens", "token_embd"), ("model.norm", "output_norm"), ("lm_head", "output")];

/// The tensors of a layer: Hugging Face's module, and GGUF's name without and with norms after attention and feed-forward part.
const PARTS: [(&str, &str, &str); 13] = [
    ("input_layernorm", "attn_norm", "attn_norm"),
    ("self_attn.q_proj", "attn_q", "attn_q"),
    ("self_attn.k_proj", "attn_k", "attn_k"),
    ("self_attn.v_proj", "attn_v", "attn_v"),
    ("self_attn.o_proj", "attn_output", "attn_output"),
    ("self_attn.q_norm", "attn_q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm", "attn_k_norm"),
    ("post_attention_layernorm", "ffn_norm", "post_attention_norm"),
    ("pre_feedforward_layernorm", "", "ffn_norm"),
    ("post_feedforward_layernorm", "", "post_ffw_norm"),
    ("mlp.gate_proj", "ffn_gate", "ffn_gate"),
    ("mlp.up_proj", "ffn_up", "ffn_up"),
    ("mlp.down_proj", "ffn_down", "ffn_down"),
];

/// GGUF's name of the tensor that Hugging Face calls `name`.
pub fn tensor_name(name: &str, has_post_norms: bool) -> Option<String> {
    let (module, end) = name.rsplit_once('.').filter(|(_, end)| matches!(*end, "weight" | "bias"))?;
    if let Some((_, gguf)) = WHOLE.iter().find(|(hf, _)| *hf == module) {
        return Some(format!("{gguf}.{end}"));
    }
    let (layer, part) = module.strip_prefix("model.layers.")?.split_once('.')?;
    let (_, plain, with_post_norms) = PARTS.iter().find(|(hf, ..)| *hf == part)?;
    let gguf = if has_post_norms { with_post_norms } else { plain };
    (!gguf.is_empty()).then(|| format!("blk.{layer}.{gguf}.{end}"))
}
