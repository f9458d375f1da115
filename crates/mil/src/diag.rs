//! Diagnostics: message, place and remedy.

mod render;
mod style;

pub use render::{Snippet, quote};

use std::fmt;
use std::ops::Range;
use std::panic::Location;

/// The place of an operation, an argument or a result.
#[derive(Clone, Debug, Default)]
pub enum Place {
    /// Unknown, or made by a pass.
    #[default]
    Nowhere,
    /// A range of bytes of the text that was read.
    Text(Range<usize>),
    /// The Rust line that called the builder.
    Rust(&'static Location<'static>),
    /// The argument of a parameter of the refused operation; the parser resolves it to a range.
    Param(&'static str),
    /// Result `n` of the operation that is refused.
    Result(usize),
}

/// Places do not take part in comparisons.
impl PartialEq for Place {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// How bad it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// Probably a mistake.
    Warning,
    /// The program is refused.
    #[default]
    Error,
}

impl Severity {
    /// As messages begin.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }
}

/// A refusal by an operation's rule: it names the parameter; the verifier adds the place.
#[derive(Clone, Debug, PartialEq)]
pub struct Reject {
    /// The rule, in words with hyphens: `inner-dimensions`.
    pub code: &'static str,
    /// One sentence.
    pub message: String,
    /// Notes on parameters: name and text.
    pub labels: Vec<(&'static str, String)>,
    /// The remedy.
    pub help: Option<String>,
}

impl Reject {
    /// A refusal by rule `code`.
    pub fn new(code: &'static str, message: impl Into<String>) -> Reject {
        Reject { code, message: message.into(), labels: Vec::new(), help: None }
    }

    /// Adds a note on parameter `param`.
    pub fn label(mut self, param: &'static str, text: impl Into<String>) -> Reject {
        self.labels.push((param, text.into()));
        self
    }

    /// Adds a remedy.
    pub fn help(mut self, text: impl Into<String>) -> Reject {
        self.help = Some(text.into());
        self
    }
}

/// One error or warning.
#[derive(Clone, Debug)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// The rule, in words with hyphens.
    pub code: &'static str,
    /// One sentence.
    pub message: String,
    /// Where.
    pub place: Place,
    /// Notes with their places.
    pub labels: Vec<(Place, String)>,
    /// The remedy.
    pub help: Option<String>,
}

impl Diagnostic {
    /// A diagnostic without labels.
    pub fn new(code: &'static str, message: impl Into<String>, place: Place) -> Diagnostic {
        let severity = Severity::Error;
        Diagnostic { severity, code, message: message.into(), place, labels: Vec::new(), help: None }
    }

    /// Makes it a warning or a note.
    pub fn severity(mut self, severity: Severity) -> Diagnostic {
        self.severity = severity;
        self
    }

    /// Adds a note on a place.
    pub fn label(mut self, place: Place, text: impl Into<String>) -> Diagnostic {
        self.labels.push((place, text.into()));
        self
    }

    /// A rule's refusal of an operation at `place`.
    pub fn refusal(reject: Reject, place: Place) -> Diagnostic {
        let labels = reject.labels.into_iter().map(|(param, text)| (Place::Param(param), text)).collect();
        let (code, message, help) = (reject.code, reject.message, reject.help);
        Diagnostic { severity: Severity::Error, code, message, place, labels, help }
    }

    /// Adds a remedy.
    pub fn help(mut self, text: impl Into<String>) -> Diagnostic {
        self.help = Some(text.into());
        self
    }
}

/// All diagnostics of a program; contains an error if returned as `Err`.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// In order of discovery.
    pub diagnostics: Vec<Diagnostic>,
}

impl Report {
    /// Whether anything in it is an error.
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|d| d.severity == Severity::Error)
    }

    /// Keeps only errors.
    pub fn errors(mut self) -> Report {
        self.diagnostics.retain(|d| d.severity == Severity::Error);
        self
    }

    /// Adds a diagnostic.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.render("program", "").trim_end())
    }
}

impl std::error::Error for Report {}
