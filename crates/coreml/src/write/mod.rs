//! The tree of a text as a model file.

mod description;
mod flexible;
mod program;
mod types;
mod values;

pub(crate) use description::description;
pub(crate) use program::program;

use mil::diag::{Diagnostic, Place};
use mil::text::tree::Span;

/// The refusal of something that a model file cannot hold; the help says what to do.
fn refuse(text: impl Into<String>, span: Span, help: &str) -> Diagnostic {
    Diagnostic::new("no-model-file", text, Place::Text(span.range())).help(help)
}
