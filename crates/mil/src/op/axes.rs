//! How operations treat the axes of what they take.

/// How an operation treats the axes of what it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axes {
    /// Each element of the result comes from those at its own place; sizes of 1 are stretched.
    Elementwise,
    /// As [`Axes::Elementwise`], but for the axes that this parameter names: along these, elements meet.
    Along(&'static str),
    /// The same elements in the same order, in another shape.
    Reshape,
    /// The same axes in another order.
    Transpose,
    /// A part of each axis, or all of it.
    Slice,
    /// Each axis several times, or once.
    Tile,
    /// The last two axes are multiplied.
    Matmul,
    /// The last axis is multiplied.
    Linear,
    /// Channels are multiplied, windows slide over the others.
    Conv,
    /// Queries are independent of one another, and so are the columns of values.
    Attention,
    /// No axis is known to be independent of the others.
    Tied,
}
