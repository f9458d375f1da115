//! Why a model file cannot be read.

use std::fmt::Write;
use std::io;

/// Why a model file cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say it")]
pub enum ModelError {
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("it is no Core ML model, from byte {at} on: {what}")]
    Wire { what: String, at: u64 },
    #[error("it is a {kind}, and no ML program")]
    Kind { kind: &'static str },
    #[error("it holds no model: only {what}")]
    Empty { what: &'static str },
    #[error("it has more than {most} {what}, which is more than is read")]
    TooLarge { what: &'static str, most: u64 },
    #[error("it has {what} of field {field}, which the public schema of Core ML does not have")]
    UnknownField { what: &'static str, field: u32 },
    #[error("{0}")]
    Content(#[from] Problem),
}

impl ModelError {
    /// A remedy: one imperative sentence.
    pub fn hint(&self) -> &'static str {
        match self {
            ModelError::Io(_) => "Check the file.",
            ModelError::Wire { .. } => "Copy the file again, or check that it is a Core ML model.",
            ModelError::Kind { kind } if kind.starts_with("pipeline") => {
                "Convert its parts one by one with coremltools: `ct.convert(…, convert_to=\"mlprogram\")`."
            }
            ModelError::Kind { .. } => {
                "Convert the model that it was made from with coremltools: `ct.convert(…, convert_to=\"mlprogram\")`."
            }
            ModelError::Empty { .. } => "Name a model that was saved whole.",
            ModelError::TooLarge { .. } => {
                "Keep constants in weight files, as `ct.convert` does, or cut the program in functions."
            }
            ModelError::UnknownField { .. } => {
                "Save the model with coremltools 9 for a deployment target up to iOS 26."
            }
            ModelError::Content(_) => "Correct the model where it was made, and save it again.",
        }
    }
}

/// Something in a program that MIL text cannot hold, or that contradicts itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.text())]
pub struct Problem {
    /// Innermost first: argument, operation, function.
    place: Vec<String>,
    what: String,
}

impl Problem {
    pub(crate) fn new(what: impl Into<String>) -> Problem {
        Problem { place: Vec::new(), what: what.into() }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for (i, place) in self.place.iter().rev().enumerate() {
            // Writing to a string does not fail.
            let _ = write!(text, "{}{place}", if i > 0 { ", " } else { "" });
        }
        if !text.is_empty() {
            text.push_str(": ");
        }
        text + &self.what
    }
}

/// Says where something is wrong.
pub(crate) trait At: Sized {
    /// Adds a place around those that are known.
    fn at(self, place: impl FnOnce() -> String) -> Self;
}

impl<T> At for Result<T, Problem> {
    fn at(self, place: impl FnOnce() -> String) -> Self {
        self.map_err(|mut problem| {
            problem.place.push(place());
            problem
        })
    }
}

/// A name as messages show it: in quotes, and not longer than a line.
pub(crate) fn quoted(name: &str) -> String {
    const LONGEST: usize = 60;
    match name.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("`{}…`", name[..end].escape_debug()),
        None => format!("`{}`", name.escape_debug()),
    }
}
