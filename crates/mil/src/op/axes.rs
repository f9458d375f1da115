//! How operations treat the axes of their operands.

/// How an operation treats the axes of its operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axes {
    /// Elementwise: each element of the result depends on those at its position; sizes of 1 broadcast.
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
    /// Convolution: channels are contracted, windows slide over the spatial axes.
    Conv,
    /// Attention: queries are independent, and so are the columns of values.
    Attention,
    /// No axis is known to be independent.
    Tied,
}
