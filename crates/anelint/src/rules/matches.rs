//! The places where one check finds its rule broken.

use super::subject::Subject;
use mil::text::tree::Span;

/// The matches of one check: the first and the count, for certain and for disputed ones.
#[derive(Default)]
pub struct Matches {
    sure: Group,
    disputed: Group,
}

/// Places that break a rule in the same way.
#[derive(Default)]
pub(super) struct Group {
    /// Why this form may be accepted after all.
    pub(super) disputed: Option<&'static str>,
    /// The first place, and the sentence on it.
    pub(super) first: Option<(Span, String)>,
    pub(super) count: usize,
}

impl Group {
    fn add(&mut self, span: Span, message: impl FnOnce() -> String) {
        self.count += 1;
        self.first.get_or_insert_with(|| (span, message()));
    }
}

impl Matches {
    /// Records a violation at `span`; `message` is called only for the first.
    pub fn at(&mut self, span: Span, message: impl FnOnce() -> String) {
        self.sure.add(span, message);
    }

    /// Records a disputed violation; `reason` states why this form may be accepted.
    pub fn disputed(&mut self, span: Span, reason: &'static str, message: impl FnOnce() -> String) {
        self.disputed.disputed.get_or_insert(reason);
        self.disputed.add(span, message);
    }

    /// The rule is broken by every operation of these names.
    pub fn every(&mut self, s: &Subject<'_>, ops: &[&str]) {
        for call in s.each_of(ops) {
            self.at(call.span(), || call.described());
        }
    }

    /// The sure places, then the disputed ones.
    pub(super) fn into_groups(self) -> [Group; 2] {
        [self.sure, self.disputed]
    }
}
