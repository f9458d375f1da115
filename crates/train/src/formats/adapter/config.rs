//! `adapter_config.json`: what the factors in an adapter's file mean.

use std::path::Path;

use fancy_regex::Regex;
use serde_json::{Map, Value};

use super::refused;
use crate::error::TrainError;
use crate::formats::weights::has_safetensors;
use crate::fs::read_limited;

/// Name of the file.
pub(crate) const ADAPTER_CONFIG: &str = "adapter_config.json";

/// Keys of PEFT's that say nothing about the merged weights, or that the names of tensors say again.
const IGNORED: [&str; 19] = [
    "auto_mapping",
    "base_model_name_or_path",
    "corda_config",
    "ensure_weight_tying",
    "eva_config",
    "exclude_modules",
    "inference_mode",
    "layers_pattern",
    "layers_to_transform",
    "loftq_config",
    "lora_dropout",
    "lora_ga_config",
    "megatron_config",
    "megatron_core",
    "modules_to_save",
    "peft_version",
    "qalora_group_size",
    "revision",
    "target_modules",
];

/// Whether the folder `dir` has an adapter, and no model.
pub fn is_adapter_alone(dir: &Path) -> bool {
    dir.join(ADAPTER_CONFIG).is_file() && !has_safetensors(dir)
}

/// The arithmetic of an adapter.
#[derive(Debug)]
pub(super) struct AdapterConfig {
    /// The model that it was made for, as written.
    pub(super) base: Option<String>,
    /// Whether it is mlx-lm's, whose factors are transposed.
    pub(super) is_mlx: bool,
    /// Whether rows are scaled to stored norms.
    pub(super) dora: bool,
    scaling: Scaling,
}

#[derive(Debug)]
enum Scaling {
    /// The factor itself.
    Fixed(f64),
    /// α/r or α/√r, with patterns for some modules.
    OfRank { rank: usize, alpha: f64, stabilised: bool, ranks: Vec<(Regex, f64)>, alphas: Vec<(Regex, f64)> },
}

impl AdapterConfig {
    /// Reads the file `path`.
    ///
    /// # Errors
    /// [`TrainError::Io`]; [`TrainError::Adapter`], with the first key whose effect is not built.
    pub(super) fn read(path: &Path) -> Result<AdapterConfig, TrainError> {
        let text = read_limited(path, "adapter", 4 << 20)?;
        let keys: Map<String, Value> =
            serde_json::from_slice(&text).map_err(|e| TrainError::ConfigSyntax {
                path: path.to_owned(),
                line: e.line(),
                column: e.column(),
                problem: e.to_string(),
            })?;
        let read = if keys.contains_key("fine_tune_type") { of_mlx(&keys) } else { of_peft(&keys) };
        read.map_err(|problem| {
            refused(path, problem, "Merge it with the program that made it, and use the merged model.")
        })
    }

    /// The factor on B·A of `module`, whose factors have rank `rank`.
    ///
    /// # Errors
    /// If the configuration says another rank.
    pub(super) fn scale(&self, module: &str, rank: usize) -> Result<f64, String> {
        match &self.scaling {
            Scaling::Fixed(scale) => Ok(*scale),
            Scaling::OfRank { rank: all, alpha, stabilised, ranks, alphas } => {
                let want = of_module(ranks, module)?.unwrap_or(*all as f64);
                if want != rank as f64 {
                    return Err(format!("its factors have rank {rank}, and `{ADAPTER_CONFIG}` says {want}"));
                }
                let alpha = of_module(alphas, module)?.unwrap_or(*alpha);
                Ok(alpha / if *stabilised { want.sqrt() } else { want })
            }
        }
    }
}

/// The value of the first pattern that `module` matches.
fn of_module(patterns: &[(Regex, f64)], module: &str) -> Result<Option<f64>, String> {
    for (pattern, value) in patterns {
        if pattern.is_match(module).map_err(|e| format!("a pattern on `{module}`: {e}"))? {
            return Ok(Some(*value));
        }
    }
    Ok(None)
}

fn number(keys: &Map<String, Value>, key: &str, default: f64) -> Result<f64, String> {
    match keys.get(key) {
        None | Some(Value::Null) => Ok(default),
        Some(value) => {
            let number = value.as_f64().filter(|x| x.is_finite());
            number.ok_or_else(|| format!("`{key}` is {value}, not a number"))
        }
    }
}

fn flag(keys: &Map<String, Value>, key: &str) -> Result<bool, String> {
    match keys.get(key) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(is_set)) => Ok(*is_set),
        Some(value) => Err(format!("`{key}` is {value}, not true or false")),
    }
}

fn rank(keys: &Map<String, Value>, key: &str) -> Result<usize, String> {
    let rank = keys.get(key).and_then(Value::as_u64).filter(|&rank| rank > 0);
    rank.map(|rank| rank as usize).ok_or_else(|| format!("`{key}` is not a number of at least 1"))
}

/// PEFT's patterns: each ends a module's name.
fn patterns(keys: &Map<String, Value>, key: &str) -> Result<Vec<(Regex, f64)>, String> {
    let all = match keys.get(key) {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Object(all)) => all,
        Some(value) => return Err(format!("`{key}` is {value}, not a map")),
    };
    let pattern = |(name, _): (&String, &Value)| {
        let pattern = Regex::new(&format!("^(?:.*\\.)?(?:{name})$"));
        let pattern = pattern.map_err(|e| format!("`{key}` has the pattern `{name}`: {e}"))?;
        let value = number(all, name, 0.0).ok().filter(|value| *value > 0.0);
        Ok((pattern, value.ok_or_else(|| format!("`{key}` of `{name}` is not a number above 0"))?))
    };
    all.iter().map(pattern).collect()
}

/// Whether a key's value means that it has no effect.
fn is_neutral(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    }
}

fn of_peft(keys: &Map<String, Value>) -> Result<AdapterConfig, String> {
    for (key, value) in keys {
        let shown = || format!("`{key}` = {value}: this is not built");
        let is_known = match key.as_str() {
            "peft_type" => value == "LORA",
            "task_type" => value.is_null() || value == "CAUSAL_LM",
            "bias" => value == "none",
            "init_lora_weights" => {
                value.is_boolean() || value.as_str().is_some_and(|v| ["gaussian", "orthogonal"].contains(&v))
            }
            "r" | "lora_alpha" | "use_rslora" | "use_dora" | "rank_pattern" | "alpha_pattern" => true,
            key => IGNORED.contains(&key) || is_neutral(value),
        };
        if !is_known {
            return Err(shown());
        }
    }
    if keys.get("peft_type").is_none() {
        return Err("it has neither `peft_type` nor `fine_tune_type`".to_owned());
    }
    Ok(AdapterConfig {
        base: keys.get("base_model_name_or_path").and_then(Value::as_str).map(str::to_owned),
        is_mlx: false,
        dora: flag(keys, "use_dora")?,
        scaling: Scaling::OfRank {
            rank: rank(keys, "r")?,
            alpha: number(keys, "lora_alpha", 8.0)?,
            stabilised: flag(keys, "use_rslora")?,
            ranks: patterns(keys, "rank_pattern")?,
            alphas: patterns(keys, "alpha_pattern")?,
        },
    })
}

fn of_mlx(keys: &Map<String, Value>) -> Result<AdapterConfig, String> {
    let kind = keys.get("fine_tune_type").and_then(Value::as_str).unwrap_or("lora");
    if !["lora", "dora"].contains(&kind) {
        return Err(format!("`fine_tune_type` = {kind}: this is not built"));
    }
    let empty = Map::new();
    let lora = keys.get("lora_parameters").and_then(Value::as_object).unwrap_or(&empty);
    Ok(AdapterConfig {
        base: keys.get("model").and_then(Value::as_str).map(str::to_owned),
        is_mlx: true,
        dora: kind == "dora",
        scaling: Scaling::Fixed(number(lora, "scale", 20.0)?),
    })
}
