//! Conversion of a GGUF file's keys to those of Hugging Face's `config.json`, which define their meaning.
//!
//! What a file says is what llama.cpp computes from it: a key that llama.cpp takes for granted has its value there.

use super::header::{Header, MetadataValue, printable};
use super::layers;
use super::table::{ARCHITECTURES, RECORDS, Read, Record};
use super::values::{KeyError, float, integer, missing, text, wrong};
use serde_json::{Map, Value as Json, json};

/// The equivalent keys of `config.json`, but for scaled RoPE.
///
/// # Errors
/// The first key that is missing, of another type, or of an architecture that is not read.
pub fn config_keys(header: &Header) -> Result<Map<String, Json>, KeyError> {
    let architecture =
        text(header, "general.architecture")?.ok_or_else(|| missing("general.architecture"))?;
    if !ARCHITECTURES.iter().any(|(name, ..)| *name == architecture) {
        return Err(KeyError::Architecture { got: printable(architecture) });
    }
    let mut keys = Map::new();
    for record in RECORDS.iter().filter(|record| record.is_of(architecture)) {
        read(header, architecture, record, &mut keys)?;
    }
    // Only Qwen 2 always has biases of queries, keys and values; the others' key stands for those of the output, too.
    if architecture != "qwen2" && header.tensor("blk.0.attn_output.bias").is_some() {
        keys.insert("attention_bias".to_owned(), json!(true));
    }
    if header.tensor("blk.0.ffn_down.bias").is_some() {
        keys.insert("mlp_bias".to_owned(), json!(true));
    }
    if matches!(architecture, "gemma2" | "gemma3") {
        add_gemma(header, architecture, &mut keys)?;
    }
    let is_mistral = layers::read(header, architecture, &mut keys)?;
    let named = ARCHITECTURES.iter().filter(|(name, ..)| *name == architecture);
    if let Some((_, model_type, class)) = named.clone().nth(usize::from(is_mistral)) {
        keys.insert("architectures".to_owned(), json!([class]));
        keys.insert("model_type".to_owned(), json!(model_type));
    }
    check_widths(header, architecture, &keys)?;
    check_unread(header, architecture)?;
    let vocab = header.tensor("token_embd.weight").and_then(|t| t.shape.first().copied());
    keys.insert("vocab_size".to_owned(), json!(vocab.ok_or_else(|| missing("token_embd.weight"))?));
    keys.insert("tie_word_embeddings".to_owned(), json!(header.tensor("output.weight").is_none()));
    for (from, to) in [("bos", "bos_token_id"), ("eos", "eos_token_id"), ("padding", "pad_token_id")] {
        if let Some(id) = integer(header, &format!("tokenizer.ggml.{from}_token_id"))? {
            keys.insert(to.to_owned(), json!(id));
        }
    }
    Ok(keys)
}

impl Record {
    /// Whether models of this architecture have the key.
    pub fn is_of(&self, architecture: &str) -> bool {
        self.of.is_empty() || self.of.contains(&architecture)
    }
}

/// Reads the key of `record` into `keys`.
fn read(
    header: &Header,
    architecture: &str,
    record: &Record,
    keys: &mut Map<String, Json>,
) -> Result<(), KeyError> {
    let own = format!("{architecture}.{}", record.name);
    let (to, value) = match &record.read {
        Read::Size(to, needed) => match integer(header, &own)? {
            None if *needed => return Err(missing(&own)),
            size => (to, size.map(|size| json!(size))),
        },
        Read::Needed(to) => (to, Some(json!(float(header, &own)?.ok_or_else(|| missing(&own))?))),
        Read::Number(to, usual) => (to, float(header, &own)?.or(*usual).map(|number| json!(number))),
        Read::Only(values) => return only(header, own, values),
        Read::Width | Read::Together | Read::Not => return Ok(()),
    };
    keys.extend(value.map(|value| ((*to).to_owned(), value)));
    Ok(())
}

/// Refuses a value that changes the results and is not built.
fn only(header: &Header, key: String, values: &[f64]) -> Result<(), KeyError> {
    let number = match header.get(&key) {
        None => return Ok(()),
        Some(MetadataValue::Int(n)) => *n as f64,
        Some(MetadataValue::Float(x)) => *x,
        Some(MetadataValue::Bool(b)) => f64::from(u8::from(*b)),
        Some(got) => return Err(wrong(&key, got, "a number")),
    };
    if values.contains(&number) {
        return Ok(());
    }
    Err(KeyError::Unsupported { key, got: number.to_string() })
}

/// The divisor of the scores of a Gemma 2 or 3, before its root: llama.cpp has it by the number of layers.
pub fn query_scalar(architecture: &str, [layers, dim, heads]: [usize; 3], head_dim: usize) -> usize {
    let largest = if architecture == "gemma2" { 46 } else { 62 };
    if layers == largest { dim.checked_div(heads).unwrap_or(head_dim) } else { head_dim }
}

/// Adds the keys of Gemma 2 or 3: bounds, and the divisor of scores.
fn add_gemma(header: &Header, architecture: &str, keys: &mut Map<String, Json>) -> Result<(), KeyError> {
    for key in ["attn_logit_softcapping", "final_logit_softcapping"] {
        let own = format!("{architecture}.{key}");
        let is_none = float(header, &own)? == Some(0.0);
        match architecture {
            // llama.cpp divides by it.
            "gemma2" if is_none => return Err(KeyError::Unsupported { key: own, got: "0".to_owned() }),
            "gemma3" if is_none || !keys.contains_key(key) => _ = keys.insert(key.to_owned(), Json::Null),
            _ => {}
        }
    }
    let size = |key: &str| keys.get(key).and_then(Json::as_u64).and_then(|n| usize::try_from(n).ok());
    let sizes = ["num_hidden_layers", "hidden_size", "num_attention_heads"].map(|key| size(key).unwrap_or(0));
    let scalar = query_scalar(architecture, sizes, head_width(keys).unwrap_or(0) as usize);
    keys.insert("query_pre_attn_scalar".to_owned(), json!(scalar));
    Ok(())
}

/// The width of a head.
fn head_width(keys: &Map<String, Json>) -> Option<u64> {
    let number = |key: &str| keys.get(key).and_then(Json::as_u64);
    number("head_dim").or_else(|| number("hidden_size")?.checked_div(number("num_attention_heads")?))
}

/// Refuses heads whose values or rotated channels are not as wide as the keys, and says how wide they are.
fn check_widths(header: &Header, architecture: &str, keys: &Map<String, Json>) -> Result<(), KeyError> {
    let Some(width) = head_width(keys) else { return Ok(()) };
    for record in RECORDS.iter().filter(|record| matches!(record.read, Read::Width)) {
        let key = format!("{architecture}.{}", record.name);
        match integer(header, &key)? {
            Some(got) if got != width => {
                let got = format!("{got}, of {width} channels of a head,");
                return Err(KeyError::Unsupported { key, got });
            }
            _ => {}
        }
    }
    Ok(())
}

/// Refuses keys of the architecture that are not read, unless their value means "without it".
fn check_unread(header: &Header, architecture: &str) -> Result<(), KeyError> {
    for (key, value) in &header.keys {
        let Some(own) = key.strip_prefix(architecture).and_then(|key| key.strip_prefix('.')) else {
            continue;
        };
        let record = RECORDS.iter().find(|record| record.name == own);
        let is_neutral = match value {
            // Many keys are factors, or numbers of parts; those of other architectures are neither.
            MetadataValue::Int(1) => record.is_none(),
            MetadataValue::Float(1.0) => record.is_none(),
            MetadataValue::Int(n) => *n == 0,
            MetadataValue::Float(x) => *x == 0.0,
            MetadataValue::Bool(b) => !b,
            MetadataValue::Str(text) => text.is_empty(),
            MetadataValue::Ints(list) => list.is_empty(),
            MetadataValue::Floats(list) => list.is_empty(),
            MetadataValue::Strs(list) => list.is_empty(),
        };
        if !is_neutral && !record.is_some_and(|record| record.is_of(architecture)) {
            return Err(KeyError::Unsupported { key: key.clone(), got: value.to_string() });
        }
    }
    Ok(())
}
