//! Violations of rules, and their messages.

use super::chip::{Chip, Chips};
use super::matches::{Group, Matches};
use super::profile::Measured;
use super::rule::{Consequence, Rule};
use mil::diag::{Diagnostic, Place, Severity};
use mil::text::tree::Span;

/// A rule that a program breaks.
#[derive(Clone, Debug)]
pub struct Violation {
    /// The rule.
    pub rule: &'static Rule,
    /// The affected chips, of the requested ones.
    pub chips: Vec<Chip>,
    /// The first place.
    pub place: Place,
    /// One sentence on the first place, with its numbers.
    pub message: String,
    /// How many places there are.
    pub count: usize,
    /// Why this form may be accepted after all, if reported.
    pub disputed: Option<&'static str>,
    /// The observation of a probe on these chips, if any.
    pub measured: Option<Measured>,
}

impl Violation {
    /// The consequence: as measured, or from the table.
    pub fn consequence(&self) -> Consequence {
        self.measured.and_then(|m| m.consequence).unwrap_or(self.rule.consequence)
    }

    /// How bad it is: an error is a failure of which [`Rule::is_sure`] says so, in a form that nobody disputes, or one that
    /// was measured.
    pub fn severity(&self) -> Severity {
        let doubtful = self.measured.is_none() && (self.disputed.is_some() || !self.rule.is_sure());
        match self.consequence() {
            Consequence::Informative => Severity::Note,
            Consequence::Refused
            | Consequence::LoadFailure
            | Consequence::Evaluation
            | Consequence::Crash
                if !doubtful =>
            {
                Severity::Error
            }
            _ => Severity::Warning,
        }
    }

    /// As the language's own diagnostics: the code is the rule's id, the help is the repair.
    pub fn diagnostic(&self) -> Diagnostic {
        let more = match self.count {
            0 | 1 => String::new(),
            2 => " (and 1 more place)".to_owned(),
            n => format!(" (and {} more places)", n - 1),
        };
        let rule = self.rule;
        let (consequence, chips) = (self.consequence(), Chips::spell(&self.chips));
        let measured = if self.measured.is_some() { " (measured)" } else { "" };
        let message = format!("{}{more}: {consequence}, on {chips}{measured}", self.message);
        let help = match rule.conflict.or(self.disputed).filter(|_| self.measured.is_none()) {
            Some(conflict) => format!("{} (Reports differ: {conflict}.)", rule.repair),
            None => rule.repair.to_owned(),
        };
        Diagnostic::new(rule.id, message, self.place.clone()).severity(self.severity()).help(help)
    }
}

/// Adds what `matches` found of `rule` on `chips` to `violations`; one that says the same of other chips is extended.
pub(super) fn file(
    matches: Matches,
    rule: &'static Rule,
    chips: &[Chip],
    measured: Option<Measured>,
    violations: &mut Vec<Violation>,
) {
    for Group { disputed, first, count } in matches.into_groups() {
        let Some((span, message)) = first else { continue };
        let same = violations.iter_mut().rev().take_while(|v| v.rule.id == rule.id).find(|v| {
            v.message == message && v.disputed == disputed && v.count == count && v.measured == measured
        });
        match same {
            Some(violation) => violation.chips.extend(chips),
            None => violations.push(Violation {
                rule,
                chips: chips.to_vec(),
                // A tree that was not read from a text has no places.
                place: if span == Span::default() { Place::Nowhere } else { Place::Text(span.range()) },
                message,
                count,
                disputed,
                measured,
            }),
        }
    }
}
