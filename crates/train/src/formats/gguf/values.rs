//! Values of a GGUF file's keys by type, and what may be wrong with them.

use super::header::{Header, MetadataValue};

/// A missing or invalid key of the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    #[error("key `{key}` is missing")]
    Missing { key: String },
    #[error("key `{key}` is {got}, not {want}")]
    Type { key: String, got: String, want: &'static str },
    #[error(
        "its architecture is `{got}`; `llama` (with Mistral and SmolLM2), `qwen2`, `qwen3`, `smollm3`, `gemma`, \
             `gemma2` and `gemma3` can be read"
    )]
    Architecture { got: String },
    #[error("`{key}` = {got} is not supported")]
    Unsupported { key: String, got: String },
}

impl KeyError {
    /// Whether the file may be whole, and this program cannot read its kind.
    pub fn is_unsupported(&self) -> bool {
        matches!(self, Self::Architecture { .. } | Self::Unsupported { .. } | Self::Type { .. })
    }
}

pub fn missing(key: &str) -> KeyError {
    KeyError::Missing { key: key.to_owned() }
}

pub fn wrong(key: &str, got: &MetadataValue, want: &'static str) -> KeyError {
    KeyError::Type { key: key.to_owned(), got: got.to_string(), want }
}

pub fn integer(header: &Header, key: &str) -> Result<Option<u64>, KeyError> {
    match header.get(key) {
        None => Ok(None),
        Some(MetadataValue::Int(n)) if u64::try_from(*n).is_ok() => Ok(Some(*n as u64)),
        Some(got) => Err(wrong(key, got, "a whole number")),
    }
}

pub fn float(header: &Header, key: &str) -> Result<Option<f64>, KeyError> {
    match header.get(key) {
        None => Ok(None),
        Some(MetadataValue::Float(x)) if x.is_finite() => Ok(Some(*x)),
        Some(got) => Err(wrong(key, got, "a finite number")),
    }
}

pub fn text<'h>(header: &'h Header, key: &str) -> Result<Option<&'h str>, KeyError> {
    match header.get(key) {
        None => Ok(None),
        Some(MetadataValue::Str(text)) => Ok(Some(text)),
        Some(got) => Err(wrong(key, got, "a text")),
    }
}

pub fn flag(header: &Header, key: &str) -> Result<Option<bool>, KeyError> {
    match header.get(key) {
        None => Ok(None),
        Some(MetadataValue::Bool(flag)) => Ok(Some(*flag)),
        Some(got) => Err(wrong(key, got, "true or false")),
    }
}

pub fn texts<'h>(header: &'h Header, key: &str) -> Result<Option<&'h [String]>, KeyError> {
    match header.get(key) {
        None => Ok(None),
        Some(MetadataValue::Strs(texts)) => Ok(Some(texts)),
        Some(got) => Err(wrong(key, got, "a list of texts")),
    }
}

pub fn numbers(header: &Header, key: &str) -> Result<Option<Vec<f64>>, KeyError> {
    match header.get(key) {
        None => Ok(None),
        Some(MetadataValue::Floats(numbers)) => Ok(Some(numbers.clone())),
        Some(MetadataValue::Ints(numbers)) => Ok(Some(numbers.iter().map(|&n| n as f64).collect())),
        Some(got) => Err(wrong(key, got, "a list of numbers")),
    }
}
