//! The fields of a request for the continuation of texts.

use super::fields::{Fields, token_ids, wrong_type};
use crate::error::ApiError;
use serde_json::{Value, json};

/// The most likeliest tokens in a token's place.
const TOP: usize = 5;

/// Tokens, if nobody says how many.
const TOKENS: usize = 16;

/// A text to continue.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Prompt {
    Text(String),
    Tokens(Vec<u32>),
}

/// The texts.
pub(super) fn take(fields: &mut Fields) -> Result<Vec<Prompt>, ApiError> {
    let prompts = prompts(fields)?;
    fields.only("echo", &[json!(false)], "put the prompt before the answer yourself.")?;
    fields.only("suffix", &[json!("")], "the model continues texts. Leave it out.")?;
    fields.only("best_of", &[json!(1)], "use `n`, and choose yourself.")?;
    Ok(prompts)
}

fn prompts(fields: &mut Fields) -> Result<Vec<Prompt>, ApiError> {
    let name = "prompt";
    let want = "a string, a list of strings, a list of tokens' ids, or a list of these";
    let missing = || {
        ApiError::field(
            name,
            "missing_required_parameter",
            format!("`{name}` is missing: it must be {want}."),
        )
    };
    let value = fields.take(name).ok_or_else(missing)?;
    let list = match value {
        Value::String(text) => return Ok(vec![Prompt::Text(text)]),
        Value::Array(list) if !list.is_empty() => list,
        other => return Err(wrong_type(name, want, &other)),
    };
    let value = Value::Array(list);
    if let Some(tokens) = token_ids(&value) {
        return Ok(vec![Prompt::Tokens(tokens)]);
    }
    let one = |value: &Value| match value {
        Value::String(text) => Some(Prompt::Text(text.clone())),
        Value::Array(list) if !list.is_empty() => token_ids(value).map(Prompt::Tokens),
        _ => None,
    };
    let prompts: Option<Vec<Prompt>> = value.as_array().into_iter().flatten().map(one).collect();
    prompts.ok_or_else(|| wrong_type(name, want, &value))
}

/// The most tokens of a text.
pub(super) fn tokens(fields: &mut Fields) -> Result<Option<usize>, ApiError> {
    Ok(Some(fields.count("max_tokens", 1..=usize::MAX)?.unwrap_or(TOKENS)))
}

/// `logprobs`: a number here.
pub(super) fn logprobs(fields: &mut Fields) -> Result<Option<usize>, ApiError> {
    fields.count("logprobs", 0..=TOP)
}
