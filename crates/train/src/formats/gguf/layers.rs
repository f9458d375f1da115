//! Windows of attention: a GGUF file's keys as those of Hugging Face's `config.json`, and back.
//!
//! llama.cpp computes windows in `gemma2` and `gemma3`. For the others, the keys say what the model is, and llama.cpp ignores
//! them. Source: llama.cpp `src/llama-model.cpp` (`load_swa_pattern`), `src/models/gemma{2,3}.cpp`.

use super::header::{Header, MetadataValue};
use super::values::{KeyError, integer, wrong};
use super::write::Value;
use crate::config::ModelConfig;
use serde_json::{Map, Value as Json, json};

/// The positions that a position sees.
pub const WINDOW: &str = "attention.sliding_window";
/// Which layers have the window: a number n for all but every n-th layer, or a truth value for each.
pub const PATTERN: &str = "attention.sliding_window_pattern";

/// The architectures that may have windows.
pub const WINDOWED: &[&str] = &["llama", "qwen2", "qwen3", "smollm3", "gemma2", "gemma3"];

/// The most layers of a list: no model comes near.
const MOST: usize = 1 << 16;

/// Adds the keys about windows to the `keys` of a model, and says whether a `llama` has them, which makes it a Mistral.
///
/// # Errors
/// A key of another type, or one that means nothing without the other.
pub fn read(header: &Header, architecture: &str, keys: &mut Map<String, Json>) -> Result<bool, KeyError> {
    let own = |key: &str| format!("{architecture}.{key}");
    let window = integer(header, &own(WINDOW))?.filter(|&window| window > 0);
    let size = |key: &str| keys.get(key).and_then(Json::as_u64).unwrap_or(0);
    let (layers, context) = ((size("num_hidden_layers") as usize).min(MOST), size("max_position_embeddings"));
    let is_gemma = matches!(architecture, "gemma2" | "gemma3");
    let pattern = header.get(&own(PATTERN));
    let types: Option<Json> = match pattern {
        None => None,
        Some(MetadataValue::Ints(flags)) if flags.len() != layers => {
            let got = format!("a list of {} values for {layers} layers", flags.len());
            return Err(KeyError::Unsupported { key: own(PATTERN), got });
        }
        Some(MetadataValue::Ints(flags)) => {
            let (local, global) = ("sliding_attention", "full_attention");
            Some(flags.iter().map(|&flag| if flag == 0 { global } else { local }).collect())
        }
        Some(MetadataValue::Int(n @ 0..=0xFFFF_FFFF)) if is_gemma => {
            let period = *n as usize;
            let is_local = |layer: usize| period == 0 || !(layer + 1).is_multiple_of(period);
            let name = |layer| if is_local(layer) { "sliding_attention" } else { "full_attention" };
            Some((0..layers).map(name).collect())
        }
        Some(MetadataValue::Int(n)) if window.is_none() || *n == 0 => None,
        Some(MetadataValue::Int(n)) => {
            return Err(KeyError::Unsupported { key: own(PATTERN), got: n.to_string() });
        }
        Some(got) => return Err(wrong(&own(PATTERN), got, "a whole number or a list of truth values")),
    };
    match (architecture, window) {
        ("gemma2", _) | ("gemma3", Some(_)) => {
            keys.extend(window.map(|window| ("sliding_window".to_owned(), json!(window))));
            keys.extend(types.map(|types| ("layer_types".to_owned(), types)));
        }
        ("gemma3", None) => _ = keys.insert("sliding_window".to_owned(), Json::Null),
        (_, None) => return Ok(false),
        ("llama", Some(window)) => {
            keys.insert("sliding_window".to_owned(), json!(window));
            keys.extend(types.map(|types| ("layer_types".to_owned(), types)));
            return Ok(true);
        }
        (_, Some(window)) => match types {
            Some(types) => {
                keys.insert("use_sliding_window".to_owned(), json!(true));
                keys.insert("sliding_window".to_owned(), json!(window));
                keys.insert("layer_types".to_owned(), types);
            }
            None if window >= context => {}
            // It does not say which layers have it.
            None => return Err(KeyError::Unsupported { key: own(WINDOW), got: window.to_string() }),
        },
    }
    Ok(false)
}

/// The window of a model's local layers, if there are such.
pub fn window(config: &ModelConfig) -> Option<usize> {
    config.variant.layers.iter().find_map(|kind| kind.window)
}

/// The value of [`PATTERN`], unless it is what readers assume.
pub fn pattern(config: &ModelConfig, architecture: &str) -> Option<Value> {
    let has_window = window(config).is_some();
    let local: Vec<bool> = (0..config.layers)
        .map(|layer| config.variant.layers.get(layer).is_some_and(|kind| kind.window.is_some()))
        .collect();
    let every = |n: usize| local.iter().enumerate().all(|(at, &local)| local != (at + 1).is_multiple_of(n));
    let is_usual = match architecture {
        "gemma2" => every(2),
        "gemma3" => !has_window || every(6),
        "llama" => !has_window || local.iter().all(|&local| local),
        _ => !has_window,
    };
    if is_usual {
        return None;
    }
    let period = (1..=local.len() + 1).find(|&n| every(n)).filter(|_| architecture == "gemma3");
    Some(period.map_or(Value::Bools(local), |n| Value::U32(n as u32)))
}
