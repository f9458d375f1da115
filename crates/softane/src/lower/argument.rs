//! Arguments of operations.

use mil::{Literal, ValueId};

/// An argument of an operation.
#[derive(Clone, Copy, Debug)]
pub(super) enum Argument<'f> {
    Value(ValueId),
    Literal(&'f Literal),
}
