//! A decoded program as the tree of its text.

mod flexible;
mod program;
mod types;
mod values;

pub(crate) use program::tree;

use mil::text::tree::{Name, Span};

/// A name that no text has.
fn name(text: &str) -> Name<'_> {
    Name { text, span: Span::default() }
}
