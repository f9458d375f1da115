//! Values that gradient rules write: zeros, ramps, and parts among zeros.

use crate::build::{Builder, Input, Var};
use crate::grad::GradCall;
use crate::ir::Literal;
use crate::tensor::{Data, Tensor};
use crate::ty::{DType, TensorType};

/// `v`, which has `size`, with `step − 1` zeros between its elements along `axis`; `size` becomes that of the result.
pub(super) fn dilated<'b>(
    g: &GradCall<'_, 'b>,
    v: Var<'b>,
    size: &mut [usize],
    axis: usize,
    step: usize,
) -> Var<'b> {
    let n = size[axis];
    let (outer, inner) = (size[..axis].iter().product(), size[axis + 1..].iter().product());
    let gaps = zeros(g, &TensorType::new(g.ty("x").dtype, [outer, n, step - 1, inner]));
    let Some(spaced) = joined(vec![v.reshape(&[outer, n, 1, inner]), gaps], 2) else { return v };
    // No zeros after the last element: they might exceed `x`.
    size[axis] = (n - 1) * step + 1;
    let spaced = spaced.reshape(&[outer, n * step, inner]);
    spaced.slice(&[0, 0, 0], &[outer, size[axis], inner]).reshape(size)
}

/// Pads `v`, of `size`, with zeros to the type of `x`, at `begin`.
pub(super) fn between_zeros<'b>(
    g: &GradCall<'_, 'b>,
    v: Var<'b>,
    begin: &[usize],
    mut size: Vec<usize>,
) -> Var<'b> {
    let (x, mut v) = (g.ty("x"), v);
    for (axis, (&before, &all)) in begin.iter().zip(&x.shape).enumerate() {
        let after = all - before - size[axis];
        let mut parts = Vec::new();
        for (n, part) in [(before, None), (size[axis], Some(v)), (after, None)] {
            size[axis] = n;
            let zeros = || zeros(g, &TensorType::new(x.dtype, size.clone()));
            parts.extend((n > 0).then(|| part.unwrap_or_else(zeros)));
        }
        size[axis] = all;
        v = joined(parts, axis).unwrap_or(v);
    }
    v
}

/// `parts` along `axis`; nothing to do for one.
fn joined(parts: Vec<Var<'_>>, axis: usize) -> Option<Var<'_>> {
    if parts.len() < 2 { None } else { Var::concat(parts, axis as i64) }
}

/// Zeros of type `ty`, for gradient rules.
pub(crate) fn zeros<'b>(g: &GradCall<'_, 'b>, ty: &TensorType) -> Var<'b> {
    filled(g.builder(), ty, 0.0)
}

/// A tensor of type `ty` filled with `value`, by tiling: derived programs contain no large constants.
pub(super) fn filled<'b>(builder: &'b Builder, ty: &TensorType, value: f64) -> Var<'b> {
    let literal = |ty: TensorType| {
        let n = ty.elements();
        Literal::inline(Tensor::floats(ty, std::iter::repeat_n(value, n)))
    };
    if ty.elements() <= SMALL {
        return builder.op("const", [("val", literal(ty.clone()).into())]);
    }
    let one = TensorType::new(ty.dtype, vec![1; ty.rank()]);
    let reps: Vec<i64> = ty.shape.iter().map(|&d| d as i64).collect();
    builder.op("tile", [("x", literal(one).into()), ("reps", reps.into())])
}

/// Numbers that are written out rather than tiled.
const SMALL: usize = 64;

/// `v` backwards along `axes`, for gradient rules.
pub(super) fn reversed(v: Var<'_>, axes: Vec<i64>) -> Var<'_> {
    v.builder().op("reverse", [("x", v.into()), ("axes", axes.into())])
}

/// 0, 1, …, `n − 1` in int32, for gradient rules.
pub(super) fn ramp(b: &Builder, n: usize) -> Var<'_> {
    b.op("range_1d", [("end", (n as i64).into()), ("start", 0.into()), ("step", 1.into())])
}

/// `x`, with `update`, which has `size`, at a `begin` that is computed.
pub(super) fn put_at<'b>(
    g: &GradCall<'_, 'b>,
    x: Var<'b>,
    update: Var<'b>,
    begin: Var<'b>,
    size: Vec<i64>,
) -> Var<'b> {
    let begin = begin.cast(DType::I32);
    // A begin counted from the end may have an end of 0, which would be counted from the start.
    let all: Vec<i64> = x.shape().iter().map(|&d| d as i64).collect();
    let literal = |v: Vec<i64>| -> Input<'b> { v.into() };
    let b = g.builder();
    let zero = b.op("const", [("val", scalar_int(0).into())]);
    let below = b.op("less", [("x", begin.into()), ("y", zero.into())]);
    let shifted = b.op("add", [("x", begin.into()), ("y", literal(all))]);
    let begin = b.op("select", [("cond", below.into()), ("a", shifted.into()), ("b", begin.into())]);
    let end = b.op("add", [("x", begin.into()), ("y", literal(size))]);
    let args = [("x", x.into()), ("update", update.into()), ("begin", begin.into()), ("end", end.into())];
    b.op("slice_update", args)
}

fn scalar_int(x: i64) -> Literal {
    Literal::inline(Tensor { ty: TensorType::scalar(DType::I32), data: Data::Int(vec![x]) })
}

/// Comparison `op` of `x` and `y`, for gradient rules.
pub(super) fn compare<'b>(op: &str, x: Var<'b>, y: Var<'b>) -> Var<'b> {
    x.builder().op(op, [("x", x.into()), ("y", y.into())])
}

/// `a` where `cond`, else `b`, for gradient rules; `None` is 0.
pub(super) fn choose<'b>(cond: Var<'b>, a: Option<Var<'b>>, b: Option<Var<'b>>) -> Var<'b> {
    let builder = cond.builder();
    let dtype = a.or(b).map_or(DType::F32, |v| v.ty().dtype);
    let or_zero = |v: Option<Var<'b>>| v.unwrap_or_else(|| builder.scalar(dtype, 0.0));
    builder.op("select", [("cond", cond.into()), ("a", or_zero(a).into()), ("b", or_zero(b).into())])
}
