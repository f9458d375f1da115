//! Verdicts of probes on a chip, which override the table for that chip.

use super::chip::Chip;
use super::rule::{Consequence, Rule};
use std::collections::BTreeMap;

/// Observations of rules on one chip.
#[derive(Clone, Debug)]
pub struct Profile {
    chip: Chip,
    seen: BTreeMap<&'static str, Measured>,
}

/// The observation of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    /// Whether it holds.
    pub holds: bool,
    /// The observed consequence of breaking it, if any.
    pub consequence: Option<Consequence>,
}

impl Profile {
    /// Verdicts of `chip`; the last one counts if there are several on a rule.
    pub fn new(chip: Chip, seen: impl IntoIterator<Item = (&'static Rule, Measured)>) -> Profile {
        Profile { chip, seen: seen.into_iter().map(|(rule, measured)| (rule.id, measured)).collect() }
    }

    /// The chip that it is of.
    pub fn chip(&self) -> Chip {
        self.chip
    }

    /// The observation of `rule`.
    pub fn of(&self, rule: &Rule) -> Option<Measured> {
        self.seen.get(rule.id).copied()
    }

    /// The observation of `rule` on `chip`.
    pub fn on(&self, rule: &Rule, chip: Chip) -> Option<Measured> {
        self.of(rule).filter(|_| chip == self.chip)
    }
}
