//! Conversion of a GGUF file's keys to those of Hugging Face's `config.json`, which define their meaning.
//!
//! Source: ggml `docs/gguf.md`, llama.cpp `src/llama-arch.cpp`.

use super::header::{Header, MetadataValue, printable};
use crate::config::{Family, ModelConfig};
use serde_json::{Map, Value as Json, json};

/// A missing or invalid key of the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    #[error("key `{key}` is missing")]
    Missing { key: String },
    #[error("key `{key}` is {got}, not {want}")]
    Type { key: String, got: String, want: &'static str },
    #[error(
        "its architecture is `{got}`; `llama` (with Mistral and SmolLM2), `qwen2`, `qwen3`, `smollm3`, `gemma`, \
             `gemma2` and `gemma3` can be read"
    )]
    Architecture { got: String },
    #[error("`{key}` = {got} is not supported")]
    Unsupported { key: String, got: String },
}

impl KeyError {
    /// Whether the file may be whole, and this program cannot read its kind.
    pub fn is_unsupported(&self) -> bool {
        matches!(self, Self::Architecture { .. } | Self::Unsupported { .. } | Self::Type { .. })
    }
}

/// Keys with one value each: GGUF's name after the architecture's prefix, Hugging Face's name, and whether it is required.
const SIZES: [(&str, &str, bool); 8] = [
    ("embedding_length", "hidden_size", true),
    ("feed_forward_length", "intermediate_size", true),
    ("block_count", "num_hidden_layers", true),
    ("attention.head_count", "num_attention_heads", true),
    ("attention.head_count_kv", "num_key_value_heads", false),
    ("attention.key_length", "head_dim", false),
    ("context_length", "max_position_embeddings", true),
    ("attention.sliding_window", "sliding_window", false),
];

/// The equivalent keys of `config.json`.
///
/// # Errors
/// The first key that is missing, of another type, or of an architecture that is not read.
pub fn config_keys(header: &Header) -> Result<Map<String, Json>, KeyError> {
    let architecture =
        text(header, "general.architecture")?.ok_or_else(|| missing("general.architecture"))?;
    let own = |key: &str| format!("{architecture}.{key}");
    let has_window = integer(header, &own("attention.sliding_window"))?.is_some_and(|window| window > 0);
    let (model_type, class) = match architecture {
        "llama" if has_window => ("mistral", "MistralForCausalLM"),
        "llama" => ("llama", "LlamaForCausalLM"),
        "qwen2" => ("qwen2", "Qwen2ForCausalLM"),
        "qwen3" => ("qwen3", "Qwen3ForCausalLM"),
        "smollm3" => ("smollm3", "SmolLM3ForCausalLM"),
        "gemma" => ("gemma", "GemmaForCausalLM"),
        "gemma2" => ("gemma2", "Gemma2ForCausalLM"),
        "gemma3" => ("gemma3_text", "Gemma3ForCausalLM"),
        got => return Err(KeyError::Architecture { got: printable(got) }),
    };
    let mut keys = Map::new();
    keys.insert("architectures".to_owned(), json!([class]));
    keys.insert("model_type".to_owned(), json!(model_type));
    for (from, to, needed) in SIZES {
        match integer(header, &own(from))? {
            Some(size) => _ = keys.insert(to.to_owned(), json!(size)),
            None if needed => return Err(missing(&own(from))),
            None => {}
        }
    }
    for (from, to) in [("attention.layer_norm_rms_epsilon", "rms_norm_eps"), ("rope.freq_base", "rope_theta")]
    {
        if let Some(value) = float(header, &own(from))? {
            keys.insert(to.to_owned(), json!(value));
        }
    }
    // Only Qwen 2 always has biases of queries, keys and values; the others' key stands for those of the output, too.
    if architecture != "qwen2" && header.tensor("blk.0.attn_output.bias").is_some() {
        keys.insert("attention_bias".to_owned(), json!(true));
    }
    if header.tensor("blk.0.ffn_down.bias").is_some() {
        keys.insert("mlp_bias".to_owned(), json!(true));
    }
    if matches!(architecture, "gemma2" | "gemma3") {
        add_gemma(header, architecture, &mut keys)?;
    }
    check_rope(header, architecture, &keys)?;
    check_absent(header, architecture)?;
    let vocab = header.tensor("token_embd.weight").and_then(|t| t.shape.first().copied());
    keys.insert("vocab_size".to_owned(), json!(vocab.ok_or_else(|| missing("token_embd.weight"))?));
    keys.insert("tie_word_embeddings".to_owned(), json!(header.tensor("output.weight").is_none()));
    for (from, to) in [("bos", "bos_token_id"), ("eos", "eos_token_id"), ("padding", "pad_token_id")] {
        if let Some(id) = integer(header, &format!("tokenizer.ggml.{from}_token_id"))? {
            keys.insert(to.to_owned(), json!(id));
        }
    }
    Ok(keys)
}

/// Adds the keys of Gemma 2 or 3: bounds, and the divisor of scores, which llama.cpp has by the number of layers.
fn add_gemma(header: &Header, architecture: &str, keys: &mut Map<String, Json>) -> Result<(), KeyError> {
    for key in ["attn_logit_softcapping", "final_logit_softcapping"] {
        let value = float(header, &format!("{architecture}.{key}"))?.filter(|&cap| cap != 0.0);
        if value.is_some() || architecture == "gemma3" {
            keys.insert(key.to_owned(), json!(value));
        }
    }
    if architecture == "gemma3" && !keys.contains_key("sliding_window") {
        keys.insert("sliding_window".to_owned(), Json::Null);
    }
    if let Some(pattern) = integer(header, &format!("{architecture}.attention.sliding_window_pattern"))?
        && architecture == "gemma3"
    {
        keys.insert("sliding_window_pattern".to_owned(), json!(pattern));
    }
    if let Some(base) = float(header, &format!("{architecture}.rope.freq_base_swa"))? {
        keys.insert("rope_local_base_freq".to_owned(), json!(base));
    }
    let size = |key: &str| keys.get(key).and_then(Json::as_u64);
    let largest = if architecture == "gemma2" { 46 } else { 62 };
    let width = match (size("num_hidden_layers"), size("hidden_size"), size("num_attention_heads")) {
        (Some(layers), Some(dim), Some(heads)) if layers == largest => dim.checked_div(heads),
        _ => size("head_dim").or(Some(256)),
    };
    keys.insert("query_pre_attn_scalar".to_owned(), json!(width));
    Ok(())
}

/// Refuses what changes the results and is not built: keys, and the values that change nothing.
fn check_absent(header: &Header, architecture: &str) -> Result<(), KeyError> {
    let neutral: [(&str, &[f64]); 6] = [
        ("attention.causal", &[1.0]),
        ("expert_count", &[0.0]),
        ("attention.scale", &[0.0]),
        ("logit_scale", &[0.0, 1.0]),
        ("embedding_scale", &[0.0, 1.0]),
        ("residual_scale", &[0.0, 1.0]),
    ];
    for (key, values) in neutral {
        let key = format!("{architecture}.{key}");
        let number = match header.get(&key) {
            None => continue,
            Some(MetadataValue::Int(n)) => *n as f64,
            Some(MetadataValue::Float(x)) => *x,
            Some(MetadataValue::Bool(b)) => f64::from(u8::from(*b)),
            Some(got) => return Err(wrong(&key, got, "a number")),
        };
        if !values.contains(&number) {
            return Err(KeyError::Unsupported { key, got: number.to_string() });
        }
    }
    check_unknown(header, architecture)
}

/// The keys after the architecture's prefix that are read, or say nothing that changes results.
const KNOWN: [&str; 14] = [
    "attention.causal",
    "attention.layer_norm_epsilon",
    "attention.layer_norm_rms_epsilon",
    "attention.sliding_window_pattern",
    "attention.value_length",
    "attn_logit_softcapping",
    "embedding_scale",
    "final_logit_softcapping",
    "residual_scale",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.freq_base_swa",
    "rope.scale_linear",
    "vocab_size",
];

/// The keys after `rope.scaling.` that are read, or say nothing that changes results.
const KNOWN_SCALING: [&str; 7] = [
    "attn_factor",
    "factor",
    "finetuned",
    "original_context_length",
    "type",
    "yarn_beta_fast",
    "yarn_beta_slow",
];

/// Refuses numbers under keys of the architecture that are not known.
fn check_unknown(header: &Header, architecture: &str) -> Result<(), KeyError> {
    for (key, value) in &header.keys {
        let Some(own) = key.strip_prefix(architecture).and_then(|key| key.strip_prefix('.')) else {
            continue;
        };
        let is_known = match own.strip_prefix("rope.scaling.") {
            Some(own) => KNOWN_SCALING.contains(&own),
            None => KNOWN.contains(&own) || SIZES.iter().any(|(size, ..)| *size == own),
        };
        let is_neutral = match value {
            MetadataValue::Int(n) => matches!(n, 0 | 1),
            MetadataValue::Float(x) => *x == 0.0 || *x == 1.0,
            MetadataValue::Bool(b) => !b,
            MetadataValue::Str(_) => true,
            MetadataValue::Ints(_) | MetadataValue::Floats(_) | MetadataValue::Strs(_) => false,
        };
        if !is_known && !is_neutral {
            return Err(KeyError::Unsupported { key: key.clone(), got: value.to_string() });
        }
    }
    Ok(())
}

/// Refuses RoPE of a part of a head.
fn check_rope(header: &Header, architecture: &str, keys: &Map<String, Json>) -> Result<(), KeyError> {
    let own = |key: &str| format!("{architecture}.{key}");
    let unsupported = |key: String, got: String| Err(KeyError::Unsupported { key, got });
    let number = |key: &str| keys.get(key).and_then(Json::as_u64);
    let width =
        number("head_dim").or_else(|| number("hidden_size")?.checked_div(number("num_attention_heads")?));
    match (integer(header, &own("rope.dimension_count"))?, width) {
        (Some(rotated), Some(width)) if rotated != width => {
            unsupported(own("rope.dimension_count"), format!("{rotated}, of {width} channels of a head,"))
        }
        _ => Ok(()),
    }
}

/// Whether rows of queries and keys are stored in the order of rotated pairs: for these architectures alone.
pub(super) fn stores_pairs(config: &ModelConfig) -> bool {
    matches!(config.variant.family, Family::Llama | Family::Mistral | Family::SmolLm3) && !config.qk_norm
}

/// GGUF's name of the tensor that Hugging Face calls `name`.
pub fn tensor_name(name: &str, has_post_norms: bool) -> Option<String> {
    let whole = [
        ("model.embed_tokens.weight", "token_embd.weight"),
        ("model.norm.weight", "output_norm.weight"),
        ("lm_head.weight", "output.weight"),
    ];
    if let Some((_, gguf)) = whole.into_iter().find(|(hf, _)| *hf == name) {
        return Some(gguf.to_owned());
    }
    let (layer, part) = name.strip_prefix("model.layers.")?.split_once('.')?;
    let parts = [
        ("input_layernorm", "attn_norm"),
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"),
        ("self_attn.q_norm", "attn_q_norm"),
        ("self_attn.k_norm", "attn_k_norm"),
        ("post_attention_layernorm", "ffn_norm"),
        ("after_attention", "post_attention_norm"),
        ("post_feedforward_layernorm", "post_ffw_norm"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
    ];
    let (module, end) = part.rsplit_once('.')?;
    // In a model with norms after attention and feed-forward part, `post_attention_layernorm` is the former.
    let module = match module {
        "post_attention_layernorm" if has_post_norms => "after_attention",
        "pre_feedforward_layernorm" => "post_attention_layernorm",
        same => same,
    };
    let (_, gguf) = parts.into_iter().find(|(hf, _)| module == *hf)?;
    matches!(end, "weight" | "bias").then(|| format!("blk.{layer}.{gguf}.{end}"))
}

pub(super) fn missing(key: &str) -> KeyError {
    KeyError::Missing { key: key.to_owned() }
}

fn wrong(key: &str, got: &MetadataValue, want: &'static str) -> KeyError {
    KeyError::Type { key: key.to_owned(), got: got.to_string(), want }
}

pub(super) fn integer(header: &Header, key: &str) -> Result<Option<u64>, KeyError> {
    match header.get(key) {
        None => Ok(None),
        Some(MetadataValue::Int(n)) if u64::try_from(*n).is_ok() => Ok(Some(*n as u64)),
        Some(got) => Err(wrong(key, got, "a whole number")),
    }
}

pub(super) fn float(header: &Header, key: &str) -> Result<Option<f64>, KeyError> {
    match header.get(key) {
        None => Ok(None),
        Some(MetadataValue::Float(x)) if x.is_finite() => Ok(Some(*x)),
        Some(got) => Err(wrong(key, got, "a finite number")),
    }
}

pub(super) fn text<'h>(header: &'h Header, key: &str) -> Result<Option<&'h str>, KeyError> {
    match header.get(key) {
        None => Ok(None),
        Some(MetadataValue::Str(text)) => Ok(Some(text)),
        Some(got) => Err(wrong(key, got, "a text")),
    }
}

pub(super) fn flag(header: &Header, key: &str) -> Result<Option<bool>, KeyError> {
    match header.get(key) {
        None => Ok(None),
        Some(MetadataValue::Bool(flag)) => Ok(Some(*flag)),
        Some(got) => Err(wrong(key, got, "true or false")),
    }
}

pub(super) fn texts<'h>(header: &'h Header, key: &str) -> Result<Option<&'h [String]>, KeyError> {
    match header.get(key) {
        None => Ok(None),
        Some(MetadataValue::Strs(texts)) => Ok(Some(texts)),
        Some(got) => Err(wrong(key, got, "a list of texts")),
    }
}

pub(super) fn numbers(header: &Header, key: &str) -> Result<Option<Vec<f64>>, KeyError> {
    match header.get(key) {
        None => Ok(None),
        Some(MetadataValue::Floats(numbers)) => Ok(Some(numbers.clone())),
        Some(MetadataValue::Ints(numbers)) => Ok(Some(numbers.iter().map(|&n| n as f64).collect())),
        Some(got) => Err(wrong(key, got, "a list of numbers")),
    }
}
