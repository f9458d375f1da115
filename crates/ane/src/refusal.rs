//! What an Apple engine says when it refuses, and which rule that is likely about.

use crate::rules::{self, Chip, Consequence, Route};
use mil::diag::Severity;
use std::fmt;

/// Rules that a refusal names at most.
const MOST_RULES: usize = 3;

/// Rules that the door keeps for any program: it binds by name, and surfaces of one size alone.
const KEPT: [&str; 2] = ["S1", "S3"];

/// What an engine was asked to do with a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Take the text and the weights.
    Describe,
    /// Make a model of them.
    Model,
    /// Compile it.
    Compile,
    /// Load what was compiled.
    Load,
    /// Bind surfaces.
    Bind,
    /// Run once.
    Evaluate,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Call::Describe => "take the program of",
            Call::Model => "make a model of",
            Call::Compile => "compile",
            Call::Load => "load",
            Call::Bind => "bind the surfaces of",
            Call::Evaluate => "run",
        })
    }
}

impl Call {
    /// Whether it is part of compiling a program, of which the text alone decides.
    pub fn is_compile(self) -> bool {
        matches!(self, Call::Describe | Call::Model | Call::Compile)
    }

    /// What breaking a rule that this call trips over leads to.
    fn trips_over(self, consequence: Consequence) -> bool {
        match self {
            Call::Describe | Call::Model | Call::Compile => {
                matches!(consequence, Consequence::Refused | Consequence::Crash)
            }
            Call::Load => matches!(consequence, Consequence::LoadFailure),
            Call::Bind | Call::Evaluate => {
                matches!(consequence, Consequence::Evaluation | Consequence::WrongNumbers)
            }
        }
    }
}

/// What an engine said: the parts of an `NSError`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Whose error it is, such as `com.apple.appleneuralengine.compiler`.
    pub domain: Option<String>,
    /// Its number there.
    pub code: Option<i64>,
    /// The sentence.
    pub text: Option<String>,
}

/// An engine's refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The kernel.
    pub kernel: String,
    /// What was asked for.
    pub call: Call,
    /// What the engine said.
    pub answer: Answer,
    /// Rules of real engines that the program likely breaks, the surest first: id and sentence.
    pub rules: Vec<String>,
}

impl Refusal {
    /// A refusal of `kernel`, whose program is `text`.
    pub fn new(kernel: &str, call: Call, answer: Answer, text: &str) -> Refusal {
        let said = answer.text.as_deref().unwrap_or_default();
        let mut named: Vec<String> = meant_by(call, said)
            .iter()
            .filter_map(|id| rules::find(id))
            .map(|rule| format!("{}: {}", rule.id, rule.title.trim_end_matches('.')))
            .collect();
        let read = mil::text::read(text);
        let mut found = rules::check(&read, &Chip::ALL, Route::InMemory);
        found.retain(|f| {
            call.trips_over(f.rule.consequence)
                && f.severity() != Severity::Note
                && !KEPT.contains(&f.rule.id)
        });
        found.sort_by_key(|f| (f.severity() != Severity::Error, f.rule.confidence));
        named.extend(found.iter().map(|f| format!("{}: {}", f.rule.id, f.message)));
        named.truncate(MOST_RULES);
        Refusal { kernel: kernel.to_owned(), call, answer, rules: named }
    }

    /// What would help: one sentence.
    pub fn hint(&self) -> &'static str {
        match (self.call, self.rules.is_empty()) {
            (_, false) => "Look the rule up with `backpropane mil rules`, and repair the program.",
            (Call::Load, true) => "Let other programs that use the engine end, then try again.",
            (_, true) => "Run `backpropane doctor`; if it is content, report the program.",
        }
    }
}

/// Rules that status codes in `text` stand for.
/// Source: Orion and maderix/ANE (0x1d), omlx (0x20004), ANE-Training-iPhone (0x50004): see rule W21.
fn meant_by(call: Call, text: &str) -> &'static [&'static str] {
    match call {
        Call::Evaluate if text.contains("0x1d") => &["S4"],
        Call::Load if text.contains("0x20004") => &["S17"],
        Call::Load if text.contains("0x50004") => &["W6c"],
        _ => &[],
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Answer { domain, code, text } = &self.answer;
        let said = text.as_deref().unwrap_or("it does not say why");
        write!(f, "the Neural Engine does not {} kernel `{}`: {said}", self.call, self.kernel)?;
        match (domain, code) {
            (Some(domain), Some(code)) => write!(f, " ({domain} {code})")?,
            (Some(domain), None) => write!(f, " ({domain})")?,
            (None, Some(code)) => write!(f, " (code {code})")?,
            (None, None) => {}
        }
        match self.rules.as_slice() {
            [] => Ok(()),
            rules => write!(f, "; likely {}", rules.join("; ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NARROW: &str = "program(1.3)\n{\n    func main<ios18>(tensor<fp16, [1, 64, 1, 12]> x) {\n        \
                          tensor<fp16, [1, 64, 1, 12]> y = relu(x = x)[name = string(\"y\")];\n    } -> (y);\n}\n";

    #[test]
    fn a_refusal_names_kernel_call_code_and_rule() {
        let answer = Answer {
            domain: Some("com.apple.appleneuralengine".to_owned()),
            code: Some(8),
            text: Some("Failed with status=0x1d".to_owned()),
        };
        let refusal = Refusal::new("L0.fwdFFN", Call::Evaluate, answer, NARROW);
        let said = refusal.to_string();
        assert!(
            said.starts_with(
                "the Neural Engine does not run kernel `L0.fwdFFN`: Failed with status=0x1d \
                 (com.apple.appleneuralengine 8); likely S4: "
            ),
            "{said}"
        );
        assert!(said.contains("S6: "), "the width of 12 is the program's own fault: {said}");
        assert!(refusal.hint().contains("mil rules"));
    }

    #[test]
    fn silence_is_said_to_be_silence() {
        let refusal = Refusal::new("k", Call::Load, Answer::default(), NARROW);
        assert_eq!(refusal.to_string(), "the Neural Engine does not load kernel `k`: it does not say why");
        assert!(refusal.hint().starts_with("Let other programs"));
    }
}
