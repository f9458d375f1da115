//! A chat: messages of a user and answers of a model.

use super::{Completion, Finish, GenerateOptions, Writer};
use crate::chat::{self, CHATML, Template};
use crate::formats::FolderMetadata;
use crate::run::RunError;
use crate::tokenizer::Tokenizer;
use serde_json::{Value, json};
use std::path::Path;

/// A chat with a model.
#[derive(Debug)]
pub struct Chat {
    writer: Writer,
    template: Template,
    system: Option<String>,
    messages: Vec<Value>,
}

/// An answer of the model.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The text, and how it came about.
    pub completion: Completion,
    /// Messages that were forgotten, so that the others fit into the window.
    pub forgotten: usize,
}

/// The positions that there have to be for an answer.
const ROOM: usize = 16;

/// The template in the file `path`, else the model's own, else ChatML if the tokenizer has its marks; `None` if there is none.
///
/// # Errors
/// `ChatTemplate` for one with a mistake; if the file cannot be read.
pub fn template_of(
    metadata: &FolderMetadata,
    tokenizer: &Tokenizer,
    path: Option<&Path>,
) -> Result<Option<Template>, RunError> {
    let own = match path {
        Some(path) => Some(Template::read(path, metadata, Some(tokenizer))?),
        None => Template::of(metadata, Some(tokenizer))?,
    };
    let has_mark = |mark: &str| tokenizer.encode_rendered(mark).is_ok_and(|ids| ids.len() == 1);
    match own {
        None if has_mark("<|im_start|>") && has_mark("<|im_end|>") => {
            Ok(Some(Template::parse(CHATML, metadata, Some(tokenizer))?))
        }
        own => Ok(own),
    }
}

impl Chat {
    /// A chat with the template in the file `template`, else the model's own, else ChatML if the tokenizer has its marks.
    ///
    /// # Errors
    /// `NoTemplate`, if there is none; `ChatTemplate` for one with a mistake.
    pub fn new(writer: Writer, template: Option<&Path>) -> Result<Chat, RunError> {
        let found = template_of(writer.metadata(), writer.language().tokenizer, template)?;
        let template = found.ok_or(RunError::NoTemplate)?;
        Ok(Chat { writer, template, system: None, messages: Vec::new() })
    }

    /// Sets what the model is told before the first message; `None`: what its template says.
    pub fn set_system(&mut self, text: Option<String>) {
        self.system = text;
    }

    /// Forgets all messages.
    pub fn reset(&mut self) {
        self.messages.clear();
    }

    /// All messages: objects with `role` and `content`.
    pub fn messages(&self) -> Vec<Value> {
        let system = self.system.iter().map(|text| json!({"role": "system", "content": text}));
        system.chain(self.messages.iter().cloned()).collect()
    }

    /// The tokens that the model is given, with what stands before an answer.
    fn tokens(&self) -> Result<Vec<u32>, RunError> {
        let messages = self.messages();
        let chat = chat::Conversation { messages: &messages, ..Default::default() };
        let text = self.template.render(&chat, true)?;
        Ok(self.writer.language().tokenizer.encode_rendered(&text)?)
    }

    /// Sends a message, and streams the answer to `sink` until that returns `false`. The oldest messages are forgotten, two at a
    /// time, if all do not fit into the window.
    ///
    /// # Errors
    /// `Window`, if the message alone does not fit; if the template refuses it, the options make no sense, or the engine fails.
    /// The message is then no part of the chat.
    pub fn answer(
        &mut self,
        message: &str,
        options: &GenerateOptions,
        sink: &mut dyn FnMut(&str) -> bool,
    ) -> Result<Answer, RunError> {
        self.messages.push(json!({"role": "user", "content": message}));
        let answered = self.answer_last(options, sink);
        match &answered {
            Ok(answer) => {
                self.messages.push(json!({"role": "assistant", "content": answer.completion.text}));
            }
            Err(_) => {
                self.messages.pop();
            }
        }
        answered
    }

    fn answer_last(
        &mut self,
        options: &GenerateOptions,
        sink: &mut dyn FnMut(&str) -> bool,
    ) -> Result<Answer, RunError> {
        let (mut forgotten, mut tokens) = (0, self.tokens()?);
        let window = self.writer.window;
        while tokens.len() + ROOM > window {
            if self.messages.len() < 3 {
                return Err(RunError::Window { prompt: tokens.len(), tokens: ROOM, window });
            }
            self.messages.drain(..2);
            forgotten += 2;
            tokens = self.tokens()?;
        }
        let completion = self.writer.complete(&tokens, options, sink)?;
        Ok(Answer { completion, forgotten })
    }
}

impl Answer {
    /// Whether the model ended the answer by itself.
    pub fn is_whole(&self) -> bool {
        matches!(self.completion.finish, Finish::End(_) | Finish::Stop)
    }
}
