//! What a check finds, and how it is said.

use super::chip::{Chip, Chips};
use super::{Confidence, Consequence, Rule};
use mil::diag::{Diagnostic, Place, Severity};
use mil::text::tree::Span;

/// A rule that a program breaks.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The rule.
    pub rule: &'static Rule,
    /// The chips, of those asked for, that it concerns.
    pub chips: Vec<Chip>,
    /// The first place.
    pub place: Place,
    /// One sentence on the first place, with the numbers found there.
    pub message: String,
    /// How many places there are.
    pub count: usize,
    /// Whether reports differ on this very form.
    pub disputed: bool,
}

impl Finding {
    /// How bad it is: an error is a failure that somebody showed and nobody disputes.
    pub fn severity(&self) -> Severity {
        let doubtful = self.disputed || self.rule.conflict.is_some() || self.rule.confidence == Confidence::C;
        match self.rule.consequence {
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
        let message =
            format!("{}{more}: {}, on {}", self.message, rule.consequence, Chips::spell(&self.chips));
        let help = match rule.conflict {
            Some(conflict) => format!("{} (reports differ: {conflict})", rule.repair),
            None => rule.repair.to_owned(),
        };
        Diagnostic::new(rule.id, message, self.place.clone()).severity(self.severity()).help(help)
    }
}

/// What one check finds: of sure and of disputed places, the first and how many.
#[derive(Default)]
pub struct Hits {
    sure: Group,
    disputed: Group,
}

#[derive(Default)]
struct Group {
    first: Option<(Span, String)>,
    count: usize,
}

impl Group {
    fn add(&mut self, span: Span, message: impl FnOnce() -> String) {
        self.count += 1;
        self.first.get_or_insert_with(|| (span, message()));
    }
}

impl Hits {
    /// The rule is broken at `span`; `message` is asked for the first place alone.
    pub fn at(&mut self, span: Span, message: impl FnOnce() -> String) {
        self.sure.add(span, message);
    }

    /// The same, but reports differ on this form.
    pub fn disputed(&mut self, span: Span, message: impl FnOnce() -> String) {
        self.disputed.add(span, message);
    }

    /// As findings on `chips`; those that say the same of other chips are extended.
    pub(super) fn file(self, rule: &'static Rule, chips: &[Chip], findings: &mut Vec<Finding>) {
        for (group, disputed) in [(self.sure, false), (self.disputed, true)] {
            let Some((span, message)) = group.first else { continue };
            let same = findings
                .iter_mut()
                .rev()
                .take_while(|f| f.rule.id == rule.id)
                .find(|f| f.message == message && f.disputed == disputed && f.count == group.count);
            match same {
                Some(finding) => finding.chips.extend(chips),
                None => findings.push(Finding {
                    rule,
                    chips: chips.to_vec(),
                    // A tree that was not read from a text has no places.
                    place: if span == Span::default() { Place::Nowhere } else { Place::Text(span.range()) },
                    message,
                    count: group.count,
                    disputed,
                }),
            }
        }
    }
}
