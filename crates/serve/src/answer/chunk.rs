//! The parts of an answer in events.

use super::{Form, Texts};
use crate::model::{Finish, Piece};
use crate::request::Endpoint;
use serde_json::{Value, json};

impl Form {
    /// What comes before the pieces of text `index`.
    pub(crate) fn opening(&self, index: usize) -> Option<Value> {
        let choice = || {
            json!({
                "index": index,
                "delta": { "role": "assistant", "content": "", "refusal": null },
                "logprobs": null,
                "finish_reason": null,
            })
        };
        (self.endpoint == Endpoint::Chat).then(|| self.chunk(json!([choice()])))
    }

    /// The parts for a piece of text `index`, which `texts` does not have yet.
    pub(crate) fn parts(&self, index: usize, piece: &Piece, texts: &Texts) -> Vec<Value> {
        let mut parts = Vec::new();
        let has_logprobs = self.has_logprobs && piece.token.is_some();
        if !piece.text.is_empty() || has_logprobs {
            let logprobs = match has_logprobs {
                true => self.logprobs(piece.token.as_slice(), texts.characters(index)),
                false => Value::Null,
            };
            parts.push(self.part(index, &piece.text, logprobs));
        }
        parts.extend(piece.finish.map(|finish| self.end(index, finish)));
        parts
    }

    fn part(&self, index: usize, text: &str, logprobs: Value) -> Value {
        self.chunk(match self.endpoint {
            Endpoint::Chat => json!([{
                "index": index, "delta": { "content": text }, "logprobs": logprobs, "finish_reason": null,
            }]),
            Endpoint::Text => json!([{
                "index": index, "text": text, "logprobs": logprobs, "finish_reason": null,
            }]),
        })
    }

    fn end(&self, index: usize, finish: Finish) -> Value {
        let finish = finish.reason();
        self.chunk(match self.endpoint {
            Endpoint::Chat => json!([{
                "index": index, "delta": {}, "logprobs": null, "finish_reason": finish,
            }]),
            Endpoint::Text => json!([{
                "index": index, "text": "", "logprobs": null, "finish_reason": finish,
            }]),
        })
    }

    /// The last part, if usage was asked for.
    pub(crate) fn closing(&self, texts: &Texts) -> Option<Value> {
        self.include_usage.then(|| {
            let mut chunk = self.chunk(json!([]));
            chunk["usage"] = self.usage(texts.tokens());
            chunk
        })
    }

    fn chunk(&self, choices: Value) -> Value {
        let object = match self.endpoint {
            Endpoint::Chat => "chat.completion.chunk",
            Endpoint::Text => "text_completion",
        };
        let mut chunk = json!({
            "id": self.id,
            "object": object,
            "created": self.created,
            "model": self.model,
            "choices": choices,
        });
        if self.include_usage {
            chunk["usage"] = Value::Null;
        }
        chunk
    }
}
