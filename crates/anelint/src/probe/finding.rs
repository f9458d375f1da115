//! Findings of probes, compared with the table of rules.

use crate::rules::{self, Chip, Consequence};
use std::fmt;

/// What a probe observed about one rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// The rule's id, or a lower-case word if there is no rule yet.
    pub about: &'static str,
    /// Whether it is so here.
    pub seen: Observed,
    /// One sentence, with its numbers.
    pub says: String,
    /// The consequence of breaking the rule, where it was broken and had one.
    pub consequence: Option<Consequence>,
    /// The measured numbers, each with its name.
    pub numbers: Vec<(String, f64)>,
}

/// Whether a rule holds on this engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observed {
    /// It holds.
    Holds,
    /// It is not.
    HoldsNot,
    /// Undecided.
    Unclear,
}

/// The verdict on the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The observation agrees with the table.
    AsTable,
    /// It is something else.
    Differs,
    /// Undecided.
    Unclear,
}

impl Verdict {
    /// As programs read it.
    pub const fn name(self) -> &'static str {
        match self {
            Verdict::AsTable => "as-in-the-table",
            Verdict::Differs => "differs",
            Verdict::Unclear => "could-not-tell",
        }
    }

    /// The verdict called `name`.
    pub fn parse(name: &str) -> Option<Verdict> {
        [Verdict::AsTable, Verdict::Differs, Verdict::Unclear].into_iter().find(|v| v.name() == name)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::AsTable => "as in the table",
            Verdict::Differs => "differs",
            Verdict::Unclear => "could not tell",
        })
    }
}

impl Finding {
    /// The rule holds.
    pub(super) fn holds(about: &'static str, says: impl Into<String>) -> Finding {
        Finding { about, seen: Observed::Holds, says: says.into(), consequence: None, numbers: Vec::new() }
    }

    /// The rule does not hold.
    pub(super) fn holds_not(about: &'static str, says: impl Into<String>) -> Finding {
        Finding { seen: Observed::HoldsNot, ..Finding::holds(about, says) }
    }

    /// Undecided.
    pub(super) fn unclear(about: &'static str, says: impl Into<String>) -> Finding {
        Finding { seen: Observed::Unclear, ..Finding::holds(about, says) }
    }

    /// It holds if `so`.
    pub(super) fn whether(so: bool, about: &'static str, says: impl Into<String>) -> Finding {
        if so { Finding::holds(about, says) } else { Finding::holds_not(about, says) }
    }

    /// Adds the consequence of breaking the rule.
    pub(super) fn leads_to(mut self, consequence: Option<Consequence>) -> Finding {
        self.consequence = consequence;
        self
    }

    /// Adds a number.
    pub(super) fn with(mut self, name: impl Into<String>, value: f64) -> Finding {
        self.numbers.push((name.into(), value));
        self
    }

    /// The verdict on the table, for `chip` if it is known.
    ///
    /// A rule that the table has for other chips is not expected to hold here; one whose `chip` is not known is.
    pub fn verdict(&self, chip: Option<Chip>) -> Verdict {
        let rule = rules::find(self.about);
        let expected = rule.is_none_or(|rule| chip.is_none_or(|chip| rule.chips.has(chip)));
        match self.seen {
            Observed::Unclear => Verdict::Unclear,
            Observed::Holds if expected => Verdict::AsTable,
            Observed::HoldsNot if !expected => Verdict::AsTable,
            _ => Verdict::Differs,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_of_other_chips_is_not_expected_here() {
        // N1 is reported of M4 and M6.
        let (yes, no) = (Finding::holds("N1", ""), Finding::holds_not("N1", ""));
        assert_eq!(
            (yes.verdict(Some(Chip::M4)), no.verdict(Some(Chip::M4))),
            (Verdict::AsTable, Verdict::Differs)
        );
        assert_eq!(
            (yes.verdict(Some(Chip::M1)), no.verdict(Some(Chip::M1))),
            (Verdict::Differs, Verdict::AsTable)
        );
        assert_eq!((yes.verdict(None), no.verdict(None)), (Verdict::AsTable, Verdict::Differs));
        assert_eq!(Finding::unclear("N1", "").verdict(Some(Chip::M1)), Verdict::Unclear);
        for v in [Verdict::AsTable, Verdict::Differs, Verdict::Unclear] {
            assert_eq!(Verdict::parse(v.name()), Some(v));
        }
    }
}
