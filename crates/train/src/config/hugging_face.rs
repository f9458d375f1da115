//! Reading and writing Hugging Face's `config.json`.
//!
//! Settings without a key there are in an object of our own, which other programs ignore:
//! `"backpropane": {"rope": "interleaved", "seq": 256, "task": "language", "qk_norm": true}`. A folder has "rope" only
//! if there is none, and then has a `model_type` that other programs refuse. Source of keys
//! and defaults: transformers, `models/llama/configuration_llama.py`, `models/qwen3/configuration_qwen3.py`.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::problem::{Problem, Spelling};
use super::short::default_head_dim;
use super::{ModelConfig, Rope, RopeKind, Task, validate};

/// The longest default window where the file has only the model's maximum: attention takes S² memory, so a maximum of
/// 40960 would be too long for training.
const DEFAULT_MAX_SEQ: usize = 1024;

/// `model_type` of a model that other programs must not read as a llama.
const OURS: &str = "backpropane";

/// The keys that are read; others are ignored.
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
    rope_parameters: Option<RopeParameters>,
    tie_word_embeddings: Option<bool>,
    max_position_embeddings: Option<usize>,
    seq_len: Option<usize>,
    qk_norm: Option<bool>,
    hidden_act: Option<String>,
    attention_bias: Option<bool>,
    mlp_bias: Option<bool>,
    use_sliding_window: Option<bool>,
    backpropane: Option<Ours>,
}

/// Settings of RoPE in newer files.
#[derive(Deserialize)]
struct RopeParameters {
    rope_theta: Option<f64>,
    rope_type: Option<String>,
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

pub(super) fn from_json(text: &str) -> Result<ModelConfig, Problem> {
    let json: ConfigJson = serde_json::from_str(text).map_err(Problem::json)?;
    let qwen3 = match json.model_type.as_deref() {
        None | Some("llama" | OURS) => false,
        Some("qwen3") => true,
        Some(other) => {
            let problem = format!("`model_type` = \"{other}\" is not supported");
            return Err(Problem::value("model_type", problem, "Use a model of type `llama` or `qwen3`."));
        }
    };
    json.refuse_unsupported()?;

    let spelling = Spelling::HuggingFace;
    let needed = |short, value: Option<usize>| value.ok_or_else(|| Problem::missing(spelling.of(short)));
    let dim = needed("dim", json.hidden_size)?;
    let heads = needed("heads", json.num_attention_heads)?;
    let ours = json.backpropane.unwrap_or_default();
    let rope_theta = json.rope_parameters.and_then(|p| p.rope_theta).or(json.rope_theta);
    let config = ModelConfig {
        dim,
        hidden: needed("hidden", json.intermediate_size)?,
        layers: needed("layers", json.num_hidden_layers)?,
        heads,
        kv_heads: json.num_key_value_heads.unwrap_or(heads),
        head_dim: match json.head_dim {
            Some(head_dim) => head_dim,
            None if qwen3 => 128,
            None => default_head_dim(dim, heads, spelling)?,
        },
        vocab: needed("vocab", json.vocab_size)?,
        seq: ours
            .seq
            .or(json.seq_len)
            .unwrap_or_else(|| json.max_position_embeddings.unwrap_or(DEFAULT_MAX_SEQ).min(DEFAULT_MAX_SEQ)),
        rms_eps: json.rms_norm_eps.unwrap_or(1e-6),
        rope: Rope { kind: ours.rope.unwrap_or(RopeKind::RotateHalf), theta: rope_theta.unwrap_or(10_000.0) },
        qk_norm: ours.qk_norm.or(json.qk_norm).unwrap_or(qwen3),
        tied: json.tie_word_embeddings.unwrap_or(false),
        task: ours.task.unwrap_or(Task::Language),
    };
    validate::check(&config, spelling)?;
    Ok(config)
}

impl ConfigJson {
    /// Refuses settings that change what the model computes and that this program does not implement.
    fn refuse_unsupported(&self) -> Result<(), Problem> {
        let rope_type = self.rope_parameters.as_ref().and_then(|p| p.rope_type.as_deref());
        let foreign_rope = rope_type.filter(|&t| t != "default").map(str::to_owned);
        // `rope_type` was called `type`; `default` is plain RoPE.
        let is_plain =
            |v: &Value| v.is_null() || v.get("rope_type").or(v.get("type")).is_some_and(|t| t == "default");
        let scaling = self.rope_scaling.as_ref().filter(|v| !is_plain(v)).map(Value::to_string);
        let act = self.hidden_act.clone().filter(|act| act != "silu");
        let on = |flag: Option<bool>| flag.filter(|&on| on).map(|_| "true".to_owned());
        let unsupported = [
            ("rope_scaling", scaling),
            ("rope_parameters.rope_type", foreign_rope),
            ("hidden_act", act),
            ("attention_bias", on(self.attention_bias)),
            ("mlp_bias", on(self.mlp_bias)),
            ("use_sliding_window", on(self.use_sliding_window)),
        ];
        for (key, value) in unsupported {
            if let Some(value) = value {
                let problem = format!("`{key}` = {value} is not supported");
                return Err(Problem::value(key, problem, "Use a model without it."));
            }
        }
        Ok(())
    }
}

impl ModelConfig {
    /// The configuration as the text of a Hugging Face `config.json`; [`ModelConfig::read`] reads it back
    /// to an equal value.
    pub fn to_hugging_face(&self) -> String {
        format!("{:#}\n", Value::from(self.keys()))
    }

    /// The keys of `config.json` in a folder whose weights [`crate::formats::save_model`] writes: all readers see the
    /// same model in it.
    pub(crate) fn folder_keys(&self) -> Map<String, Value> {
        let mut keys = self.keys();
        let mut ours = Map::from_iter([
            ("seq".to_owned(), json!(self.seq)),
            ("task".to_owned(), json!(self.task.to_string())),
        ]);
        if self.rope.kind == RopeKind::None || self.task == Task::Regression {
            keys.insert("architectures".to_owned(), json!(["BackpropaneForCausalLM"]));
            keys.insert("model_type".to_owned(), json!(OURS));
            let kind = if self.rope.kind == RopeKind::None { RopeKind::None } else { RopeKind::RotateHalf };
            ours.insert("rope".to_owned(), json!(kind.to_string()));
            ours.insert("qk_norm".to_owned(), json!(self.qk_norm));
        }
        keys.insert("backpropane".to_owned(), ours.into());
        keys
    }

    fn keys(&self) -> Map<String, Value> {
        let (architecture, model_type) =
            if self.qk_norm { ("Qwen3ForCausalLM", "qwen3") } else { ("LlamaForCausalLM", "llama") };
        let keys = json!({
            "architectures": [architecture],
            "model_type": model_type,
            "hidden_size": self.dim,
            "intermediate_size": self.hidden,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_dim,
            "vocab_size": self.vocab,
            "max_position_embeddings": self.seq,
            "rms_norm_eps": self.rms_eps,
            "rope_theta": self.rope.theta,
            "tie_word_embeddings": self.tied,
            "hidden_act": "silu",
            "attention_bias": false,
            "torch_dtype": "float32",
            "backpropane": {
                "rope": self.rope.kind.to_string(),
                "seq": self.seq,
                "task": self.task.to_string(),
            },
        });
        match keys {
            Value::Object(keys) => keys,
            _ => Map::new(),
        }
    }
}
