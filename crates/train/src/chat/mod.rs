//! Chats as text: the chat template of a model, rendered as Hugging Face's transformers does.
//!
//! ```text
//! model's folder or file ──► Template ──► render: the text of a conversation
//!                                    └──► answers: the text, and which parts of it the assistant wrote
//! ```
//!
//! The dialect is that of transformers (`utils/chat_template_utils.py`): Jinja with trimmed blocks, loop controls, Python's
//! methods of strings and dictionaries, `tojson` as Python's `json.dumps`, `raise_exception`, `strftime_now`, and the tag
//! `generation` around what the assistant wrote.

mod answers;
mod date;
mod dialect;
mod generation;
mod python;
mod template;

pub use answers::Answers;
pub use template::{CHATML, Conversation, Template};

#[cfg(test)]
mod tests;
