//! Keys of `config.json`: those that change what a model computes are read or refused by name, never ignored.

use std::collections::HashSet;
use std::sync::LazyLock;

use serde_json::{Map, Value};

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

/// Keys that are read elsewhere or say nothing of what a trained model computes: bookkeeping of transformers 5.24 and 4
/// (`configuration_utils.py`), settings of generation, of initialisation and of training.
const HARMLESS: &[&str] = &[
    "architectures",
    "attention_dropout",
    "attention_probs_dropout_prob",
    "attn_implementation",
    "attn_pdrop",
    "backpropane",
    "bad_words_ids",
    "begin_suppress_tokens",
    "bos_token_id",
    "cache_implementation",
    "chunk_size_feed_forward",
    "classifier_dropout",
    "cls_token_id",
    "decoder_start_token_id",
    "diversity_penalty",
    "do_sample",
    "dropout",
    "dtype",
    "early_stopping",
    "embd_pdrop",
    "embedding_dropout",
    "encoder_no_repeat_ngram_size",
    "eos_token_id",
    "exponential_decay_length_penalty",
    "finetuning_task",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "hidden_dropout",
    "hidden_dropout_prob",
    "id2label",
    "initializer_factor",
    "initializer_range",
    "is_decoder",
    "is_llama_config",
    "keys_to_ignore_at_inference",
    "label2id",
    "layerdrop",
    "length_penalty",
    "mask_token_id",
    "max_length",
    "max_new_tokens",
    "max_seq_len",
    "max_sequence_length",
    "min_length",
    "mlp_dropout",
    "model_max_length",
    "model_type",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_labels",
    "num_logits_to_keep",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_router_logits",
    "output_scores",
    "pad_token_id",
    "padding_side",
    "pretraining_tp",
    "problem_type",
    "remove_invalid_values",
    "repetition_penalty",
    "resid_pdrop",
    "residual_dropout",
    "return_dict",
    "return_dict_in_generate",
    "router_aux_loss_coef",
    "router_jitter_noise",
    "sep_token_id",
    "seq_len",
    "suppress_tokens",
    "task_specific_params",
    "temperature",
    "tf_legacy_loss",
    "tie_encoder_decoder",
    "tokenizer_class",
    "top_k",
    "top_p",
    "torch_dtype",
    "torchscript",
    "transformers.js_config",
    "transformers_version",
    "typical_p",
    "unk_token_id",
    "unsloth_fixed",
    "unsloth_version",
    "use_bfloat16",
    "use_cache",
    "vocab_size",
];

/// The names of all keys of models of text in transformers 5.24: `tests/architectures/record_keys.py`.
static TRANSFORMERS: LazyLock<HashSet<&str>> =
    LazyLock::new(|| include_str!("transformers_keys.txt").lines().collect());

/// Keys that transformers does not list and that speak of what a model computes, in files of other programs.
const ELSEWHERE: &[&str] = &[
    "activation_type",
    "alibi",
    "attn_config",
    "audio_config",
    "auto_map",
    "compression_config",
    "ffn_config",
    "ffn_hidden_size",
    "layernorm_epsilon",
    "mlp_type",
    "moe_config",
    "multi_query",
    "no_bias",
    "norm_type",
    "quant_method",
    "quantization",
    "quantization_config",
    "rope_interleaved",
    "rope_ratio",
    "rope_traditional",
    "rotary_emb_base",
    "rotary_pct",
    "text_config",
    "vision_config",
];

/// What is known of a key.
enum Known {
    /// It is read, in models of these types; of all if there are none.
    Read(&'static [&'static str]),
    /// It changes nothing.
    Harmless,
    /// It changes what is computed.
    Arithmetic,
    /// Nothing.
    No,
}

fn known(key: &str) -> Known {
    match READ.iter().find(|(name, _)| *name == key) {
        Some((_, types)) => Known::Read(types),
        // transformers' own, of which it makes nothing when it reads a file.
        None if HARMLESS.contains(&key) || key.starts_with('_') => Known::Harmless,
        None if ELSEWHERE.contains(&key) || TRANSFORMERS.contains(key) => Known::Arithmetic,
        None => Known::No,
    }
}

/// Refuses keys of a model of type `model_type` that change what it computes and are not read.
///
/// A key whose value means "without it" (null, false, 0, 1, empty) is accepted. All others are known by their whole names. One
/// that no model of transformers has is accepted, and [`unknown`] names it: transformers, by which these types of models are
/// defined, computes the same with and without it, and people note down what they like (a loss, a date) beside the settings.
/// A key of another type's models is refused, though transformers would ignore it: the type may be wrong.
///
/// # Errors
/// The first such key, with what can be done.
pub(super) fn check(config: &Value, model_type: &str) -> Result<(), Problem> {
    for (key, value) in config.as_object().into_iter().flatten().filter(|(_, value)| !is_neutral(value)) {
        match known(key) {
            Known::Read(types) if types.is_empty() || types.contains(&model_type) => {}
            Known::Read(types) => {
                let problem = format!("`{key}` = {} is not a setting of `{model_type}` models", shown(value));
                let types: Vec<String> = types.iter().map(|name| format!("`{name}`")).collect();
                let remedy = format!(
                    "Set `model_type` to a type that has it ({}), or remove `{key}` if the model was trained without it.",
                    types.join(", ")
                );
                return Err(Problem::value(key, problem, remedy));
            }
            Known::Harmless | Known::No => {}
            Known::Arithmetic => return Err(not_built(key, &shown(value))),
        }
    }
    Ok(())
}

/// The keys that nothing is known of, with values that mean something.
pub(crate) fn unknown(config: &Map<String, Value>) -> Vec<&str> {
    let is_unknown = |(key, value): &(&String, &Value)| matches!(known(key), Known::No) && !is_neutral(value);
    config.iter().filter(is_unknown).map(|(key, _)| key.as_str()).collect()
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
