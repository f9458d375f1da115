//! Which rules a refused program likely breaks.

use crate::rules::{self, Chip, Consequence, Route};
use ane::{Answer, Call};
use mil::diag::Severity;

/// Rules that an explanation names at most.
const MOST_RULES: usize = 3;

/// Rules that `ane` enforces for any program: it binds by name, and only surfaces of one size.
const KEPT: [&str; 2] = ["S1", "S3"];

/// The rules that the program `text`, which an engine refused at `call`, likely breaks: id and sentence, the surest first.
pub fn explain(call: Call, answer: &Answer, text: &str) -> Vec<String> {
    let mut named: Vec<String> = by_status(call, answer.text.as_deref().unwrap_or_default())
        .and_then(rules::find)
        .map(|rule| format!("{}: {}", rule.id, rule.title.trim_end_matches('.')))
        .into_iter()
        .collect();
    let mut found = rules::check(&mil::text::read(text), &Chip::ALL, Route::InMemory);
    found.retain(|f| {
        shows_at(f.rule.consequence, call) && f.severity() != Severity::Note && !KEPT.contains(&f.rule.id)
    });
    found.sort_by_key(|f| (f.severity() != Severity::Error, f.rule.confidence));
    named.extend(found.iter().map(|f| format!("{}: {}", f.rule.id, f.message)));
    named.truncate(MOST_RULES);
    named
}

/// Whether `consequence` of a broken rule shows at `call`.
fn shows_at(consequence: Consequence, call: Call) -> bool {
    match call {
        Call::Describe | Call::Model | Call::Compile => {
            matches!(consequence, Consequence::Refused | Consequence::Crash)
        }
        Call::Load => matches!(consequence, Consequence::LoadFailure),
        Call::Bind | Call::Evaluate => {
            matches!(consequence, Consequence::Evaluation | Consequence::WrongNumbers)
        }
    }
}

/// The rule that a status code in `text` stands for.
/// Source: Orion and maderix/ANE (0x1d), omlx (0x20004), ANE-Training-iPhone (0x50004): see rule W21.
fn by_status(call: Call, text: &str) -> Option<&'static str> {
    match call {
        Call::Evaluate if text.contains("0x1d") => Some("S4"),
        Call::Load if text.contains("0x20004") => Some("S17"),
        Call::Load if text.contains("0x50004") => Some("W6c"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NARROW: &str = "program(1.3)\n{\n    func main<ios18>(tensor<fp16, [1, 64, 1, 12]> x) {\n        \
                          tensor<fp16, [1, 64, 1, 12]> y = relu(x = x)[name = string(\"y\")];\n    } -> (y);\n}\n";

    #[test]
    fn a_refusal_is_explained_by_its_status_and_by_the_text() {
        let answer = Answer { text: Some("Failed with status=0x1d".to_owned()), ..Answer::default() };
        let rules = explain(Call::Evaluate, &answer, NARROW);
        assert!(rules[0].starts_with("S4: "), "{rules:?}");
        assert!(rules.iter().any(|r| r.starts_with("S6: ")), "the width of 12 breaks it: {rules:?}");
        assert!(rules.len() <= MOST_RULES);
    }

    #[test]
    fn a_load_that_says_nothing_is_not_explained() {
        assert!(explain(Call::Load, &Answer::default(), NARROW).is_empty());
        for (status, id) in [("0x20004", "S17"), ("0x50004", "W6c")] {
            let answer = Answer { text: Some(status.to_owned()), ..Answer::default() };
            assert!(explain(Call::Load, &answer, NARROW)[0].starts_with(id));
        }
    }
}
