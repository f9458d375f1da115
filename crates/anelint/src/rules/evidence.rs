//! Reports on a rule, and when they suffice for an error.

use std::collections::BTreeSet;

/// The report of one project on a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The project.
    pub by: &'static str,
    /// The report.
    pub says: Stance,
}

/// The stance of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stance {
    /// It saw the rule hold, or asserts it.
    Holds,
    /// It publishes a test, a probe or a sweep that shows it.
    Tested,
    /// A program that breaks the rule ran.
    Ran,
}

impl Claim {
    /// The owner: projects of one owner count as one.
    pub fn owner(&self) -> &'static str {
        self.by.split(['/', ' ']).next().unwrap_or(self.by)
    }
}

/// `by` reports that the rule holds.
pub(super) const fn says(by: &'static str) -> Claim {
    Claim { by, says: Stance::Holds }
}

/// The rule holds, shows a published test of `by`.
pub(super) const fn tested(by: &'static str) -> Claim {
    Claim { by, says: Stance::Tested }
}

/// The rule does not hold everywhere: for `by` such a program ran.
pub(super) const fn ran(by: &'static str) -> Claim {
    Claim { by, says: Stance::Ran }
}

/// Whether `reports` are enough to call a breach an error: two that are independent, or one with a published test, and
/// none of success.
pub(super) fn suffice(reports: &[Claim]) -> bool {
    let holds = reports.iter().filter(|r| r.says != Stance::Ran);
    let owners: BTreeSet<&str> = holds.clone().map(Claim::owner).collect();
    let shown = holds.clone().any(|r| r.says == Stance::Tested);
    (owners.len() >= 2 || shown) && reports.iter().all(|r| r.says != Stance::Ran)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_independent_reports_or_a_test_and_no_success() {
        assert!(suffice(&[says("a/one"), says("b/two")]));
        assert!(suffice(&[tested("a/one")]));
        // One owner is one report, whatever it is called.
        assert!(!suffice(&[says("a/one"), says("a/two #3")]));
        assert!(!suffice(&[says("one (crates.io)")]));
        assert!(!suffice(&[says("a/one"), says("b/two"), ran("c/three")]));
        assert!(!suffice(&[tested("a/one"), ran("a/one")]));
        assert!(!suffice(&[]));
    }
}
