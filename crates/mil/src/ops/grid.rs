//! Points between the elements of an axis, and the matrices that sample it there.

use super::parts::compare;
use super::unary::apply;
use crate::build::Var;
use crate::ir::Literal;
use crate::tensor::Tensor;
use crate::ty::{DType, TensorType};

/// The sampling modes of `grid`.
pub(super) const SAMPLING_MODES: [&str; 5] =
    ["DEFAULT", "STRICT_ALIGN_CORNERS", "ALIGN_CORNERS", "UNALIGN_CORNERS", "OFFSET_CORNERS"];

/// `count` points of an axis of `size` elements, from 0 to `size − 1`; `size` may be that of a part, between elements.
pub(super) fn grid(mode: &str, size: f64, count: usize) -> Vec<f64> {
    let (n, last) = (count as f64, size - 1.0);
    let point = |i: f64| match mode {
        "ALIGN_CORNERS" if count == 1 => last / 2.0,
        "STRICT_ALIGN_CORNERS" | "ALIGN_CORNERS" => i * last / (n - 1.0).max(1.0),
        "UNALIGN_CORNERS" => (i + 0.5) * size / n - 0.5,
        "OFFSET_CORNERS" => (i + 0.5) * last.max(1.0) / n,
        _ => i * size / n,
    };
    (0..count).map(|i| point(i as f64).max(0.0).min(last)).collect()
}

/// The matrix `[…, N, size]` with which an axis of `size` elements is sampled linearly at `points` `[…, N, 1]`, which
/// are fp32: `max(1 − |p − j|, 0)`.
pub(super) fn tent<'b>(points: Var<'b>, size: usize, dtype: DType) -> Var<'b> {
    let weights = apply("relu", 1.0 - apply("abs", points - ramp(points, size)));
    if dtype == DType::F32 { weights } else { weights.cast(dtype) }
}

/// 0, 1, 2 … `size − 1` as fp32.
pub(super) fn ramp<'b>(near: Var<'b>, size: usize) -> Var<'b> {
    written(near, &[size], (0..size).map(|j| j as f64))
}

/// A constant of fp32.
pub(super) fn written<'b>(near: Var<'b>, shape: &[usize], values: impl IntoIterator<Item = f64>) -> Var<'b> {
    let tensor = Tensor::floats(TensorType::new(DType::F32, shape), values);
    near.builder().op("const", [("val", Literal::inline(tensor).into())])
}

/// The derivative of `tent` by the points: −1 at the pixel to the left of each, 1 at the one to the right.
pub(super) fn slope<'b>(points: Var<'b>, size: usize) -> Var<'b> {
    let apart = apply("floor", points - ramp(points, size));
    let at = |d: f64| compare("equal", apart, points.builder().scalar(DType::F32, d)).cast(DType::F32);
    at(-1.0) - at(0.0)
}

/// How the elements of an axis are sampled.
#[derive(Clone, Copy)]
pub(super) enum Sampling<'a> {
    Linear(&'a str),
    Nearest(&'a str),
    /// The source element after each was repeated.
    Repeated,
}

/// A sampling point along an axis: two elements and the weight of the second.
pub(super) struct Tap {
    pub(super) at: [usize; 2],
    pub(super) part: f64,
}

impl Sampling<'_> {
    /// The points of `count` samples over `size` elements.
    pub(super) fn points(self, size: usize, count: usize) -> Vec<f64> {
        // Element ⌊(i + twice/2)·size/count⌋.
        let element =
            |i: usize, twice: u128| ((2 * i as u128 + twice) * size as u128 / (2 * count as u128)) as f64;
        let each = 0..count;
        match self {
            Sampling::Linear(mode) => grid(mode, size as f64, count),
            Sampling::Repeated => each.map(|i| element(i, 0)).collect(),
            Sampling::Nearest("DEFAULT" | "UNALIGN_CORNERS") => each.map(|i| element(i, 1)).collect(),
            Sampling::Nearest(mode) => {
                grid(mode, size as f64, count).iter().map(|p| (p + 0.5).floor()).collect()
            }
        }
    }

    /// The same, as elements.
    pub(super) fn taps(self, size: usize, count: usize) -> Vec<Tap> {
        let tap = |p: f64| {
            let low = (p as usize).min(size - 1);
            Tap { at: [low, (low + 1).min(size - 1)], part: p - low as f64 }
        };
        self.points(size, count).into_iter().map(tap).collect()
    }
}
