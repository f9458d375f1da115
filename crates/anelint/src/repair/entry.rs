//! The entry of a repair.

use super::rewritten::Rewritten;
use mil::{Function, Program};

/// One repair.
#[derive(Debug)]
pub struct Repair {
    /// The rules whose violations it repairs.
    pub rules: &'static [&'static str],
    /// Its name, in words with hyphens.
    pub name: &'static str,
    /// Its effect: one sentence.
    pub does: &'static str,
    /// Whether it is applied by default: yes, unless an engine is known to accept the original form.
    pub by_default: bool,
    /// The largest difference that it may make in exact arithmetic, relative to the largest element of a result.
    pub exact: f64,
    /// How it does it.
    pub apply: Apply,
}

/// The largest relative difference in exact arithmetic that sums in another order make.
pub(super) const EXACT: f64 = 1e-9;

/// How a repair is applied.
#[derive(Clone, Copy, Debug)]
pub enum Apply {
    /// Applies to the header: the changes, in words; empty if there are none.
    Program(fn(&mut Program) -> Vec<String>),
    /// Applies to a function: `None` if there is nothing to do.
    ///
    /// # Errors
    /// Why it cannot be done, although it should.
    Function(fn(&Function) -> Result<Option<Rewritten>, String>),
}
