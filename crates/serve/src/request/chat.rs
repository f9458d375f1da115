//! The fields of a request for an answer in a conversation.

use super::fields::{Fields, wrong_type};
use crate::error::ApiError;
use crate::model::Chat;
use serde_json::{Map, Value, json};

/// The most likeliest tokens in a token's place.
const TOP: usize = 20;

/// The conversation.
pub(super) fn take(fields: &mut Fields) -> Result<Chat, ApiError> {
    let name = "messages";
    let want = "a list of messages, at least one";
    let missing = || {
        ApiError::field(
            name,
            "missing_required_parameter",
            format!("`{name}` is missing: it must be {want}."),
        )
    };
    let messages = match fields.take(name).ok_or_else(missing)? {
        Value::Array(list) if !list.is_empty() => list,
        other => return Err(wrong_type(name, want, &other)),
    };
    let messages = messages.into_iter().enumerate().map(|(i, one)| message(&format!("{name}[{i}]"), one));
    let mut chat = Chat { messages: messages.collect::<Result<_, _>>()?, ..Chat::default() };
    chat.tools = match fields.take("tools") {
        None => None,
        Some(Value::Array(list)) if list.is_empty() => None,
        Some(Value::Array(list)) if list.iter().all(Value::is_object) => Some(Value::Array(list)),
        Some(other) => return Err(wrong_type("tools", "a list of objects", &other)),
    };
    match fields.take("tool_choice") {
        None => {}
        Some(choice) if choice == "auto" => {}
        Some(choice) if choice == "none" => chat.tools = None,
        Some(choice) => {
            let message = format!(
                "`tool_choice` is {choice}: the model cannot be made to call a tool. Use \"auto\" or \"none\"."
            );
            return Err(ApiError::field("tool_choice", "unsupported_parameter", message));
        }
    }
    chat.variables = match fields.take("chat_template_kwargs") {
        None => Map::new(),
        Some(Value::Object(variables)) => variables,
        Some(other) => return Err(wrong_type("chat_template_kwargs", "an object", &other)),
    };
    fields.only("modalities", &[json!(["text"])], "answers are text. Leave it out.")?;
    for (name, advice) in [
        ("functions", "use `tools`."),
        ("function_call", "use `tool_choice`."),
        ("audio", "answers are text. Leave it out."),
        ("web_search_options", "this server has no network. Leave it out."),
        ("reasoning_effort", "give the template's own variable in `chat_template_kwargs`."),
        ("verbosity", "say it in a message."),
    ] {
        fields.only(name, &[], advice)?;
    }
    Ok(chat)
}

/// A message as templates read it: its content is a string or null, arguments of calls are objects.
fn message(name: &str, message: Value) -> Result<Value, ApiError> {
    let Value::Object(mut message) = message else { return Err(wrong_type(name, "an object", &message)) };
    match message.get("role") {
        // The newer name of the same role, which templates do not know.
        Some(role) if role == "developer" => drop(message.insert("role".to_owned(), json!("system"))),
        Some(Value::String(_)) => {}
        other => {
            return Err(wrong_type(&format!("{name}.role"), "a string", other.unwrap_or(&Value::Null)));
        }
    }
    let field = format!("{name}.content");
    let content = match message.remove("content").unwrap_or_default() {
        Value::String(text) => Value::String(text),
        Value::Null if message.get("role").is_some_and(|role| role == "assistant") => Value::Null,
        Value::Array(parts) => {
            Value::String(parts.iter().map(|part| text_of(&field, part)).collect::<Result<_, _>>()?)
        }
        other => return Err(wrong_type(&field, "a string or a list of parts", &other)),
    };
    message.insert("content".to_owned(), content);
    if let Some(calls) = message.get_mut("tool_calls").and_then(Value::as_array_mut) {
        calls.iter_mut().for_each(parse_arguments);
    }
    Ok(Value::Object(message))
}

/// The text of a part of a content.
fn text_of<'v>(field: &str, part: &'v Value) -> Result<&'v str, ApiError> {
    match (part["type"].as_str(), part["text"].as_str()) {
        (Some("text"), Some(text)) => Ok(text),
        (Some(kind), _) if kind != "text" => {
            let message =
                format!("`{field}` has a part of type `{kind}`: the model reads only parts of type `text`.");
            Err(ApiError::field(field, "unsupported_content", message))
        }
        _ => Err(wrong_type(field, "a string or a list of parts with `type` and `text`", part)),
    }
}

/// Arguments come as the text of an object; templates print objects.
fn parse_arguments(call: &mut Value) {
    if let Some(arguments) = call.pointer_mut("/function/arguments")
        && let Some(parsed) = arguments.as_str().and_then(|text| serde_json::from_str(text).ok())
        && matches!(parsed, Value::Object(_))
    {
        *arguments = parsed;
    }
}

/// The most tokens of an answer.
pub(super) fn tokens(fields: &mut Fields) -> Result<Option<usize>, ApiError> {
    let older = fields.count("max_tokens", 1..=usize::MAX)?;
    let newer = fields.count("max_completion_tokens", 1..=usize::MAX)?;
    match (older, newer) {
        (Some(a), Some(b)) if a != b => {
            let message = format!("`max_tokens` is {a}, `max_completion_tokens` is {b}: give one of them.");
            Err(ApiError::field("max_tokens", "invalid_value", message))
        }
        (older, newer) => Ok(newer.or(older)),
    }
}

/// `logprobs` and `top_logprobs`.
pub(super) fn logprobs(fields: &mut Fields) -> Result<Option<usize>, ApiError> {
    let (wanted, top) = (fields.flag("logprobs")?, fields.count("top_logprobs", 0..=TOP)?);
    match (wanted, top) {
        (false, Some(1..)) => {
            let message = "`top_logprobs` needs `logprobs`: set that to true.";
            Err(ApiError::field("top_logprobs", "invalid_value", message))
        }
        (false, _) => Ok(None),
        (true, top) => Ok(Some(top.unwrap_or(0))),
    }
}
