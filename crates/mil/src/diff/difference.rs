//! A difference between two programs.

use std::ops::Range;

/// The most differences that are reported.
pub(super) const TOLD: usize = 20;

/// Which of the two programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Side {
    First,
    Second,
}

/// Something that is not the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// One sentence.
    pub message: String,
    /// The place in the first program, and the text there.
    pub first: Option<(Range<usize>, String)>,
    /// The same of the second.
    pub second: Option<(Range<usize>, String)>,
}
