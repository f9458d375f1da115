//! A record as tokens, and which of them the model is to learn to write.

use serde_json::{Value, json};
use std::ops::Range;

use super::records::Record;
use crate::chat::{Conversation, Template};
use crate::error::TrainError;
use crate::tokenizer::Tokenizer;

/// Which tokens of an example count in the loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossOn {
    /// What follows a prompt, what the assistant wrote; all of a text.
    Completion,
    /// All.
    All,
}

impl LossOn {
    /// All values.
    pub const ALL: [Self; 2] = [Self::Completion, Self::All];

    /// Its name in flags and checkpoints.
    pub fn name(self) -> &'static str {
        match self {
            Self::Completion => "completion",
            Self::All => "all",
        }
    }
}

/// How records become tokens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Encoding<'a> {
    pub(crate) tokenizer: &'a Tokenizer,
    /// The template for chats, and for prompts with their completions; without one these are joined as they are.
    pub(crate) template: Option<&'a Template>,
    /// Whether the template is for chats alone.
    pub(crate) chats_only: bool,
    pub(crate) loss_on: LossOn,
}

/// An example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Example {
    pub(crate) tokens: Vec<u32>,
    /// The tokens that count as targets, in order.
    pub(crate) counted: Vec<Range<u32>>,
    /// Whether it is a chat.
    pub(crate) is_chat: bool,
    /// Whether answers before the last one could not be counted.
    pub(crate) last_only: bool,
}

/// Why a record is not an example.
#[derive(Debug)]
pub(crate) enum Unusable {
    /// The record has a chat, and there is no template.
    NoTemplate,
    /// What the template or the tokenizer says.
    Train(TrainError),
}

impl Encoding<'_> {
    /// The tokens of `record`. They end with the tokenizer's end of a text, unless a template ends the text.
    pub(crate) fn example(&self, record: Record) -> Result<Example, Unusable> {
        let template =
            self.template.filter(|_| !(self.chats_only && matches!(record, Record::Completion { .. })));
        match (record, template) {
            (Record::Text(text), _) => self.text(&text).map_err(Unusable::Train),
            (Record::Completion { prompt, completion }, None) => {
                self.joined(&prompt, &completion).map_err(Unusable::Train)
            }
            (Record::Completion { prompt, completion }, Some(template)) => {
                let message = |role: &str, content: String| json!({"role": role, "content": content});
                let messages = [message("user", prompt), message("assistant", completion)];
                self.chat(template, &messages, None).map_err(Unusable::Train)
            }
            (Record::Chat { messages, tools }, Some(template)) => {
                self.chat(template, &messages, tools.as_ref()).map_err(Unusable::Train)
            }
            (Record::Chat { .. }, None) => Err(Unusable::NoTemplate),
        }
    }

    fn text(&self, text: &str) -> Result<Example, TrainError> {
        let mut tokens = self.tokenizer.encode(text)?;
        self.end(&mut tokens);
        // What a tokenizer adds around nothing is not an example.
        let is_empty = text.is_empty();
        Ok(Example {
            counted: if is_empty { Vec::new() } else { all(&tokens) },
            tokens,
            is_chat: false,
            last_only: false,
        })
    }

    /// Prompt and completion are encoded apart, as the prompt is when the model answers it.
    fn joined(&self, prompt: &str, completion: &str) -> Result<Example, TrainError> {
        let mut tokens = if prompt.is_empty() { Vec::new() } else { self.tokenizer.encode_prompt(prompt)? };
        let start = tokens.len();
        tokens.extend(self.tokenizer.encode_rendered(completion)?);
        let is_empty = tokens.len() == start;
        self.end(&mut tokens);
        let counted = match self.loss_on {
            _ if is_empty => Vec::new(),
            LossOn::All => all(&tokens),
            LossOn::Completion => one(position(start)..position(tokens.len())),
        };
        Ok(Example { tokens, counted, is_chat: false, last_only: false })
    }

    fn chat(
        &self,
        template: &Template,
        messages: &[Value],
        tools: Option<&Value>,
    ) -> Result<Example, TrainError> {
        let conversation = Conversation { messages, tools, variables: None };
        if self.loss_on == LossOn::All {
            let tokens = self.tokenizer.encode_rendered(&template.render(&conversation, false)?)?;
            return Ok(Example { counted: all(&tokens), tokens, is_chat: true, last_only: false });
        }
        let answers = template.answers(&conversation)?;
        let (tokens, counted) = self.tokenizer.encode_parts(&answers.text, &answers.parts)?;
        Ok(Example { tokens, counted, is_chat: true, last_only: answers.last_only })
    }

    /// Adds the token that ends a text, if there is one and the text has none.
    fn end(&self, tokens: &mut Vec<u32>) {
        if let Some(end) = self.tokenizer.end()
            && tokens.last() != Some(&end)
        {
            tokens.push(end);
        }
    }
}

/// All tokens.
fn all(tokens: &[u32]) -> Vec<Range<u32>> {
    one(0..position(tokens.len()))
}

/// One range.
fn one(range: Range<u32>) -> Vec<Range<u32>> {
    std::iter::once(range).collect()
}

/// A position in an example; a line has far fewer bytes than 2³².
fn position(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}
