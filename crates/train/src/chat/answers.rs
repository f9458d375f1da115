//! Which parts of a rendered conversation the assistant wrote.

use serde_json::Value;
use std::ops::Range;

use super::template::{Conversation, Template};
use crate::error::TrainError;

/// A rendered conversation and what the assistant wrote of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answers {
    /// The whole text.
    pub text: String,
    /// What the assistant wrote, with the mark that ends it: ranges of bytes, in order.
    pub parts: Vec<Range<usize>>,
    /// Whether earlier answers are missing in `parts`: the template writes them otherwise than when they were given, so that
    /// only the last one stands in the text as the model must write it.
    pub last_only: bool,
}

impl Template {
    /// Renders a conversation and finds what the assistant wrote: what the template marks with the tag `generation`, else
    /// what each answer adds to the text of the messages before it.
    ///
    /// # Errors
    /// [`TrainError::ChatTemplate`] if the template refuses the conversation, or writes an answer so that it cannot be found.
    pub fn answers(&self, chat: &Conversation<'_>) -> Result<Answers, TrainError> {
        if self.marks_answers() {
            return self.marked_answers(chat);
        }
        let text = self.render(chat, false)?;
        let turns: Vec<usize> = (0..chat.messages.len()).filter(|&i| is_answer(&chat.messages[i])).collect();
        let mut parts = Vec::with_capacity(turns.len());
        let mut missed = None;
        for &turn in &turns {
            match self.answer(chat, turn, &text) {
                Some(part) => parts.push(part),
                None => missed = Some(turn),
            }
        }
        // The last one must be learned; an earlier one can differ on purpose, as where thoughts are left out.
        if missed.is_some() && missed == turns.last().copied() {
            let problem = "it writes the last answer otherwise than an answer to the messages before it, so which part \
                           of the text the assistant wrote cannot be found"
                .to_owned();
            return Err(TrainError::ChatTemplate { line: None, problem });
        }
        if missed.is_some() {
            parts.drain(..parts.len().saturating_sub(1));
        }
        Ok(Answers { text, parts, last_only: missed.is_some() })
    }

    /// Where the message `turn` stands in `text`: after the text of the messages before it. `None` if that text does not
    /// begin so, or the template refuses these messages alone.
    fn answer(&self, chat: &Conversation<'_>, turn: usize, text: &str) -> Option<Range<usize>> {
        let first = |count: usize| Conversation { messages: &chat.messages[..count], ..*chat };
        let before = self.render(&first(turn), true).ok()?;
        let end = if turn + 1 == chat.messages.len() {
            text.len()
        } else {
            let after = self.render(&first(turn + 1), false).ok()?;
            text.starts_with(&after).then_some(after.len())?
        };
        (text.starts_with(&before) && before.len() <= end).then_some(before.len()..end)
    }

    fn marked_answers(&self, chat: &Conversation<'_>) -> Result<Answers, TrainError> {
        let messages = Value::from(chat.messages).to_string();
        // Marks that the messages do not have.
        let mut mark = "\u{fdd0}".to_owned();
        while messages.contains(&mark) {
            mark.push('\u{fdd0}');
        }
        let marks = [format!("{mark}<"), format!("{mark}>")];
        let marked = self.render_marked(chat, false, [&marks[0], &marks[1]])?;
        let (mut text, mut parts, mut rest) = (String::new(), Vec::new(), marked.as_str());
        while let Some((before, after)) = rest.split_once(&marks[0]) {
            text.push_str(before);
            let (answer, after) = after.split_once(&marks[1]).unwrap_or((after, ""));
            parts.push(text.len()..text.len() + answer.len());
            text.push_str(answer);
            rest = after;
        }
        text.push_str(rest);
        Ok(Answers { text, parts, last_only: false })
    }
}

/// Whether the assistant wrote `message`.
fn is_answer(message: &Value) -> bool {
    message["role"] == "assistant" || message["role"] == "model"
}
