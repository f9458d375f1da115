//! RoPE's settings: keys and tables of divisors of a GGUF file as `rope_scaling` of Hugging Face's `config.json`, and back.
//!
//! Source: llama.cpp `src/llama-model.cpp` (keys, tables), `src/llama-context.cpp` (amplitude), `ggml/src/ggml-cpu/ops.cpp`
//! (`rope_yarn`).

use std::collections::BTreeMap;
use std::io;

use super::header::{Header, TensorInfo, decimal, printable};
use super::values::{KeyError, float, integer, text};
use crate::config::{ModelConfig, RopeScaling};
use serde_json::{Map, Value as Json, json};

/// The kind of scaling.
pub(super) const TYPE: &str = "rope.scaling.type";
/// The divisor of frequencies.
pub(super) const FACTOR: &str = "rope.scaling.factor";
/// The older name of [`FACTOR`].
pub(super) const SCALE_LINEAR: &str = "rope.scale_linear";
/// The length of windows before scaling.
pub(super) const ORIGINAL: &str = "rope.scaling.original_context_length";
/// The factor on cosines and sines, beyond that of YaRN.
pub(super) const AMPLITUDE: &str = "rope.scaling.attn_factor";
/// Rotations at the start of YaRN's ramp.
pub(super) const BETA_FAST: &str = "rope.scaling.yarn_beta_fast";
/// Rotations at the end of YaRN's ramp.
pub(super) const BETA_SLOW: &str = "rope.scaling.yarn_beta_slow";

/// [`BETA_FAST`] and [`BETA_SLOW`] where a file has none; llama.cpp has no others in the architectures that are read.
pub(super) const BETAS: [f64; 2] = [32.0, 1.0];

/// Divisors of all pairs of channels, and those of LongRoPE for long and short windows.
pub(super) const TABLES: [&str; 3] =
    ["rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"];

/// Most numbers of a table: a head has fewer pairs of channels.
const MOST: usize = 1 << 16;

/// Tables of divisors, by their names.
pub(super) type Tables = BTreeMap<&'static str, Vec<f32>>;

/// The tables of divisors, by `read`; [`add_scaling`] refuses those that no head has, which are not read.
///
/// # Errors
/// Those of `read`.
pub(super) fn tables(
    header: &Header,
    mut read: impl FnMut(&TensorInfo, &mut [f32]) -> io::Result<()>,
) -> io::Result<Tables> {
    let mut tables = Tables::new();
    for name in TABLES {
        let Some(info) = header.tensor(name) else { continue };
        if let &[count @ 1..=MOST] = info.shape.as_slice() {
            let mut divisors = vec![0.0; count];
            read(info, &mut divisors)?;
            tables.insert(name, divisors);
        }
    }
    Ok(tables)
}

/// Adds `rope_scaling` to the `keys` of the model, if the file has it.
///
/// # Errors
/// The first key of another type, or with a value that is not supported.
pub(super) fn add_scaling(
    header: &Header,
    tables: &Tables,
    keys: &mut Map<String, Json>,
) -> Result<(), KeyError> {
    let architecture = text(header, "general.architecture")?.unwrap_or_default();
    for name in TABLES.into_iter().filter(|name| !tables.contains_key(name)) {
        if let Some(info) = header.tensor(name) {
            let got = format!("a table of shape {:?}", info.shape);
            return Err(KeyError::Unsupported { key: name.to_owned(), got });
        }
    }
    let own = |key: &str| format!("{architecture}.{key}");
    let number = |key: &str| Ok::<_, KeyError>(float(header, &own(key))?.filter(|&x| x != 0.0));
    let factor = match number(FACTOR)? {
        Some(factor) => factor,
        None => number(SCALE_LINEAR)?.unwrap_or(1.0),
    };
    let amplitude = number(AMPLITUDE)?.unwrap_or(1.0);
    let original = integer(header, &own(ORIGINAL))?.filter(|&n| n > 0);
    let original = original.or(keys.get("max_position_embeddings").and_then(Json::as_u64));
    let kind = text(header, &own(TYPE))?.unwrap_or("linear");
    let long = tables.get(TABLES[1]).zip(tables.get(TABLES[2]));
    let scaling = match (kind, tables.get(TABLES[0]), long) {
        (_, None, Some((long, short))) => longrope(long, short, original, amplitude),
        ("none", None, None) => return Ok(()),
        ("linear", None, None) if factor == 1.0 => return Ok(()),
        ("linear", None, None) => json!({"rope_type": "linear", "factor": factor}),
        ("yarn", None, None) => {
            json!({
                "rope_type": "yarn",
                "factor": factor,
                "original_max_position_embeddings": original,
                "attention_factor": amplitude * usual_amplitude(factor),
                "beta_fast": number(BETA_FAST)?.unwrap_or(BETAS[0]),
                "beta_slow": number(BETA_SLOW)?.unwrap_or(BETAS[1]),
            })
        }
        ("none" | "linear", Some(divisors), None) if factor == 1.0 || kind == "none" => {
            match llama3(divisors, keys) {
                Some(scaling) => json!(scaling),
                None => longrope(divisors, divisors, original, amplitude),
            }
        }
        _ => {
            let got = format!("\"{}\"", printable(kind));
            return Err(KeyError::Unsupported { key: own(TYPE), got });
        }
    };
    keys.insert("rope_scaling".to_owned(), scaling);
    Ok(())
}

fn longrope(long: &[f32], short: &[f32], original: Option<u64>, amplitude: f64) -> Json {
    let [long, short] = [long, short].map(|list| list.iter().map(|&x| decimal(x)).collect::<Vec<_>>());
    json!({
        "rope_type": "longrope",
        "long_factor": long,
        "short_factor": short,
        "original_max_position_embeddings": original,
        "attention_factor": amplitude,
    })
}

/// YaRN's factor on cosines and sines.
fn usual_amplitude(factor: f64) -> f64 {
    if factor <= 1.0 { 1.0 } else { 0.1 * factor.ln() + 1.0 }
}

/// The value of [`TYPE`]; Llama 3's scaling is a table alone.
pub(super) fn kind(config: &ModelConfig) -> Option<&'static str> {
    match config.variant.scaling {
        RopeScaling::Linear { .. } => Some("linear"),
        RopeScaling::Yarn { .. } => Some("yarn"),
        RopeScaling::LongRope { .. } => Some("longrope"),
        RopeScaling::Default | RopeScaling::Dynamic { .. } | RopeScaling::Llama3 { .. } => None,
    }
}

/// The value of [`FACTOR`].
pub(super) fn factor(config: &ModelConfig) -> Option<f64> {
    match config.variant.scaling {
        RopeScaling::Linear { factor } | RopeScaling::Yarn { factor, .. } => Some(factor),
        _ => None,
    }
}

/// The value of [`ORIGINAL`].
pub(super) fn original(config: &ModelConfig) -> Option<usize> {
    match config.variant.scaling {
        RopeScaling::Yarn { original_max_position_embeddings, .. }
        | RopeScaling::LongRope { original_max_position_embeddings, .. } => {
            Some(original_max_position_embeddings)
        }
        _ => None,
    }
}

/// The value of [`AMPLITUDE`], unless it is 1.
pub(super) fn amplitude(config: &ModelConfig) -> Option<f64> {
    let amplitude = match config.variant.scaling {
        RopeScaling::Yarn { factor, attention_factor, .. } => attention_factor / usual_amplitude(factor),
        RopeScaling::LongRope { attention_factor, .. } => attention_factor,
        _ => 1.0,
    };
    (amplitude != 1.0).then_some(amplitude)
}

/// The values of [`BETA_FAST`] and [`BETA_SLOW`], unless they are usual.
pub(super) fn betas(config: &ModelConfig) -> [Option<f64>; 2] {
    match config.variant.scaling {
        RopeScaling::Yarn { beta_fast, beta_slow, .. } => {
            let unusual = |beta: f64, usual: f64| (beta != usual).then_some(beta);
            [unusual(beta_fast, BETAS[0]), unusual(beta_slow, BETAS[1])]
        }
        _ => [None; 2],
    }
}

/// The tables of divisors in a file of the model.
pub(super) fn written_tables(config: &ModelConfig) -> Tables {
    let floats = |list: &[f64]| list.iter().map(|&x| x as f32).collect();
    match &config.variant.scaling {
        scaling @ RopeScaling::Llama3 { .. } => {
            let divisors = divisors(scaling, config.rope.theta, config.head_dim);
            Tables::from([(TABLES[0], floats(&divisors))])
        }
        RopeScaling::LongRope { short_factor, long_factor, .. } => {
            Tables::from([(TABLES[1], floats(long_factor)), (TABLES[2], floats(short_factor))])
        }
        _ => Tables::new(),
    }
}

/// The configuration that a reader of the tables has: Llama 3's scaling becomes its divisors.
pub(super) fn as_read(config: &ModelConfig) -> RopeScaling {
    match &config.variant.scaling {
        scaling @ RopeScaling::Llama3 { .. } => {
            let divisors = divisors(scaling, config.rope.theta, config.head_dim);
            RopeScaling::LongRope {
                short_factor: divisors.clone(),
                long_factor: divisors,
                original_max_position_embeddings: 0,
                attention_factor: 1.0,
            }
        }
        // With equal tables, the original length says nothing.
        RopeScaling::LongRope { short_factor, long_factor, attention_factor, .. }
            if short_factor == long_factor =>
        {
            RopeScaling::LongRope {
                short_factor: short_factor.clone(),
                long_factor: long_factor.clone(),
                original_max_position_embeddings: 0,
                attention_factor: *attention_factor,
            }
        }
        other => other.clone(),
    }
}

/// The divisor of the frequency of each pair of channels.
fn divisors(scaling: &RopeScaling, theta: f64, head_dim: usize) -> Vec<f64> {
    let [plain, scaled] =
        [&RopeScaling::Default, scaling].map(|s| s.frequencies(theta, head_dim, 1).per_position);
    plain.iter().zip(&scaled).map(|(plain, scaled)| plain / scaled).collect()
}

/// The settings of Llama 3 that make these divisors, if they are those of a published model.
fn llama3(divisors: &[f32], keys: &Map<String, Json>) -> Option<RopeScaling> {
    let theta = keys.get("rope_theta").and_then(Json::as_f64).unwrap_or(10_000.0);
    let factor = divisors.iter().fold(1.0f32, |most, &x| most.max(x)).into();
    let scaling = RopeScaling::Llama3 {
        factor,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max_position_embeddings: 8192,
    };
    let want = self::divisors(&scaling, theta, 2 * divisors.len());
    // llama.cpp's converter computes them in fp32.
    let is_close = |(&x, want): (&f32, f64)| (f64::from(x) / want - 1.0).abs() < 1e-5;
    divisors.iter().zip(want).all(is_close).then_some(scaling)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn divisors_of_llama_3_are_known() {
        let mut keys = Map::new();
        keys.insert("rope_theta".to_owned(), json!(500_000.0));
        let want = RopeScaling::Llama3 {
            factor: 32.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: 8192,
        };
        let [plain, scaled] =
            [&RopeScaling::Default, &want].map(|s| s.frequencies(500_000.0, 64, 1).per_position);
        let mut divisors: Vec<f32> = plain.iter().zip(&scaled).map(|(a, b)| (a / b) as f32).collect();
        assert!(divisors[0] == 1.0 && divisors[31] == 32.0);
        assert_eq!(llama3(&divisors, &keys), Some(want));
        divisors[20] *= 1.01;
        assert_eq!(llama3(&divisors, &keys), None);
    }
}
