//! What a GGUF file cannot say of a model, and what llama.cpp does not read of what it says.
//!
//! A file is what llama.cpp computes from it. What llama.cpp has by other rules than the model is refused. Keys that llama.cpp's
//! own converter writes, or that GGUF has for the purpose, are written where llama.cpp ignores them, with a note.
//! Source: llama.cpp `src/models`; `tests/export/llama_cpp.py` compares.

use super::config::query_scalar;
use super::layers;
use super::rope;
use super::table::architecture;
use crate::config::{Activation, Family, LayerRope, ModelConfig, RopeKind, RopeScaling, Task};

/// SmolLM3 has no RoPE in every layer of this number; llama.cpp has no key for it.
const WITHOUT_ROPE: usize = 4;

/// Refuses what llama.cpp would compute otherwise.
///
/// # Errors
/// The key of `config.json`, its value, and what llama.cpp computes.
pub fn check(config: &ModelConfig) -> Result<(), String> {
    if config.task == Task::Regression {
        return Err("it is a layer for regression, not a language model".to_owned());
    }
    if config.rope.kind == RopeKind::None {
        return Err("it has no RoPE, and llama.cpp computes RoPE in every model".to_owned());
    }
    let family = config.variant.family;
    let usual = if family.is_gemma() { Activation::GeluTanh } else { Activation::Silu };
    if config.variant.activation != usual {
        return refuse(config, "hidden_act", config.variant.activation.name(), usual.name());
    }
    if family == Family::Qwen2 && config.q_dim() != config.dim {
        let instead = format!("{} channels of all heads", config.dim);
        return refuse(config, "head_dim", &config.head_dim.to_string(), &instead);
    }
    let bias = config.variant.bias;
    if (bias.out || bias.mlp) && architecture(config) != "llama" {
        let key = if bias.mlp { "mlp_bias" } else { "attention_bias" };
        return refuse(config, key, "true", "without all of these biases");
    }
    check_gemma(config)?;
    check_without_rope(config)?;
    check_scaling(config)
}

/// The refusal of a key.
fn refuse(config: &ModelConfig, key: &str, value: &str, instead: &str) -> Result<(), String> {
    let own = architecture(config);
    Err(format!("`{key}` = {value}, and llama.cpp computes {instead} in `{own}`"))
}

/// Refuses settings of Gemma that llama.cpp has no keys for.
fn check_gemma(config: &ModelConfig) -> Result<(), String> {
    let (variant, family) = (&config.variant, config.variant.family);
    if matches!(family, Family::Gemma | Family::Gemma2) && !config.tied {
        return refuse(config, "tie_word_embeddings", "false", "with the embedding as classifier");
    }
    if family.has_post_norms() {
        let sizes = [config.layers, config.dim, config.heads];
        let want = query_scalar(architecture(config), sizes, config.head_dim);
        if let Some(scalar) = variant.query_scalar.filter(|&scalar| scalar != want as f64) {
            return refuse(config, "query_pre_attn_scalar", &scalar.to_string(), &want.to_string());
        }
    }
    let caps =
        [("attn_logit_softcapping", variant.score_cap), ("final_logit_softcapping", variant.logit_cap)];
    match caps.into_iter().find(|(_, cap)| cap.is_none()) {
        Some((key, _)) if family == Family::Gemma2 => refuse(config, key, "null", "a bound"),
        _ => Ok(()),
    }
}

/// Refuses layers of SmolLM3 with RoPE where llama.cpp has none, and without it where it has.
fn check_without_rope(config: &ModelConfig) -> Result<(), String> {
    let has_rope =
        |layer: usize| config.variant.layers.get(layer).is_none_or(|kind| kind.rope != LayerRope::None);
    let is_usual = |layer: usize| has_rope(layer) != (layer + 1).is_multiple_of(WITHOUT_ROPE);
    if config.variant.family != Family::SmolLm3 || (0..config.layers).all(is_usual) {
        return Ok(());
    }
    const SHOWN: usize = 8;
    let list: Vec<String> =
        (0..config.layers.min(SHOWN)).map(|layer| u8::from(has_rope(layer)).to_string()).collect();
    let more = if config.layers > SHOWN { ", …" } else { "" };
    let instead = format!("no RoPE in every {WITHOUT_ROPE}th layer");
    refuse(config, "no_rope_layers", &format!("[{}{more}]", list.join(", ")), &instead)
}

/// Refuses scaled RoPE that llama.cpp does not compute in the model's architecture.
fn check_scaling(config: &ModelConfig) -> Result<(), String> {
    let (scaling, own) = (&config.variant.scaling, architecture(config));
    let refuse = |key: &str, value: &str| {
        Err(format!("`{key}` = {value}, which llama.cpp does not compute in `{own}`"))
    };
    const KEY: &str = "rope_scaling.rope_type";
    match scaling {
        RopeScaling::Dynamic { .. } => return refuse(KEY, "\"dynamic\""),
        RopeScaling::Llama3 { .. } if own != "llama" => return refuse(KEY, "\"llama3\""),
        RopeScaling::LongRope { .. } if own != "llama" => return refuse(KEY, "\"longrope\""),
        RopeScaling::Yarn { .. } if config.variant.family.is_gemma() => return refuse(KEY, "\"yarn\""),
        RopeScaling::Yarn { truncate: false, .. } => return refuse("rope_scaling.truncate", "false"),
        _ => {}
    }
    match &config.variant.local_rope {
        Some((_, local)) if *local != RopeScaling::Default => {
            refuse("rope_parameters.sliding_attention.rope_type", &format!("\"{}\"", local.name()))
        }
        _ => Ok(()),
    }
}

/// What llama.cpp does otherwise with the file of a model whose longest text has `context` tokens.
pub fn notes(config: &ModelConfig, context: usize) -> Vec<String> {
    let own = architecture(config);
    let mut notes = Vec::new();
    if let Some(window) =
        layers::window(config).filter(|&window| window < context && !config.variant.family.is_gemma())
    {
        notes.push(format!(
            "llama.cpp ignores `{own}.{}`: there, texts of more than {window} tokens give other results",
            layers::WINDOW
        ));
    }
    for (key, beta) in [rope::BETA_FAST, rope::BETA_SLOW].into_iter().zip(rope::betas(config)) {
        if let Some(beta) = beta {
            notes.push(format!("llama.cpp ignores `{own}.{key}` = {beta} and gives other results"));
        }
    }
    notes
}
