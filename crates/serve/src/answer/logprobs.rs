//! The probabilities of tokens, in OpenAI's two forms.

use crate::model::{Likely, Token};
use serde_json::{Map, Value, json};

/// The logarithm of probability 0, for which JSON has no number.
const NEVER: f64 = -9999.0;

fn logprob(one: &Likely) -> f64 {
    one.logprob.max(NEVER)
}

fn name(one: &Likely) -> String {
    String::from_utf8_lossy(&one.bytes).into_owned()
}

/// The characters that begin in `bytes`.
pub(super) fn characters(bytes: &[u8]) -> usize {
    bytes.iter().filter(|&byte| byte & 0xc0 != 0x80).count()
}

/// The form of chats.
pub(super) fn of_chat(tokens: &[Token]) -> Value {
    let one = |one: &Likely| json!({ "token": name(one), "logprob": logprob(one), "bytes": one.bytes });
    let content = tokens.iter().filter_map(|token| {
        let mut entry = one(token.own.as_ref()?);
        entry["top_logprobs"] = token.top.iter().map(one).collect();
        Some(entry)
    });
    json!({ "content": content.collect::<Vec<_>>(), "refusal": null })
}

/// The form of texts; the first token begins after `offset` characters.
pub(super) fn of_text(tokens: &[Token], mut offset: usize) -> Value {
    let (mut names, mut logprobs, mut tops, mut offsets) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for token in tokens {
        let Some(own) = &token.own else { continue };
        names.push(json!(name(own)));
        logprobs.push(json!(logprob(own)));
        offsets.push(json!(offset));
        offset += characters(&own.bytes);
        let top = token.top.iter().chain([own]).map(|one| (name(one), json!(logprob(one))));
        tops.push(if token.top.is_empty() { Value::Null } else { Value::Object(top.collect::<Map<_, _>>()) });
    }
    let tops = if tops.iter().all(Value::is_null) { Value::Null } else { Value::Array(tops) };
    json!({ "tokens": names, "token_logprobs": logprobs, "top_logprobs": tops, "text_offset": offsets })
}
