//! Refusals of an Apple engine.

use std::fmt;

/// Names the rules that a refused program likely breaks, the most certain first, from the call, the engine's answer and
/// the program's text. `anelint::explain` is such a function.
pub type Explain = fn(Call, &Answer, &str) -> Vec<String>;

/// A call of the engine for a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Create a descriptor from text and weights.
    Describe,
    /// Create a model.
    Model,
    /// Compile the model.
    Compile,
    /// Load the compiled model.
    Load,
    /// Bind surfaces.
    Bind,
    /// Run once.
    Evaluate,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Call::Describe => "accept the program of",
            Call::Model => "create a model of",
            Call::Compile => "compile",
            Call::Load => "load",
            Call::Bind => "bind the surfaces of",
            Call::Evaluate => "run",
        })
    }
}

impl Call {
    /// Whether it is part of compiling, whose outcome depends only on the program's text.
    pub fn is_compile(self) -> bool {
        matches!(self, Call::Describe | Call::Model | Call::Compile)
    }
}

/// An engine's answer: the parts of an `NSError`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The error domain, such as `com.apple.appleneuralengine.compiler`.
    pub domain: Option<String>,
    /// The error code.
    pub code: Option<i64>,
    /// The description.
    pub text: Option<String>,
}

/// An engine's refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The kernel.
    pub kernel: String,
    /// The call.
    pub call: Call,
    /// The engine's answer.
    pub answer: Answer,
    /// Rules of real engines that the program likely breaks, the most certain first: id and title.
    pub rules: Vec<String>,
}

impl Refusal {
    /// A refusal of `kernel` that names no rules.
    pub fn new(kernel: &str, call: Call, answer: Answer) -> Refusal {
        Refusal { kernel: kernel.to_owned(), call, answer, rules: Vec::new() }
    }

    /// The refusal without rules.
    #[must_use]
    pub fn unexplained(self) -> Refusal {
        Refusal { rules: Vec::new(), ..self }
    }

    /// Adds the rules that `explain` names for the program `text`.
    #[must_use]
    pub fn explained(self, explain: Option<Explain>, text: &str) -> Refusal {
        let rules = explain.map_or_else(Vec::new, |explain| explain(self.call, &self.answer, text));
        Refusal { rules, ..self }
    }

    /// A remedy: one sentence.
    pub fn hint(&self) -> &'static str {
        match (self.call, self.rules.is_empty()) {
            (_, false) => "Look up the rule with `backpropane mil rules`, and repair the program.",
            (Call::Load, true) => "Close other programs that use the engine, then try again.",
            (_, true) => "Run `backpropane doctor`; if it finds no problem, report the program.",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Answer { domain, code, text } = &self.answer;
        let said = text.as_deref().unwrap_or("no reason given");
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

    #[test]
    fn a_refusal_names_kernel_call_code_and_rules() {
        let answer = Answer {
            domain: Some("com.apple.appleneuralengine".to_owned()),
            code: Some(8),
            text: Some("Failed with status=0x1d".to_owned()),
        };
        let refusal = Refusal::new("L0.fwdFFN", Call::Evaluate, answer);
        let said = "the Neural Engine does not run kernel `L0.fwdFFN`: Failed with status=0x1d \
                    (com.apple.appleneuralengine 8)";
        assert_eq!(refusal.to_string(), said);
        assert!(refusal.hint().contains("doctor"));
        let explained = refusal.clone().explained(Some(|_, _, text| vec![text.to_owned()]), "S4: a rule");
        assert_eq!(explained.to_string(), format!("{said}; likely S4: a rule"));
        assert!(explained.hint().contains("mil rules"));
        assert_eq!(explained.unexplained(), refusal);
    }

    #[test]
    fn an_answer_without_a_reason_is_said_to_be_one() {
        let refusal = Refusal::new("k", Call::Load, Answer::default());
        assert_eq!(refusal.to_string(), "the Neural Engine does not load kernel `k`: no reason given");
        assert!(refusal.hint().starts_with("Close other programs"));
    }
}
