//! Writing Hugging Face's `config.json`.

use serde_json::{Map, Value, json};

use super::OURS;
use crate::config::{Family, LayerRope, ModelConfig, RopeKind, RopeScaling, Task};

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
            "hidden_act": self.variant.activation.name(),
            "attention_bias": bias.out,
            "torch_dtype": "float32",
            "backpropane": {
                "rope": self.rope.kind.to_string(),
                "seq": self.seq,
                "task": self.task.to_string(),
            },
        });
        let Value::Object(mut keys) = keys else { return Map::new() };
        if let RopeScaling::Dynamic { trained, .. } = self.variant.scaling {
            keys.insert("max_position_embeddings".to_owned(), json!(trained));
        }
        if let Some((theta, scaling)) = self.variant.local_rope.as_ref() {
            keys.extend(self.two_ropes(*theta, scaling));
        } else if self.variant.scaling != RopeScaling::Default {
            keys.insert("rope_scaling".to_owned(), json!(self.variant.scaling));
        }
        if bias.mlp {
            keys.insert("mlp_bias".to_owned(), json!(true));
        }
        keys.extend(self.layer_keys());
        keys.extend(self.gemma_keys());
        keys
    }

    /// The keys about kinds of layers; none if all are plain.
    fn layer_keys(&self) -> Map<String, Value> {
        let layers = &self.variant.layers;
        let mut keys = Map::new();
        let window = layers.iter().find_map(|kind| kind.window);
        match self.variant.family {
            Family::Mistral => _ = keys.insert("sliding_window".to_owned(), json!(window)),
            Family::Gemma2 | Family::Gemma3 => {
                let types =
                    (0..self.layers).map(|layer| layers.get(layer).is_some_and(|kind| kind.window.is_some()));
                keys.insert("layer_types".to_owned(), types.map(layer_type).collect());
                keys.insert("sliding_window".to_owned(), json!(window));
            }
            _ if layers.is_empty() => return keys,
            _ => {
                let types = layers.iter().map(|kind| layer_type(kind.window.is_some()));
                keys.insert("layer_types".to_owned(), types.collect());
                keys.insert("sliding_window".to_owned(), json!(window));
                keys.insert("use_sliding_window".to_owned(), json!(window.is_some()));
            }
        }
        if self.variant.family == Family::SmolLm3 {
            let has_rope = layers.iter().map(|kind| usize::from(kind.rope != LayerRope::None));
            keys.insert("no_rope_layers".to_owned(), has_rope.collect());
        }
        keys
    }

    /// RoPE of global and local layers, in the form of transformers 4 if it can say it.
    fn two_ropes(&self, theta: f64, local: &RopeScaling) -> Map<String, Value> {
        let with_base = |theta: f64, scaling: &RopeScaling| {
            let mut settings = json!(scaling);
            settings["rope_theta"] = json!(theta);
            settings
        };
        let mut keys = Map::new();
        if *local == RopeScaling::Default {
            keys.insert("rope_local_base_freq".to_owned(), json!(theta));
            if self.variant.scaling != RopeScaling::Default {
                keys.insert("rope_scaling".to_owned(), json!(self.variant.scaling));
            }
        } else {
            let both = json!({
                "full_attention": with_base(self.rope.theta, &self.variant.scaling),
                "sliding_attention": with_base(theta, local),
            });
            keys.insert("rope_parameters".to_owned(), both);
        }
        keys
    }

    /// The keys that only Gemma has.
    fn gemma_keys(&self) -> Map<String, Value> {
        let mut keys = Map::new();
        if self.variant.family.has_post_norms() {
            keys.insert("hidden_activation".to_owned(), json!(self.variant.activation.name()));
            for (key, value) in [
                ("query_pre_attn_scalar", self.variant.query_scalar),
                ("attn_logit_softcapping", self.variant.score_cap),
                ("final_logit_softcapping", self.variant.logit_cap),
            ] {
                // The class of transformers wants a whole number for the first.
                let whole = value.filter(|x| x.fract() == 0.0).map(|x| json!(x as u64));
                keys.insert(
                    key.to_owned(),
                    whole.filter(|_| key.starts_with("query")).unwrap_or(json!(value)),
                );
            }
        }
        keys
    }
}

/// Hugging Face's name of layers that see all, or only a window.
fn layer_type(has_window: bool) -> &'static str {
    if has_window { "sliding_attention" } else { "full_attention" }
}
