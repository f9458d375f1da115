//! Keys of `config.json`: those that change what a model computes are read or refused by name, never ignored.

use serde_json::Value;

use crate::config::problem::Problem;

/// Keys that are read, with the model types that have them; all types have a key without a list.
const READ: &[(&str, &[&str])] = &[
    ("hidden_size", &[]),
    ("intermediate_size", &[]),
    ("num_hidden_layers", &[]),
    ("num_attention_heads", &[]),
    ("num_key_value_heads", &[]),
    ("head_dim", &[]),
    ("rms_norm_eps", &[]),
    ("rope_theta", &[]),
    ("rope_scaling", &[]),
    ("rope_parameters", &[]),
    ("tie_word_embeddings", &[]),
    ("max_position_embeddings", &[]),
    ("original_max_position_embeddings", &[]),
    ("qk_norm", &[]),
    ("hidden_act", &[]),
    ("attention_bias", &["llama", "qwen3", "smollm3", "gemma", "gemma2", "gemma3_text"]),
    ("mlp_bias", &["llama", "smollm3"]),
    ("use_sliding_window", WINDOWS),
    ("sliding_window", &["mistral", "qwen2", "qwen3", "smollm3", "gemma2", "gemma3_text"]),
    ("max_window_layers", WINDOWS),
    ("layer_types", &["mistral", "qwen2", "qwen3", "smollm3", "gemma2", "gemma3_text"]),
    ("sliding_window_pattern", &["gemma3_text"]),
    ("rope_local_base_freq", &["gemma3_text"]),
    ("hidden_activation", &["gemma", "gemma2", "gemma3_text"]),
    ("query_pre_attn_scalar", &["gemma2", "gemma3_text"]),
    ("attn_logit_softcapping", &["gemma2", "gemma3_text"]),
    ("final_logit_softcapping", &["gemma2", "gemma3_text"]),
    ("no_rope_layers", &["smollm3"]),
    ("no_rope_layer_interval", &["smollm3"]),
];

/// The types with a switch for windows.
const WINDOWS: &[&str] = &["qwen2", "qwen3", "smollm3"];

/// Keys that name a part of the model and change nothing that a trained model computes.
const HARMLESS: &[&str] = &[
    "attn_implementation",
    "chunk_size_feed_forward",
    "is_llama_config",
    "output_attentions",
    "output_hidden_states",
    "output_router_logits",
    "router_aux_loss_coef",
    "router_jitter_noise",
    "tie_encoder_decoder",
    "transformers.js_config",
    "unsloth_fixed",
];

/// Parts of the names of keys that speak of what a model computes.
const PARTS: &[&str] = &[
    "act",
    "alibi",
    "attention",
    "attn",
    "audio",
    "auto_map",
    "bias",
    "cap",
    "compress",
    "conv",
    "embed",
    "encoder",
    "expert",
    "ffn",
    "head",
    "hidden",
    "image",
    "interleave",
    "latent",
    "layer",
    "logit",
    "lora",
    "mamba",
    "mlp",
    "moe",
    "mtp",
    "multiplier",
    "norm",
    "parallel",
    "position",
    "qk",
    "quant",
    "query",
    "residual",
    "rope",
    "rotary",
    "router",
    "scal",
    "shared",
    "sink",
    "sliding",
    "softmax",
    "sparse",
    "ssm",
    "state",
    "vision",
    "window",
];

/// Refuses keys of a model of type `model_type` that change what it computes and are not read.
///
/// A key whose value means "without it" (null, false, 0, 1, empty) is accepted, and so is one that does not speak of a part
/// of the model.
///
/// # Errors
/// The first such key, with what can be done.
pub(super) fn check(config: &Value, model_type: &str) -> Result<(), Problem> {
    for (key, value) in config.as_object().into_iter().flatten() {
        let is_harmless = HARMLESS.contains(&key.as_str()) || key.contains("drop") || key.starts_with('_');
        if is_neutral(value) || is_harmless {
            continue;
        }
        match READ.iter().find(|(name, _)| name == key) {
            Some((_, types)) if types.is_empty() || types.contains(&model_type) => {}
            Some((_, types)) => {
                let problem = format!("`{key}` = {} is not a setting of `{model_type}` models", shown(value));
                let types: Vec<String> = types.iter().map(|name| format!("`{name}`")).collect();
                let remedy = format!(
                    "Set `model_type` to a type that has it ({}), or remove `{key}` if the model was trained without it.",
                    types.join(", ")
                );
                return Err(Problem::value(key, problem, remedy));
            }
            None if PARTS.iter().any(|part| key.contains(part)) => {
                return Err(not_built(key, &shown(value)));
            }
            None => {}
        }
    }
    Ok(())
}

/// The refusal of a setting that this program does not compute.
pub(super) fn not_built(key: &str, value: &str) -> Problem {
    let problem = format!("`{key}` = {value} is not supported");
    let remedy = format!(
        "This program would compute another model without it. If the model was trained without it, remove `{key}`."
    );
    Problem::value(key, problem, remedy)
}

/// Whether a value means that the model does without the key.
pub(super) fn is_neutral(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(n) => n.as_f64().is_some_and(|n| n == 0.0 || n == 1.0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

/// A value for a message, shortened.
pub(super) fn shown(value: &Value) -> String {
    const MOST: usize = 60;
    let text = value.to_string();
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
