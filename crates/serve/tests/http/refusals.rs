//! What is refused, and how.

use crate::client::{ask, begin, finish, get, post};
use crate::parrot::{LIMITS, Server};
use serde_json::json;
use serve::Limits;
use std::time::Duration;

const CHAT: &str = "/v1/chat/completions";
const TEXT: &str = "/v1/completions";
const JSON: (&str, &str) = ("Content-Type", "application/json");

#[test]
fn errors_have_openais_form() {
    let server = Server::new(LIMITS, None);
    let to = server.address;
    let send = |method: &str, path: &str, body: &[u8]| {
        finish(begin(to, method, path, &[JSON], body)).expect("an answer")
    };
    let kind = "invalid_request_error".to_owned();
    let null = json!(null);
    let text = |body: serde_json::Value| post(to, TEXT, &body).error();
    let of =
        |status: u16, param: serde_json::Value, code: &str| (status, kind.clone(), param, code.to_owned());
    assert_eq!(send("GET", "/v2/models", b"").error(), of(404, null.clone(), "unknown_url"));
    let answer = send("GET", CHAT, b"");
    assert_eq!(answer.error(), of(405, null.clone(), "method_not_allowed"));
    assert_eq!(answer.header("allow"), Some("POST"));
    assert_eq!(send("POST", "/v1/models", b"{}").header("allow"), Some("GET"));
    for size in [10_001, 10_000_000] {
        assert_eq!(send("POST", CHAT, &vec![b' '; size]).error(), of(413, null.clone(), "request_too_large"));
    }
    let patient = begin(to, "POST", CHAT, &[JSON, ("Expect", "100-continue")], &[b' '; 10_001]);
    assert_eq!(finish(patient).expect("an answer").status, 413);
    let plain = finish(begin(to, "POST", CHAT, &[("Content-Type", "text/plain")], b"{}")).expect("an answer");
    assert_eq!(plain.error(), of(415, null, "unsupported_media_type"));
    let malformed = send("POST", CHAT, b"{\"model\": ").json();
    assert!(malformed["error"]["message"].as_str().expect("a message").contains("not JSON"), "{malformed}");
    assert_eq!(text(json!({ "model": "crow", "prompt": "a" })), of(404, json!("model"), "model_not_found"));
    assert_eq!(text(json!({ "model": "parrot", "prompt": "" })), of(400, json!("prompt"), "invalid_prompt"));
    assert_eq!(
        text(json!({ "model": "parrot", "prompt": [256] })),
        of(400, json!("prompt"), "invalid_value")
    );
    let bias = json!({ "model": "parrot", "prompt": "a", "logit_bias": {"256": 1} });
    assert_eq!(text(bias), of(400, json!("logit_bias"), "invalid_value"));
    let long = json!({ "model": "parrot", "prompt": "a", "max_tokens": 100_000_000 });
    assert_eq!(text(long), of(400, json!("prompt"), "context_length_exceeded"));
    let many = json!({ "model": "parrot", "prompt": "a", "n": 45 });
    assert_eq!(text(many), of(400, json!("n"), "invalid_value"));
    let unknown = json!({ "model": "parrot", "prompt": "a", "mirostat": 1 });
    assert_eq!(text(unknown), of(400, json!("mirostat"), "unknown_parameter"));
    let chat = json!({ "model": "parrot", "messages": [{"role": "user", "content": "no chat"}] });
    assert_eq!(post(to, CHAT, &chat).error(), of(400, json!("messages"), "invalid_prompt"));
    server.end().unwrap();
}

#[test]
fn who_has_not_the_key_gets_nothing() {
    let server = Server::new(LIMITS, Some("secret"));
    let to = server.address;
    let with = |key: &str| {
        finish(begin(to, "GET", "/v1/models", &[("Authorization", key)], b"")).expect("an answer")
    };
    assert_eq!(get(to, "/health").status, 200);
    for answer in
        [get(to, "/v1/models"), with("Bearer secre"), with("Bearer secret2"), with("secret"), with("")]
    {
        assert_eq!((answer.status, answer.error().3.as_str()), (401, "invalid_api_key"));
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    }
    // What is there is not told either.
    assert_eq!(get(to, "/v1/nothing").status, 401);
    assert_eq!(with("Bearer secret").status, 200);
    assert_eq!(with("bearer  secret").status, 200);
    server.end().unwrap();
}

#[test]
fn a_full_queue_says_when_to_try_again() {
    let server = Server::new(Limits { slots: 1, waiting: 1, ..LIMITS }, None);
    server.shared.is_held.store(true, std::sync::atomic::Ordering::SeqCst);
    let body = json!({ "model": "parrot", "prompt": "abc", "max_tokens": 3 });
    let first = ask(server.address, TEXT, &body);
    server.wait("the first is begun", |s| s.open.load(std::sync::atomic::Ordering::SeqCst) == 1);
    let second = ask(server.address, TEXT, &body);
    let count = || get(server.address, "/health").json()["texts"].as_u64();
    server.wait("the second waits", |_| count() == Some(2));
    let third = post(server.address, TEXT, &body);
    assert_eq!(third.error().1, "rate_limit_error");
    assert_eq!(third.status, 429);
    let after: u64 = third.header("retry-after").expect("a time").parse().expect("seconds");
    assert!((1..=60).contains(&after));
    server.shared.is_held.store(false, std::sync::atomic::Ordering::SeqCst);
    for stream in [first, second] {
        assert_eq!(finish(stream).expect("an answer").json()["choices"][0]["text"], "abc");
    }
    server.end().unwrap();
}

#[test]
fn an_answer_that_takes_too_long_is_broken_off() {
    let server = Server::new(Limits { timeout: Duration::from_millis(50), ..LIMITS }, None);
    let mut body = json!({ "model": "parrot", "prompt": "abc", "max_tokens": 90_000_000 });
    let answer = post(server.address, TEXT, &body);
    assert_eq!((answer.status, answer.error().3.as_str()), (504, "timeout"));
    body["stream"] = json!(true);
    let events = post(server.address, TEXT, &body).body;
    assert!(events.contains("\"code\":\"timeout\"") && !events.contains("[DONE]"));
    server.wait("no text is open", |s| s.open.load(std::sync::atomic::Ordering::SeqCst) == 0);
    server.end().unwrap();
}
