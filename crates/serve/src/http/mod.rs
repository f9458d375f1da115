//! HTTP: who may ask, what is where, and how much is read.

mod body;
mod record;
mod texts;

use crate::error::ApiError;
use crate::request::Endpoint;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HeaderMap, HeaderValue,
};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

pub(crate) use body::Body;
use record::Record;
pub(crate) use record::State;
use texts::Found;

/// How long a body may take.
const BODY: Duration = Duration::from_secs(30);

/// Bytes above the limit that are read and dropped.
const SURPLUS: usize = 64 << 20;

/// Answers a request.
pub(crate) async fn answer(
    state: Arc<State>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let mut record = Record::new(&state, request.method().as_str(), request.uri().path());
    let (response, closes) = match route(&state, request, &mut record).await {
        Ok(Found::Value(value)) => (whole(StatusCode::OK, &value, record), false),
        Ok(Found::Events(events)) => (body::events(events, record), false),
        Err(error) => {
            // What is left of the body is not read.
            let closes = matches!(error.status, 408 | 413 | 415 | 401);
            (failure(&error, record), closes)
        }
    };
    let mut response = response;
    if closes || state.is_stopping.load(SeqCst) {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

/// The number of the first request: that of no earlier run of the server.
pub(crate) fn first_number() -> u64 {
    record::now().1
}

async fn route(
    state: &Arc<State>,
    request: Request<Incoming>,
    record: &mut Record,
) -> Result<Found, ApiError> {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let is_stopping = state.is_stopping.load(SeqCst);
    let reads = matches!(method, Method::GET | Method::HEAD);
    let wrong_method = |allowed| Err(ApiError::method(method.as_str(), &path, allowed));
    if path == "/health" {
        return match (reads, is_stopping) {
            (false, _) => wrong_method("GET"),
            (true, true) => Err(ApiError::stopping()),
            (true, false) => Ok(Found::Value(json!({ "status": "ok", "texts": state.queue.texts() }))),
        };
    }
    check_key(state, request.headers())?;
    let model = path.strip_prefix("/v1/models/");
    let endpoint = match path.as_str() {
        "/v1/chat/completions" => Some(Endpoint::Chat),
        "/v1/completions" => Some(Endpoint::Text),
        _ => None,
    };
    match (model, endpoint) {
        _ if path == "/v1/models" || model.is_some() => {
            if !reads {
                return wrong_method("GET");
            }
            let card = state.card();
            match model {
                None => Ok(Found::Value(json!({ "object": "list", "data": [card] }))),
                Some(name) if name == state.model.id => Ok(Found::Value(card)),
                Some(name) => Err(ApiError::model(name, &state.model.id)),
            }
        }
        (_, Some(endpoint)) => {
            if method != Method::POST {
                return wrong_method("POST");
            }
            if is_stopping {
                return Err(ApiError::stopping());
            }
            let body = read(state, request).await?;
            texts::answer(state, endpoint, body, record).await
        }
        _ => Err(ApiError::path(method.as_str(), &path)),
    }
}

/// Compares the key in a time that does not depend on where they differ.
fn check_key(state: &State, headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(key) = &state.key else { return Ok(()) };
    let given = headers.get(AUTHORIZATION).map(|value| value.as_bytes());
    let token = given.and_then(|value| {
        let (scheme, token) = value.split_at_checked(7)?;
        scheme.eq_ignore_ascii_case(b"bearer ").then_some(token.trim_ascii())
    });
    let same = token.is_some_and(|token| {
        let differs = token.iter().zip(key.as_bytes()).fold(0, |differs, (a, b)| differs | (a ^ b));
        token.len() == key.len() && std::hint::black_box(differs) == 0
    });
    if same { Ok(()) } else { Err(ApiError::key(given.is_some())) }
}

/// Reads a body of JSON, up to the limit.
async fn read(state: &State, request: Request<Incoming>) -> Result<Vec<u8>, ApiError> {
    let limit = state.limits.body;
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    // A page of another site can send other types without asking first.
    let media = header(CONTENT_TYPE).unwrap_or("none");
    let essence = media.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        return Err(ApiError::media_type(media));
    }
    let length = header(CONTENT_LENGTH).and_then(|length| length.parse::<usize>().ok()).unwrap_or(0);
    let asks_first = request.headers().contains_key(EXPECT);
    if length > limit && (asks_first || length - limit > SURPLUS) {
        return Err(ApiError::body(limit));
    }
    match tokio::time::timeout(BODY, collect(request.into_body(), limit)).await {
        Err(_) => Err(ApiError::slow_body(BODY.as_secs())),
        Ok(read) => read,
    }
}

/// All of a body. Of one that is too large, the rest is read too, up to a limit: a client that still sends does not see the answer.
async fn collect(mut body: Incoming, limit: usize) -> Result<Vec<u8>, ApiError> {
    let (mut kept, mut surplus) = (Vec::new(), 0);
    while surplus <= SURPLUS
        && let Some(frame) = body.frame().await
    {
        let frame = frame.map_err(|e| ApiError::request(format!("The body cannot be read: {e}.")))?;
        let Some(data) = frame.data_ref() else { continue };
        if surplus == 0 && kept.len() + data.len() <= limit {
            kept.extend_from_slice(data);
        } else {
            surplus += data.len();
        }
    }
    if surplus > 0 { Err(ApiError::body(limit)) } else { Ok(kept) }
}

/// An error as an answer.
fn failure(error: &ApiError, mut record: Record) -> Response<Body> {
    record.failed(error);
    let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = whole(status, &error.json(), record);
    if let Some((name, value)) = error.header.as_deref()
        && let Ok(value) = HeaderValue::from_str(value)
    {
        response.headers_mut().insert(*name, value);
    }
    response
}

fn whole(status: StatusCode, value: &Value, mut record: Record) -> Response<Body> {
    record.answered(status.as_u16());
    let id = record.id();
    let mut response = Response::new(Body::whole(value.to_string(), record));
    *response.status_mut() = status;
    body::set_headers(response.headers_mut(), "application/json", &id);
    response
}
