//! Answers.

use crate::client::{get, post};
use crate::parrot::{LIMITS, Server};
use serde_json::{Value, json};
use serve::End;

const CHAT: &str = "/v1/chat/completions";
const TEXT: &str = "/v1/completions";

#[test]
fn models_and_health_are_told() {
    let server = Server::new(LIMITS, None);
    assert_eq!(get(server.address, "/health").json(), json!({ "status": "ok", "texts": 0 }));
    let list = get(server.address, "/v1/models").json();
    assert_eq!((&list["object"], &list["data"][0]["id"]), (&json!("list"), &json!("parrot")));
    assert_eq!(get(server.address, "/v1/models/parrot").json(), list["data"][0]);
    assert_eq!(get(server.address, "/v1/models/crow").error().3, "model_not_found");
    server.end().unwrap();
}

#[test]
fn a_chat_is_answered_in_openais_form() {
    let server = Server::new(LIMITS, None);
    let messages = json!([{"role": "system", "content": "ab"}, {"role": "user", "content": "c."}]);
    let answer = post(server.address, CHAT, &json!({ "model": "parrot", "messages": messages }));
    let json = answer.json();
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    assert_eq!(json["object"], "chat.completion");
    assert_eq!(
        json["choices"],
        json!([{
            "index": 0, "message": {"role": "assistant", "content": "abc", "refusal": null}, "logprobs": null,
            "finish_reason": "stop",
        }])
    );
    assert_eq!(json["usage"], json!({"prompt_tokens": 4, "completion_tokens": 3, "total_tokens": 7}));
    let ask = json!({ "model": "parrot", "messages": messages, "max_tokens": 2, "tools": [{}] });
    assert_eq!(post(server.address, CHAT, &ask).json()["choices"][0]["finish_reason"], "length");
    server.end().unwrap();
}

#[test]
fn events_say_what_a_whole_answer_says() {
    let server = Server::new(LIMITS, None);
    let chat = json!({
        "model": "parrot", "messages": [{"role": "user", "content": "hello "}], "max_tokens": 9, "n": 3,
        "logprobs": true, "top_logprobs": 2,
    });
    let text = json!({ "model": "parrot", "prompt": ["ab", "xyz"], "max_tokens": 5, "logprobs": 2 });
    for (path, mut body) in [(CHAT, chat), (TEXT, text)] {
        let whole = post(server.address, path, &body).json();
        body["stream"] = json!(true);
        body["stream_options"] = json!({"include_usage": true});
        let answer = post(server.address, path, &body);
        assert_eq!(answer.header("content-type"), Some("text/event-stream"));
        let mut events = answer.events();
        let last = events.pop().expect("usage");
        assert_eq!((&last["usage"], &last["choices"]), (&whole["usage"], &json!([])));
        let count = whole["choices"].as_array().expect("choices").len();
        let mut texts = vec![String::new(); count];
        let mut finish = vec![Value::Null; count];
        let mut logprobs: Vec<Vec<Value>> = vec![Vec::new(); count];
        let mut offsets: Vec<Vec<Value>> = vec![Vec::new(); count];
        for event in &events {
            assert!(event["usage"].is_null() && event["id"] == events[0]["id"], "{event}");
            let choice = &event["choices"][0];
            let i = choice["index"].as_u64().expect("an index") as usize;
            let piece = if path == CHAT { &choice["delta"]["content"] } else { &choice["text"] };
            texts[i].push_str(piece.as_str().unwrap_or_default());
            let of = if path == CHAT { "content" } else { "token_logprobs" };
            logprobs[i].extend(choice["logprobs"][of].as_array().into_iter().flatten().cloned());
            offsets[i].extend(choice["logprobs"]["text_offset"].as_array().into_iter().flatten().cloned());
            if !choice["finish_reason"].is_null() {
                finish[i] = choice["finish_reason"].clone();
            }
        }
        for (i, choice) in whole["choices"].as_array().expect("choices").iter().enumerate() {
            let text = if path == CHAT { &choice["message"]["content"] } else { &choice["text"] };
            assert_eq!((text, &choice["finish_reason"]), (&json!(texts[i]), &finish[i]));
            let all = if path == CHAT { "content" } else { "token_logprobs" };
            assert_eq!(choice["logprobs"][all], json!(logprobs[i]), "{path}");
            if path == TEXT {
                assert_eq!(choice["logprobs"]["text_offset"], json!(offsets[i]));
                assert_eq!(choice["logprobs"]["top_logprobs"][0].as_object().map(|top| top.len()), Some(2));
            }
        }
    }
    server.end().unwrap();
}

#[test]
fn a_text_that_fails_is_an_error_in_either_way() {
    let server = Server::new(LIMITS, None);
    let mut body = json!({ "model": "parrot", "prompt": "ab%", "max_tokens": 9 });
    assert_eq!(post(server.address, TEXT, &body).error().0, 500);
    body["stream"] = json!(true);
    let answer = post(server.address, TEXT, &body);
    assert_eq!(answer.status, 200);
    let last = answer.body.trim_end().rsplit("\n\n").next().expect("an event");
    let error: Value = serde_json::from_str(&last[6..]).expect("JSON");
    assert_eq!(error["error"]["message"], "The model cannot say this.");
    server.wait("both are logged", |s| s.entries.lock().unwrap().len() == 2);
    let entries = server.shared.entries.lock().unwrap().clone();
    assert_eq!((entries[0].status, entries[0].end), (500, End::Whole));
    assert_eq!((entries[1].status, entries[1].end, entries[1].completion_tokens), (200, End::Failed, 2));
    server.end().unwrap();
}
