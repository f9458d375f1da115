//! How operations treat the axes of what they take: one line a kind.

/// How an operation treats the axes of what it takes.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// Each element of the result comes from those at its own place; sizes of 1 are stretched.
    Elementwise,
    /// As before, but for the axes that this parameter names: along these, elements meet.
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
}

/// What is not in this table ties all axes.
const KINDS: &[(Kind, &str)] = &[
    (
        Kind::Elementwise,
        "add sub mul real_div floor_div mod pow maximum minimum select cast identity
         abs sign square sqrt rsqrt inverse exp exp2 log erf sin cos tan atan floor ceil round clip threshold
         equal not_equal less less_equal greater greater_equal logical_and logical_or logical_xor logical_not
         sigmoid sigmoid_hard tanh relu relu6 leaky_relu elu silu softplus softsign gelu",
    ),
    (Kind::Along("axis"), "softmax concat split reduce_argmax reduce_argmin cumsum"),
    (
        Kind::Along("axes"),
        "reduce_sum reduce_mean reduce_max reduce_min reduce_prod reduce_sum_square reduce_l1_norm
         reduce_l2_norm reduce_log_sum reduce_log_sum_exp layer_norm",
    ),
    (Kind::Reshape, "reshape expand_dims squeeze"),
    (Kind::Transpose, "transpose"),
    (Kind::Slice, "slice_by_size slice_by_index"),
    (Kind::Tile, "tile"),
    (Kind::Matmul, "matmul"),
    (Kind::Linear, "linear"),
    (Kind::Conv, "conv"),
    (Kind::Attention, "scaled_dot_product_attention"),
];

/// The kind of operation `name`.
pub(super) fn kind(name: &str) -> Option<Kind> {
    let listed = |names: &str| names.split_whitespace().any(|n| n == name);
    KINDS.iter().find(|(_, names)| listed(names)).map(|(kind, _)| *kind)
}
