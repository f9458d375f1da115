//! Errors in OpenAI's form.

use serde_json::{Value, json};

/// An error that the client gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiError {
    /// The status of HTTP.
    pub(crate) status: u16,
    kind: &'static str,
    pub(crate) message: String,
    param: Option<String>,
    code: Option<&'static str>,
    /// A header that belongs to it.
    pub(crate) header: Option<Box<(&'static str, String)>>,
}

/// The type of errors that a client can mend.
const REQUEST: &str = "invalid_request_error";

impl ApiError {
    fn new(status: u16, kind: &'static str, message: impl Into<String>) -> ApiError {
        ApiError { status, kind, message: message.into(), param: None, code: None, header: None }
    }

    /// A request that is wrong as a whole.
    pub(crate) fn request(message: impl Into<String>) -> ApiError {
        ApiError::new(400, REQUEST, message)
    }

    /// A field that is wrong.
    pub(crate) fn field(name: &str, code: &'static str, message: impl Into<String>) -> ApiError {
        ApiError { param: Some(name.to_owned()), code: Some(code), ..ApiError::request(message) }
    }

    /// A prompt for which the model has no room.
    pub(crate) fn context(name: &str, prompt: usize, tokens: usize, context: usize) -> ApiError {
        let wanted = match tokens {
            0 | 1 => String::new(),
            n => format!(" and {n} were asked for in the completion"),
        };
        let message = format!(
            "This model's maximum context length is {context} tokens, but the prompt has {prompt}{wanted}. Shorten the \
             messages or the completion."
        );
        ApiError::field(name, "context_length_exceeded", message)
    }

    /// No model of that name.
    pub(crate) fn model(got: &str, have: &str) -> ApiError {
        let message = format!("The model `{got}` does not exist; this server has `{have}`.");
        ApiError { status: 404, ..ApiError::field("model", "model_not_found", message) }
    }

    /// Nothing is at this path.
    pub(crate) fn path(method: &str, path: &str) -> ApiError {
        let message = format!(
            "Unknown request URL: {method} {path}. There are POST /v1/chat/completions, POST /v1/completions, GET /v1/models \
             and GET /health."
        );
        ApiError { code: Some("unknown_url"), ..ApiError::new(404, REQUEST, message) }
    }

    /// Something is at this path, but not for this method.
    pub(crate) fn method(method: &str, path: &str, allowed: &'static str) -> ApiError {
        let message = format!("Not allowed: {method} {path}. Use {allowed}.");
        let header = Some(Box::new(("allow", allowed.to_owned())));
        ApiError { code: Some("method_not_allowed"), header, ..ApiError::new(405, REQUEST, message) }
    }

    /// A body of another type than JSON.
    pub(crate) fn media_type(got: &str) -> ApiError {
        let message = format!(
            "The content type is `{got}`: send JSON, with the header `Content-Type: application/json`."
        );
        ApiError { code: Some("unsupported_media_type"), ..ApiError::new(415, REQUEST, message) }
    }

    /// No key, or a wrong one.
    pub(crate) fn key(is_given: bool) -> ApiError {
        let message = match is_given {
            true => "The API key is not this server's.",
            false => "There is no API key: send it in the header `Authorization: Bearer KEY`.",
        };
        let header = Some(Box::new(("www-authenticate", "Bearer".to_owned())));
        ApiError { code: Some("invalid_api_key"), header, ..ApiError::new(401, REQUEST, message) }
    }

    /// A body above the limit.
    pub(crate) fn body(limit: usize) -> ApiError {
        let message = format!("The body is larger than {limit} bytes, the most that this server reads.");
        ApiError { code: Some("request_too_large"), ..ApiError::new(413, REQUEST, message) }
    }

    /// A body that did not come in time.
    pub(crate) fn slow_body(seconds: u64) -> ApiError {
        let message = format!("The body did not arrive within {seconds} s.");
        ApiError { code: Some("request_timeout"), ..ApiError::new(408, REQUEST, message) }
    }

    /// Too many texts wait.
    pub(crate) fn busy(waiting: usize, seconds: u64) -> ApiError {
        let message =
            format!("The queue is full: {waiting} texts are under way or wait. Try again in {seconds} s.");
        let header = Some(Box::new(("retry-after", seconds.to_string())));
        ApiError {
            code: Some("rate_limit_exceeded"),
            header,
            ..ApiError::new(429, "rate_limit_error", message)
        }
    }

    /// The server is about to end.
    pub(crate) fn stopping() -> ApiError {
        let message = "The server is about to stop and takes no new requests.";
        ApiError { code: Some("server_stopping"), ..ApiError::new(503, "server_error", message) }
    }

    /// An answer that took too long.
    pub(crate) fn timeout(seconds: u64) -> ApiError {
        let message = format!("The answer was not complete after {seconds} s, this server's limit.");
        ApiError { code: Some("timeout"), ..ApiError::new(504, "server_error", message) }
    }

    /// The model failed.
    pub(crate) fn server(message: impl Into<String>) -> ApiError {
        ApiError { code: Some("internal_error"), ..ApiError::new(500, "server_error", message) }
    }

    /// The body.
    pub(crate) fn json(&self) -> Value {
        json!({ "error": {
            "message": self.message, "type": self.kind, "param": self.param, "code": self.code,
        } })
    }
}
