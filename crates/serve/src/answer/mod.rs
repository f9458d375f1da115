//! Answers: whole, or in events.

mod chunk;
mod logprobs;

use crate::model::{Finish, Piece, Token};
use crate::request::Endpoint;
use serde_json::{Value, json};

/// What all parts of an answer have.
#[derive(Clone, Debug)]
pub(crate) struct Form {
    pub(crate) id: String,
    /// Seconds since 1970.
    pub(crate) created: u64,
    pub(crate) model: String,
    pub(crate) endpoint: Endpoint,
    pub(crate) has_logprobs: bool,
    pub(crate) include_usage: bool,
    pub(crate) prompt_tokens: usize,
}

/// A text so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Text {
    text: String,
    tokens: Vec<Token>,
    /// Tokens, whether kept or not.
    count: usize,
    /// Characters of all tokens.
    characters: usize,
    finish: Option<Finish>,
}

/// The texts of a request.
#[derive(Clone, Debug)]
pub(crate) struct Texts {
    texts: Vec<Text>,
    /// Whether texts and tokens are kept: they are not where they are sent as they come.
    is_kept: bool,
}

impl Texts {
    pub(crate) fn new(count: usize, is_kept: bool) -> Texts {
        Texts { texts: vec![Text::default(); count], is_kept }
    }

    /// Adds a piece to text `index`.
    pub(crate) fn add(&mut self, index: usize, piece: Piece) {
        let Some(text) = self.texts.get_mut(index) else { return };
        text.finish = piece.finish;
        text.count += usize::from(piece.token.is_some());
        if self.is_kept {
            text.text.push_str(&piece.text);
            text.tokens.extend(piece.token);
        } else if let Some(own) = piece.token.and_then(|token| token.own) {
            text.characters += logprobs::characters(&own.bytes);
        }
    }

    /// Whether all have ended.
    pub(crate) fn are_done(&self) -> bool {
        self.texts.iter().all(|text| text.finish.is_some())
    }

    /// Tokens of all.
    pub(crate) fn tokens(&self) -> usize {
        self.texts.iter().map(|text| text.count).sum()
    }

    /// Characters of the tokens of text `index`.
    fn characters(&self, index: usize) -> usize {
        self.texts.get(index).map_or(0, |text| text.characters)
    }
}

impl Form {
    /// The whole answer.
    pub(crate) fn whole(&self, texts: &Texts) -> Value {
        let choices: Vec<Value> =
            texts.texts.iter().enumerate().map(|(i, text)| self.choice(i, text)).collect();
        json!({
            "id": self.id,
            "object": match self.endpoint {
                Endpoint::Chat => "chat.completion",
                Endpoint::Text => "text_completion",
            },
            "created": self.created,
            "model": self.model,
            "choices": choices,
            "usage": self.usage(texts.tokens()),
        })
    }

    fn choice(&self, index: usize, text: &Text) -> Value {
        let finish = text.finish.map(Finish::reason);
        let logprobs = self.logprobs(&text.tokens, 0);
        match self.endpoint {
            Endpoint::Chat => json!({
                "index": index,
                "message": { "role": "assistant", "content": text.text, "refusal": null },
                "logprobs": logprobs,
                "finish_reason": finish,
            }),
            Endpoint::Text => json!({
                "index": index, "text": text.text, "logprobs": logprobs, "finish_reason": finish,
            }),
        }
    }

    fn usage(&self, completion: usize) -> Value {
        let prompt = self.prompt_tokens;
        json!({ "prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion })
    }

    /// The probabilities of tokens, the first of which begins after `characters` characters.
    fn logprobs(&self, tokens: &[Token], characters: usize) -> Value {
        match (self.has_logprobs, self.endpoint) {
            (false, _) => Value::Null,
            (true, Endpoint::Chat) => logprobs::of_chat(tokens),
            (true, Endpoint::Text) => logprobs::of_text(tokens, characters),
        }
    }
}
