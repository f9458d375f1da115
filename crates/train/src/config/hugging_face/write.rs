//! Writing Hugging Face's `config.json`.

use serde_json::{Map, Value, json};

use super::OURS;
use crate::config::{ModelConfig, RopeKind, Task};

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
        let (model_type, architecture) = self.variant.family.names(self.qk_norm);
        let bias = self.variant.bias;
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
            "attention_bias": bias.out,
            "torch_dtype": "float32",
            "backpropane": {
                "rope": self.rope.kind.to_string(),
                "seq": self.seq,
                "task": self.task.to_string(),
            },
        });
        let Value::Object(mut keys) = keys else { return Map::new() };
        if bias.mlp {
            keys.insert("mlp_bias".to_owned(), json!(true));
        }
        keys
    }
}
