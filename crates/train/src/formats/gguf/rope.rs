//! RoPE's settings: keys and tables of divisors of a GGUF file as `rope_scaling` of Hugging Face's `config.json`.
//!
//! Source: llama.cpp `src/llama-model.cpp` (keys, tables), `ggml/src/ggml-cpu/ops.cpp` (`rope_yarn`).

use std::collections::BTreeMap;
use std::io;

use super::config::{KeyError, float, integer, text};
use super::header::{Header, TensorInfo, printable};
use crate::config::RopeScaling;
use serde_json::{Map, Value as Json, json};

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
    let own = |key: &str| format!("{architecture}.rope.{key}");
    let number = |key: &str| Ok::<_, KeyError>(float(header, &own(key))?.filter(|&x| x != 0.0));
    let factor = match number("scaling.factor")? {
        Some(factor) => factor,
        None => number("scale_linear")?.unwrap_or(1.0),
    };
    let amplitude = number("scaling.attn_factor")?.unwrap_or(1.0);
    let original = integer(header, &own("scaling.original_context_length"))?.filter(|&n| n > 0);
    let original = original.or(keys.get("max_position_embeddings").and_then(Json::as_u64));
    let kind = text(header, &own("scaling.type"))?.unwrap_or("linear");
    let long = tables.get(TABLES[1]).zip(tables.get(TABLES[2]));
    let scaling = match (kind, tables.get(TABLES[0]), long) {
        (_, None, Some((long, short))) => longrope(long, short, original, amplitude),
        ("none", None, None) => return Ok(()),
        ("linear", None, None) if factor == 1.0 => return Ok(()),
        ("linear", None, None) => json!({"rope_type": "linear", "factor": factor}),
        ("yarn", None, None) => {
            let usual = if factor <= 1.0 { 1.0 } else { 0.1 * factor.ln() + 1.0 };
            json!({
                "rope_type": "yarn",
                "factor": factor,
                "original_max_position_embeddings": original,
                "attention_factor": amplitude * usual,
                "beta_fast": number("scaling.yarn_beta_fast")?.unwrap_or(32.0),
                "beta_slow": number("scaling.yarn_beta_slow")?.unwrap_or(1.0),
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
            return Err(KeyError::Unsupported { key: own("scaling.type"), got });
        }
    };
    keys.insert("rope_scaling".to_owned(), scaling);
    Ok(())
}

fn longrope(long: &[f32], short: &[f32], original: Option<u64>, amplitude: f64) -> Json {
    json!({
        "rope_type": "longrope",
        "long_factor": long,
        "short_factor": short,
        "original_max_position_embeddings": original,
        "attention_factor": amplitude,
    })
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
    let width = 2 * divisors.len();
    let [plain, scaled] =
        [&RopeScaling::Default, &scaling].map(|s| s.frequencies(theta, width, 1).per_position);
    // llama.cpp's converter computes them in fp32.
    let is_close = |(&x, want): (&f32, f64)| (f64::from(x) / want - 1.0).abs() < 1e-5;
    let want = plain.iter().zip(&scaled).map(|(plain, scaled)| plain / scaled);
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
