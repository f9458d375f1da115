//! Reading and writing Hugging Face's `config.json`.
//!
//! Settings without a key there are in an object of our own, which other programs ignore:
//! `"backpropane": {"rope": "interleaved", "seq": 256, "task": "language", "qk_norm": true}`. A folder has "rope" only
//! if there is none, and then has a `model_type` that other programs refuse. Source of keys
//! and defaults: transformers 5.24, `models/*/configuration_*.py`.

mod gemma;
mod keys;
mod layers;
mod rope;
mod write;

pub(crate) use keys::unknown as unknown_keys;

use serde::Deserialize;
use serde_json::Value;

use layers::LayerKeys;

use super::problem::{Problem, Spelling};
use super::short::default_head_dim;
use super::variant::{Bias, Family, Variant};
use super::{ModelConfig, Rope, RopeKind, RopeScaling, Task, validate};

/// The longest default window where the file has only the model's maximum: attention takes S² memory, so a maximum of
/// 40960 would be too long for training.
const DEFAULT_MAX_SEQ: usize = 1024;

/// `sliding_window` of Gemma where the file has none.
const GEMMA_WINDOW: usize = 4096;

/// `model_type` of a model that other programs must not read as a llama.
const OURS: &str = "backpropane";

/// The keys that are read.
#[derive(Deserialize)]
struct ConfigJson {
    model_type: Option<String>,
    hidden_size: Option<usize>,
    intermediate_size: Option<usize>,
    num_hidden_layers: Option<usize>,
    num_attention_heads: Option<usize>,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    vocab_size: Option<usize>,
    rms_norm_eps: Option<f64>,
    rope_theta: Option<f64>,
    rope_scaling: Option<Value>,
    rope_parameters: Option<Value>,
    tie_word_embeddings: Option<bool>,
    max_position_embeddings: Option<usize>,
    original_max_position_embeddings: Option<usize>,
    seq_len: Option<usize>,
    qk_norm: Option<bool>,
    attention_bias: Option<bool>,
    mlp_bias: Option<bool>,
    use_sliding_window: Option<bool>,
    sliding_window: Option<usize>,
    max_window_layers: Option<usize>,
    sliding_window_pattern: Option<usize>,
    layer_types: Option<Vec<String>>,
    no_rope_layers: Option<Vec<usize>>,
    no_rope_layer_interval: Option<usize>,
    backpropane: Option<Ours>,
}

/// Keys of our own.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ours {
    rope: Option<RopeKind>,
    seq: Option<usize>,
    task: Option<Task>,
    qk_norm: Option<bool>,
}

/// The configuration in `text`, whose parsed form is `value`.
pub(super) fn from_json(text: &str, value: &Value) -> Result<ModelConfig, Problem> {
    let json: ConfigJson = serde_json::from_str(text).map_err(Problem::json)?;
    let model_type = json.model_type.as_deref().filter(|&name| name != OURS).unwrap_or("llama");
    let Some((family, has_qk_norm)) = Family::named(model_type) else {
        let problem = format!("`model_type` = {} is not supported", keys::shown(&model_type.into()));
        let remedy = format!("Use a model of one of the types {}.", Family::list());
        return Err(Problem::value("model_type", problem, remedy));
    };
    keys::check(value, model_type)?;
    let activation = gemma::activation(value, family)?;
    let [query_scalar, score_cap, logit_cap] = gemma::bounds(value, family)?;

    let spelling = Spelling::HuggingFace;
    let needed = |short, value: Option<usize>| value.ok_or_else(|| Problem::missing(spelling.of(short)));
    let dim = needed("dim", json.hidden_size)?;
    let heads = needed("heads", json.num_attention_heads)?;
    let bias = json.bias(family);
    let [(theta, scaling), local_rope] = json.ropes(value, family)?;
    let layers = needed("layers", json.num_hidden_layers)?;
    let kinds = json.layer_keys(value, family).kinds(model_type, layers)?;
    let ours = json.backpropane.unwrap_or_default();
    let config = ModelConfig {
        dim,
        hidden: needed("hidden", json.intermediate_size)?,
        layers,
        heads,
        kv_heads: json.num_key_value_heads.unwrap_or(heads),
        head_dim: match json.head_dim {
            Some(head_dim) => head_dim,
            None if family.is_gemma() => 256,
            None if has_qk_norm => 128,
            None => default_head_dim(dim, heads, spelling)?,
        },
        vocab: needed("vocab", json.vocab_size)?,
        seq: ours
            .seq
            .or(json.seq_len)
            .unwrap_or_else(|| json.max_position_embeddings.unwrap_or(DEFAULT_MAX_SEQ).min(DEFAULT_MAX_SEQ)),
        rms_eps: json.rms_norm_eps.unwrap_or(1e-6),
        rope: Rope { kind: ours.rope.unwrap_or(RopeKind::RotateHalf), theta },
        qk_norm: ours.qk_norm.or(json.qk_norm).unwrap_or(has_qk_norm),
        tied: json.tie_word_embeddings.unwrap_or(family.is_tied()),
        task: ours.task.unwrap_or(Task::Language),
        variant: Variant {
            family,
            bias,
            scaling,
            layers: kinds,
            local_rope: (family == Family::Gemma3).then_some(local_rope),
            activation,
            query_scalar,
            score_cap,
            logit_cap,
        },
    };
    validate::check(&config, spelling)?;
    Ok(config)
}

impl ConfigJson {
    /// The projections with a bias.
    fn bias(&self, family: Family) -> Bias {
        let attention = self.attention_bias.unwrap_or(false);
        Bias {
            qkv: attention || family == Family::Qwen2,
            out: attention,
            mlp: self.mlp_bias.unwrap_or(false),
        }
    }

    /// The keys about layers.
    fn layer_keys(&self, value: &Value, family: Family) -> LayerKeys<'_> {
        LayerKeys {
            use_sliding_window: self.use_sliding_window.unwrap_or(false),
            sliding_window: match family {
                Family::Gemma2 | Family::Gemma3 if value.get("sliding_window").is_none() => {
                    Some(GEMMA_WINDOW)
                }
                _ => self.sliding_window,
            },
            sliding_window_pattern: self.sliding_window_pattern,
            max_window_layers: self.max_window_layers,
            layer_types: self.layer_types.as_deref(),
            no_rope_layers: self.no_rope_layers.as_deref(),
            no_rope_layer_interval: self.no_rope_layer_interval,
        }
    }

    /// Base and scaling of RoPE, in global and in local layers.
    fn ropes(&self, value: &Value, family: Family) -> Result<[(f64, RopeScaling); 2], Problem> {
        let around = rope::Around {
            theta: self.rope_theta.unwrap_or(family.theta()),
            most: self.max_position_embeddings,
            original: self.original_max_position_embeddings,
        };
        if family == Family::Gemma3 {
            return gemma::two_ropes(value, around);
        }
        let (name, map) = rope::settings(self.rope_scaling.as_ref(), self.rope_parameters.as_ref())?;
        let same = rope::scaling(name, &map, around)?;
        Ok([same.clone(), same])
    }
}
