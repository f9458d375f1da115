//! Values outside the range of their element type.

use mil::DType;
use std::fmt;

/// The first value of a forward pass outside the range of its element type.
#[derive(Clone, Debug, PartialEq)]
pub struct OutOfRange {
    /// The layer, counted from 0.
    pub layer: usize,
    /// The value's name in the layer's program.
    pub value: String,
    /// Elements that are infinite, not a number, or too large.
    pub count: usize,
    /// All elements.
    pub of: usize,
    /// The largest magnitude among the finite elements.
    pub largest: f32,
    /// The element type of the engine's surfaces.
    pub dtype: DType,
}

impl fmt::Display for OutOfRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let OutOfRange { layer, count, of, largest, dtype, .. } = self;
        write!(
            f,
            "layer {layer}: {count} of {of} elements of {} do not fit into {}; the largest finite one is {largest}",
            self.described(),
            dtype.name()
        )
    }
}

impl OutOfRange {
    /// A description of the value.
    fn described(&self) -> String {
        let what = match self.value.as_str() {
            "x" => "the residual stream before attention",
            "x2" => "the residual stream before the feed-forward part",
            "xn" | "x2n" => "the normed input",
            "q_proj" | "q_norm" | "q" => "the queries",
            "k_proj" | "k_norm" | "k" => "the keys",
            "v" => "the attention values",
            "attn" => "the heads' results",
            "o" => "the attention output",
            "h1" | "h3" => "a feed-forward projection",
            "gated" => "the product gelu(h1)·h3",
            "gate" => "the product silu(h1)·h3",
            "o_proj" => "the attention output before its norm",
            "down_proj" => "the feed-forward output before its norm",
            "ffn" => "the feed-forward output",
            "y" => "the residual stream after the layer",
            _ => return format!("`{}`", self.value),
        };
        format!("`{}`, {what},", self.value)
    }

    /// What the user can do about it.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match (self.dtype, self.value.as_str()) {
            (DType::F16, "x" | "x2") => Some(
                "Run with `--norms host`, which leaves the residual stream in fp32, or with `--storage f32`.",
            ),
            (DType::F16, _) => Some("Run with `--storage f32`: the software engine then computes in fp32."),
            _ => Some("The weights are not usable: take an earlier checkpoint."),
        }
    }
}
