//! The configuration that a reader of a GGUF file's own keys has of a model.

use super::layers;
use super::rope;
use crate::config::{Family, ModelConfig, Rope, RopeKind, RopeScaling, Variant};
use serde_json::{Value as Json, json};

/// The first difference of two models that their files would show, as (key, own value, other value).
pub fn difference(own: &ModelConfig, other: &ModelConfig) -> Option<(&'static str, String, String)> {
    let (own, mut other) = (stored(own), ModelConfig { seq: own.seq, ..stored(other) });
    if is_close(&json!(own.variant.scaling), &json!(other.variant.scaling)) {
        other.variant.scaling = own.variant.scaling.clone();
    }
    own.difference(&other)
}

/// `config` without what a file says in another way: a Mistral without windows is a llama, rows of queries and keys have one
/// order, some scalings are tables of divisors.
fn stored(config: &ModelConfig) -> ModelConfig {
    let family = match config.variant.family {
        Family::Mistral if layers::window(config).is_none() => Family::Llama,
        family => family,
    };
    let scaling: RopeScaling = rope::as_read(config);
    ModelConfig {
        rope: Rope { kind: RopeKind::RotateHalf, ..config.rope },
        variant: Variant { family, scaling, ..config.variant.clone() },
        ..config.clone()
    }
}

/// Whether two settings are equal but for rounding to fp32.
fn is_close(own: &Json, other: &Json) -> bool {
    match (own, other) {
        (Json::Number(own), Json::Number(other)) => {
            let (own, other) = (own.as_f64().unwrap_or(0.0), other.as_f64().unwrap_or(0.0));
            // A rounding to fp32 is 6e-8; tables are quotients of rounded numbers in other programs.
            (own - other).abs() <= 1e-6 * own.abs()
        }
        (Json::Array(own), Json::Array(other)) => {
            own.len() == other.len() && own.iter().zip(other).all(|(own, other)| is_close(own, other))
        }
        (Json::Object(own), Json::Object(other)) => {
            own.len() == other.len()
                && own.iter().all(|(key, own)| other.get(key).is_some_and(|other| is_close(own, other)))
        }
        (own, other) => own == other,
    }
}
