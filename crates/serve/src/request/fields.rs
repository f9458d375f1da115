//! The fields of a request, taken one at a time: those that nobody takes are refused.

use crate::error::ApiError;
use serde_json::{Map, Value};
use std::ops::RangeInclusive;

/// The fields of a request that were not taken yet. `null` is the same as no field.
#[derive(Debug)]
pub(crate) struct Fields {
    left: Map<String, Value>,
}

impl Fields {
    /// The fields of the JSON in `body`.
    pub(crate) fn of(body: &[u8]) -> Result<Fields, ApiError> {
        let value: Value = serde_json::from_slice(body)
            .map_err(|e| ApiError::request(format!("The body is not JSON: {e}.")))?;
        match value {
            Value::Object(left) => Ok(Fields { left }),
            other => Err(ApiError::request(format!("The body is {}: send an object.", kind(&other)))),
        }
    }

    /// A field as it is.
    pub(crate) fn take(&mut self, name: &str) -> Option<Value> {
        self.left.remove(name).filter(|value| !value.is_null())
    }

    /// A string.
    pub(crate) fn text(&mut self, name: &str) -> Result<Option<String>, ApiError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(wrong_type(name, "a string", &other)),
        }
    }

    /// `true` or `false`; without the field, `false`.
    pub(crate) fn flag(&mut self, name: &str) -> Result<bool, ApiError> {
        match self.take(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(other) => Err(wrong_type(name, "a boolean", &other)),
        }
    }

    /// A number in `range`.
    pub(crate) fn number(&mut self, name: &str, range: RangeInclusive<f64>) -> Result<Option<f64>, ApiError> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let Some(number) = value.as_f64() else { return Err(wrong_type(name, "a number", &value)) };
        if range.contains(&number) {
            return Ok(Some(number));
        }
        let want = match range.end().is_finite() {
            true => format!("from {} to {}", range.start(), range.end()),
            false => format!("at least {}", range.start()),
        };
        Err(out_of_range(name, &value, &want))
    }

    /// A whole number in `range`.
    pub(crate) fn count(
        &mut self,
        name: &str,
        range: RangeInclusive<usize>,
    ) -> Result<Option<usize>, ApiError> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let whole = value
            .as_u64()
            .or_else(|| value.as_f64().filter(|x| x.fract() == 0.0 && *x >= 0.0).map(|x| x as u64));
        match whole.and_then(|n| usize::try_from(n).ok()) {
            Some(n) if range.contains(&n) => Ok(Some(n)),
            _ if !value.is_number() => Err(wrong_type(name, "an integer", &value)),
            _ => {
                let want = match *range.end() {
                    usize::MAX => format!("an integer of at least {}", range.start()),
                    end => format!("an integer from {} to {end}", range.start()),
                };
                Err(out_of_range(name, &value, &want))
            }
        }
    }

    /// A string, or a list of at most `most` strings that are not empty.
    pub(crate) fn strings(&mut self, name: &str, most: usize) -> Result<Vec<String>, ApiError> {
        let want = "a string or a list of strings that are not empty";
        let texts = match self.take(name) {
            None => return Ok(Vec::new()),
            Some(Value::String(text)) if !text.is_empty() => vec![text],
            Some(Value::Array(list)) => {
                let texts = list.iter().map(|one| one.as_str().filter(|text| !text.is_empty()));
                let texts: Option<Vec<String>> = texts.map(|text| text.map(str::to_owned)).collect();
                texts.ok_or_else(|| wrong_type(name, want, &Value::Array(list)))?
            }
            Some(other) => return Err(wrong_type(name, want, &other)),
        };
        if texts.len() > most {
            let message = format!("`{name}` has {} strings: it can have {most}.", texts.len());
            return Err(ApiError::field(name, "invalid_value", message));
        }
        Ok(texts)
    }

    /// Drops fields that change no answer.
    pub(crate) fn ignore(&mut self, names: &[&str]) {
        names.iter().for_each(|name| {
            self.left.remove(*name);
        });
    }

    /// Refuses a field with any value but one that changes nothing.
    pub(crate) fn only(&mut self, name: &str, harmless: &[Value], advice: &str) -> Result<(), ApiError> {
        match self.take(name) {
            Some(value) if !harmless.contains(&value) => {
                let message = format!("`{name}` is not supported: {advice}");
                Err(ApiError::field(name, "unsupported_parameter", message))
            }
            _ => Ok(()),
        }
    }

    /// Refuses fields that nobody took: they could change the answer.
    pub(crate) fn finish(self) -> Result<(), ApiError> {
        match self.left.into_iter().find(|(_, value)| !value.is_null()) {
            None => Ok(()),
            Some((name, _)) => {
                let message = format!("Unrecognized request argument: `{name}`. Leave it out.");
                Err(ApiError::field(&name, "unknown_parameter", message))
            }
        }
    }
}

/// A list of tokens.
pub(crate) fn token_ids(value: &Value) -> Option<Vec<u32>> {
    value.as_array()?.iter().map(|id| id.as_u64().and_then(|id| u32::try_from(id).ok())).collect()
}

/// A field of another type than it must have.
pub(crate) fn wrong_type(name: &str, want: &str, got: &Value) -> ApiError {
    let message = format!("`{name}` is {}: it must be {want}.", kind(got));
    ApiError::field(name, "invalid_type", message)
}

fn out_of_range(name: &str, got: &Value, want: &str) -> ApiError {
    ApiError::field(name, "invalid_value", format!("`{name}` is {got}: it must be {want}."))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(text) if text.is_empty() => "an empty string",
        Value::String(_) => "a string",
        Value::Array(list) if list.is_empty() => "an empty list",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
