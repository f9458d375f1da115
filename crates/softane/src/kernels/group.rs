//! Groups of elementwise operations that will share one kernel.

use super::tile_program::Code;
use crate::view::View;

/// Operands of one shape and the computation on them, per element or per row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Group {
    pub shape: Vec<usize>,
    /// Broadcast to `shape`.
    pub operands: Vec<View>,
    pub code: Code,
    /// Whether some instruction works on rows, which are the last axis.
    pub rows: bool,
    /// An operand that has not been computed.
    pub product: Option<Deferred>,
}

/// A product that has not been computed: `left · right`, which is to be `out`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Deferred {
    pub left: View,
    pub right: View,
    /// The view of its buffer if it is stored, also for groups that use it as an operand.
    pub out: View,
    /// Whether it is rounded to half precision.
    pub narrow: bool,
    pub label: String,
}
