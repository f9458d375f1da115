//! The tokens of requests.

use crate::error::chain;
use ::serve::{Chat, Language, Refusal};
use train::chat::{Conversation, Template};
use train::tokenizer::Tokenizer;

/// The tokenizer of a model, and its template for conversations.
pub struct ModelLanguage {
    pub tokenizer: &'static Tokenizer,
    pub template: Option<Template>,
    /// V.
    pub vocab: usize,
}

impl Language for ModelLanguage {
    fn chat(&self, chat: &Chat) -> Result<Vec<u32>, Refusal> {
        let none = || {
            Refusal::new(
                "The model has no chat template: use /v1/completions, or start the server with `--chat-template FILE`.",
            )
        };
        let template = self.template.as_ref().ok_or_else(none)?;
        let conversation = Conversation {
            messages: &chat.messages,
            tools: chat.tools.as_ref(),
            variables: Some(&chat.variables),
        };
        let text = template.render(&conversation, true).map_err(|e| refused(&e))?;
        self.tokenizer.encode_rendered(&text).map_err(|e| refused(&e))
    }

    fn prompt(&self, text: &str) -> Result<Vec<u32>, Refusal> {
        self.tokenizer.encode_prompt(text).map_err(|e| refused(&e))
    }

    fn vocab(&self) -> usize {
        self.vocab
    }
}

/// An error as a sentence.
pub fn refused(error: &dyn std::error::Error) -> Refusal {
    Refusal::new(format!("{}.", chain(error)))
}
