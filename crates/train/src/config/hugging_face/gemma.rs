//! Reading what Gemma has besides other models: activation, scale and bounds of scores and logits, two RoPE bases.
//!
//! Source: transformers 5.24, `models/{gemma,gemma2,gemma3}/configuration_*.py`.

use serde_json::{Map, Value};

use super::keys::{not_built, shown};
use super::rope::{self, Around};
use crate::config::problem::Problem;
use crate::config::{Activation, Family, RopeScaling};

/// `query_pre_attn_scalar` where the file has none.
const QUERY_SCALAR: f64 = 256.0;

/// The bounds of scores and logits of Gemma 2 where the file has none.
const CAPS: (f64, f64) = (50.0, 30.0);

/// The base of RoPE in local layers of Gemma 3 where the file has none.
const LOCAL_THETA: f64 = 10_000.0;

/// The activation of the feed-forward part.
///
/// # Errors
/// For one that is not supported, or two different ones.
pub(super) fn activation(config: &Value, family: Family) -> Result<Activation, Problem> {
    let read = |key: &'static str| match config.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_str() {
            Some("silu" | "swish") => Ok(Some(Activation::Silu)),
            Some("gelu_pytorch_tanh" | "gelu_new") => Ok(Some(Activation::GeluTanh)),
            // Gemma's first files mean the approximation.
            Some("gelu") if family.is_gemma() => Ok(Some(Activation::GeluTanh)),
            _ => Err(not_built(key, &shown(value))),
        },
    };
    let usual = if family.is_gemma() { Activation::GeluTanh } else { Activation::Silu };
    match (read("hidden_activation")?, read("hidden_act")?) {
        (Some(one), Some(other)) if one != other => {
            let (one, other) = (one.name(), other.name());
            let problem = format!("`hidden_activation` = \"{one}\", and `hidden_act` = \"{other}\"");
            Err(Problem::value("hidden_act", problem, "Remove the key that is wrong."))
        }
        (one, other) => Ok(one.or(other).unwrap_or(usual)),
    }
}

/// The divisor of scores (before its root), and the bounds of scores and logits.
///
/// # Errors
/// For a number that is not positive, or a bound of scores in a Gemma 3, which transformers ignores.
pub(super) fn bounds(config: &Value, family: Family) -> Result<[Option<f64>; 3], Problem> {
    let number = |key: &'static str, usual: Option<f64>| match config.get(key) {
        None => Ok(usual),
        Some(Value::Null) => Ok(None),
        Some(value) => match value.as_f64() {
            Some(x) if x.is_finite() && x > 0.0 => Ok(Some(x)),
            _ => {
                let problem = format!("`{key}` = {} is not a positive number", shown(value));
                Err(Problem::value(key, problem, format!("Set `{key}` to a positive number, or to null.")))
            }
        },
    };
    let (scalar, of_scores, of_logits) = match family {
        Family::Gemma2 => (Some(QUERY_SCALAR), Some(CAPS.0), Some(CAPS.1)),
        Family::Gemma3 => (Some(QUERY_SCALAR), None, None),
        _ => return Ok([None; 3]),
    };
    const SCORES: &str = "attn_logit_softcapping";
    let score_cap = number(SCORES, of_scores)?;
    match score_cap.filter(|_| family == Family::Gemma3) {
        Some(cap) => Err(not_built(SCORES, &cap.to_string())),
        None => Ok([
            number("query_pre_attn_scalar", scalar)?,
            score_cap,
            number("final_logit_softcapping", of_logits)?,
        ]),
    }
}

/// Base and scaling of RoPE in a layer.
pub(super) type LayerRopeSettings = (f64, RopeScaling);

/// RoPE of Gemma 3 in global and in local layers: one object of settings for each type of layers, or the older keys.
///
/// # Errors
/// As [`rope::scaling`].
pub(super) fn two_ropes(config: &Value, around: Around) -> Result<[LayerRopeSettings; 2], Problem> {
    const LAYERS: [&str; 2] = ["full_attention", "sliding_attention"];
    let object = |value: Option<&Value>| value.and_then(Value::as_object).cloned().unwrap_or_default();
    let nested: Map<String, Value> = object(config.get("rope_parameters"));
    if let Some((key, value)) = nested.iter().find(|(key, _)| !LAYERS.contains(&key.as_str())) {
        return Err(not_built(&format!("rope_parameters.{key}"), &shown(value)));
    }
    let local = config.get("rope_local_base_freq").and_then(Value::as_f64).unwrap_or(LOCAL_THETA);
    let mut global = object(nested.get(LAYERS[0]));
    global.extend(object(config.get("rope_scaling")));
    let global = rope::scaling("rope_parameters.full_attention", &global, around)?;
    let own = object(nested.get(LAYERS[1]));
    let local = rope::scaling("rope_parameters.sliding_attention", &own, Around { theta: local, ..around })?;
    Ok([global, local])
}
