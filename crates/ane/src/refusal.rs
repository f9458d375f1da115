//! What an Apple engine says when it refuses a program.

use std::fmt;

/// Names the rules that a refused program likely breaks, the surest first: what was asked, what the engine said, the
/// program's text. `ane` knows no rules: `anelint::explain` is such a function.
pub type Explain = fn(Call, &Answer, &str) -> Vec<String>;

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
    /// Whether it is part of compiling, whose outcome depends on the program's text alone.
    pub fn is_compile(self) -> bool {
        matches!(self, Call::Describe | Call::Model | Call::Compile)
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
    /// A refusal of `kernel` that names no rules.
    pub fn new(kernel: &str, call: Call, answer: Answer) -> Refusal {
        Refusal { kernel: kernel.to_owned(), call, answer, rules: Vec::new() }
    }

    /// The same without the rules: the engine's own words.
    #[must_use]
    pub fn unexplained(self) -> Refusal {
        Refusal { rules: Vec::new(), ..self }
    }

    /// The same with the rules that `explain` names for the program `text`.
    #[must_use]
    pub fn explained(self, explain: Option<Explain>, text: &str) -> Refusal {
        let rules = explain.map_or_else(Vec::new, |explain| explain(self.call, &self.answer, text));
        Refusal { rules, ..self }
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
        assert_eq!(refusal.to_string(), "the Neural Engine does not load kernel `k`: it does not say why");
        assert!(refusal.hint().starts_with("Let other programs"));
    }
}
