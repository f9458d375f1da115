//! Requests, checked: what is asked, and how the answer is to look.

mod chat;
mod fields;
mod text;

use crate::error::ApiError;
use crate::model::{Chat, Sampling, TextOptions};
use fields::{Fields, token_ids, wrong_type};
use serde_json::{Value, json};

pub(crate) use text::Prompt;

/// A request for texts.
#[derive(Debug)]
pub(crate) struct Request {
    /// The name of the model that is asked.
    pub(crate) model: String,
    pub(crate) input: Input,
    /// Texts for each prompt.
    pub(crate) n: usize,
    pub(crate) options: TextOptions,
    /// Whether the answer comes in events.
    pub(crate) stream: bool,
    /// Whether the last event says how many tokens there were.
    pub(crate) include_usage: bool,
}

/// What is to be continued.
#[derive(Debug)]
pub(crate) enum Input {
    Chat(Chat),
    Prompts(Vec<Prompt>),
}

/// Which of the two requests it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Chat,
    Text,
}

/// Fields that say who asks, where answers are kept, or how soon they are wanted.
const HARMLESS: [&str; 9] = [
    "user",
    "store",
    "metadata",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "prediction",
    "parallel_tool_calls",
];

/// The most stop strings.
const STOPS: usize = 16;

/// The largest penalty and bias.
const PENALTY: f64 = 2.0;
const BIAS: f64 = 100.0;

impl Request {
    /// Reads the request in `body`; `seed` is for those that name none.
    pub(crate) fn read(endpoint: Endpoint, body: &[u8], seed: u64) -> Result<Request, ApiError> {
        let mut fields = Fields::of(body)?;
        let missing = || {
            ApiError::field(
                "model",
                "missing_required_parameter",
                "`model` is missing: GET /v1/models names it.",
            )
        };
        let model = fields.text("model")?.ok_or_else(missing)?;
        let stream = fields.flag("stream")?;
        let include_usage = stream_options(&mut fields, stream)?;
        let n = fields.count("n", 1..=usize::MAX)?.unwrap_or(1);
        let (input, tokens, logprobs) = match endpoint {
            Endpoint::Chat => {
                let chat = chat::take(&mut fields)?;
                (Input::Chat(chat), chat::tokens(&mut fields)?, chat::logprobs(&mut fields)?)
            }
            Endpoint::Text => {
                let prompts = text::take(&mut fields)?;
                (Input::Prompts(prompts), text::tokens(&mut fields)?, text::logprobs(&mut fields)?)
            }
        };
        let sampling = sampling(&mut fields, seed)?;
        let options = TextOptions {
            tokens,
            sampling,
            stops: fields.strings("stop", STOPS)?,
            stop_ids: stop_ids(&mut fields)?,
            ignore_end: fields.flag("ignore_eos")?,
            logprobs,
        };
        fields.ignore(&HARMLESS);
        fields.only("response_format", &[json!({"type": "text"})], "answers are text. Leave it out.")?;
        fields.finish()?;
        Ok(Request { model, input, n, options, stream, include_usage })
    }
}

fn stream_options(fields: &mut Fields, stream: bool) -> Result<bool, ApiError> {
    let name = "stream_options";
    let Some(options) = fields.take(name) else { return Ok(false) };
    let Value::Object(options) = options else { return Err(wrong_type(name, "an object", &options)) };
    if !stream {
        let message = "`stream_options` is only for answers in events: set `stream` to true.";
        return Err(ApiError::field(name, "invalid_value", message));
    }
    let mut usage = false;
    for (key, value) in options {
        match (key.as_str(), value) {
            (_, Value::Null) => {}
            ("include_usage", Value::Bool(flag)) => usage = flag,
            // Padding against listeners; it changes no text.
            ("include_obfuscation", Value::Bool(_)) => {}
            ("include_usage" | "include_obfuscation", other) => {
                return Err(wrong_type(&format!("{name}.{key}"), "a boolean", &other));
            }
            (key, _) => {
                let field = format!("{name}.{key}");
                let message = format!("Unrecognized request argument: `{field}`. Leave it out.");
                return Err(ApiError::field(&field, "unknown_parameter", message));
            }
        }
    }
    Ok(usage)
}

fn sampling(fields: &mut Fields, seed: u64) -> Result<Sampling, ApiError> {
    let penalty = -PENALTY..=PENALTY;
    let seed = match fields.take("seed") {
        None => seed,
        Some(value) => match (value.as_u64(), value.as_i64()) {
            (Some(seed), _) => seed,
            (None, Some(seed)) => seed as u64,
            (None, None) => return Err(wrong_type("seed", "an integer", &value)),
        },
    };
    let top_p = fields.number("top_p", 0.0..=1.0)?.unwrap_or(1.0);
    Ok(Sampling {
        temperature: fields.number("temperature", 0.0..=2.0)?.unwrap_or(1.0),
        // 0 leaves the likeliest token, as the smallest share does.
        top_p: top_p.max(f64::MIN_POSITIVE),
        top_k: fields.count("top_k", 0..=usize::MAX)?.unwrap_or(0),
        min_p: fields.number("min_p", 0.0..=1.0)?.unwrap_or(0.0),
        repetition_penalty: fields.number("repetition_penalty", 0.01..=100.0)?.unwrap_or(1.0),
        presence_penalty: fields.number("presence_penalty", penalty.clone())?.unwrap_or(0.0),
        frequency_penalty: fields.number("frequency_penalty", penalty)?.unwrap_or(0.0),
        logit_bias: logit_bias(fields)?,
        seed,
    })
}

fn logit_bias(fields: &mut Fields) -> Result<Vec<(u32, f32)>, ApiError> {
    let name = "logit_bias";
    let Some(value) = fields.take(name) else { return Ok(Vec::new()) };
    let want = "an object of tokens' ids and numbers from -100 to 100";
    let Value::Object(biases) = &value else { return Err(wrong_type(name, want, &value)) };
    let read = biases.iter().map(|(id, bias)| {
        let bias = bias.as_f64().filter(|bias| bias.abs() <= BIAS)?;
        Some((id.parse().ok()?, bias as f32))
    });
    let message = || ApiError::field(name, "invalid_value", format!("`{name}` must be {want}."));
    read.collect::<Option<_>>().ok_or_else(message)
}

fn stop_ids(fields: &mut Fields) -> Result<Vec<u32>, ApiError> {
    let name = "stop_token_ids";
    let Some(value) = fields.take(name) else { return Ok(Vec::new()) };
    token_ids(&value).ok_or_else(|| wrong_type(name, "a list of tokens' ids", &value))
}

#[cfg(test)]
mod tests;
