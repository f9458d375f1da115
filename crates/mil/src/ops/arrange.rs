//! Rearranges elements along their axes.

use super::parts::compare;
use super::parts::{ramp, reversed};
use super::unary::same_type;
use crate::diag::Reject;
use crate::grad::GradCall;
use crate::op::{ANY, Absent, Axes, Call, Eval, Grad, I32, INDEX, OpDef, Work, constant, tensor};
use crate::tensor::{Data, Tensor, flatten, strides, unflatten};
use crate::ty::{DType, Opset, Shape, TensorType};

/// `reverse(x, axes)`: `x` backwards along `axes`, or along all.
/// Source: coremltools `iOS15/tensor_transformation.py`, class `reverse`.
pub static REVERSE: OpDef = OpDef {
    name: "reverse",
    since: Opset::Ios15,
    params: &[tensor("x", ANY), constant("axes", I32).optional()],
    axes: Axes::Tied,
    work: Work::Free,
    infer: |a| {
        reversed_axes(a)?;
        same_type(a)
    },
    eval: |a| {
        let (x, flipped) = (a.tensor("x"), reversed_axes(a).unwrap_or_default());
        let (shape, steps) = (&x.ty.shape, strides(&x.ty.shape));
        let from = |index: &[usize]| {
            let place = |i: usize| if flipped[i] { shape[i] - 1 - index[i] } else { index[i] };
            (0..shape.len()).map(|i| place(i) * steps[i]).sum()
        };
        vec![x.gathered(a.out().clone(), from)]
    },
    grad: Grad::Rule(|g| {
        let flipped = reversed_axes(g).unwrap_or_default();
        let axes: Vec<i64> = (0..flipped.len()).filter(|&i| flipped[i]).map(|i| i as i64).collect();
        let dy = g.cotangent();
        g.give("x", if axes.is_empty() { dy } else { reversed(dy, axes) });
    }),
};

/// `reverse_sequence(x, lengths, seq_axis, batch_axis)`: for each `i` of `batch_axis`, the first `lengths[i]` elements
/// along `seq_axis` backwards.
///
/// A length that is out of range counts as the nearest that is not.
/// Source: coremltools `iOS15/tensor_transformation.py`, class `reverse_sequence`; axes must differ, as in TensorFlow.
pub static REVERSE_SEQUENCE: OpDef = OpDef {
    name: "reverse_sequence",
    since: Opset::Ios15,
    params: &[
        tensor("x", ANY),
        tensor("lengths", INDEX),
        constant("seq_axis", I32).or(Absent::Int(0)),
        constant("batch_axis", I32).or(Absent::Int(0)),
    ],
    axes: Axes::Tied,
    work: Work::Free,
    infer: |a| {
        let (x, lengths) = (a.ty("x"), a.ty("lengths"));
        let seq = a.check_axis("seq_axis", a.int("seq_axis"), x.rank())?;
        let batch = a.check_axis("batch_axis", a.int("batch_axis"), x.rank())?;
        if seq == batch {
            return Err(Reject::new("equal-axes", "`reverse_sequence` needs two different axes")
                .label("seq_axis", seq.to_string())
                .label("batch_axis", batch.to_string()));
        }
        if lengths.shape != [x.shape[batch]] {
            return Err(Reject::new(
                "sequence-lengths",
                "`reverse_sequence` needs a length for each sequence",
            )
            .label("x", format!("{} along axis {batch}", x.shape[batch]))
            .label("lengths", Shape(&lengths.shape).to_string()));
        }
        same_type(a)
    },
    eval: |a| {
        let (x, lengths) = (a.tensor("x"), a.tensor("lengths").as_ints());
        let (seq, batch) = (a.axis("seq_axis", x.ty.rank()), a.axis("batch_axis", x.ty.rank()));
        let steps = strides(&x.ty.shape);
        let from = |index: &[usize]| {
            let len = lengths[index[batch]].clamp(0, x.ty.shape[seq] as i64) as usize;
            let i = index[seq];
            let moved = if i < len { len - 1 - i } else { i };
            flatten(index, &steps) - i * steps[seq] + moved * steps[seq]
        };
        vec![x.gathered(a.out().clone(), from)]
    },
    grad: Grad::Rule(|g| {
        // It undoes itself.
        let args = [
            ("x", g.cotangent().into()),
            ("lengths", g.arg("lengths").into()),
            ("seq_axis", g.int("seq_axis").into()),
            ("batch_axis", g.int("batch_axis").into()),
        ];
        let dx = g.builder().op("reverse_sequence", args);
        g.give("x", dx);
    }),
};

/// `band_part(x, lower, upper)`: of each matrix the main diagonal, `lower` diagonals below and `upper` above it; zero
/// elsewhere. A negative number stands for all.
/// Source: coremltools `iOS15/tensor_operation.py`, class `band_part`.
pub static BAND_PART: OpDef = OpDef {
    name: "band_part",
    since: Opset::Ios15,
    params: &[
        tensor("x", &[DType::F16, DType::F32, DType::I32, DType::Bool]),
        constant("lower", I32).or(Absent::Int(-1)),
        constant("upper", I32).or(Absent::Int(-1)),
    ],
    axes: Axes::Tied,
    work: Work::Free,
    infer: |a| match a.ty("x").rank() {
        2.. => same_type(a),
        rank => Err(Reject::new("rank", "`band_part` needs matrices").label("x", format!("{rank} axes"))),
    },
    eval: band,
    grad: Grad::Rule(|g| {
        // Outside of the band nothing depends on x.
        let args =
            [("x", g.cotangent().into()), ("lower", g.int("lower").into()), ("upper", g.int("upper").into())];
        let dx = g.builder().op("band_part", args);
        g.give("x", dx);
    }),
};

/// `sliding_windows(x, axis, size, stride)`: the windows of `size` elements along `axis`, each `stride` after the one
/// before: `[…, windows, size, …]`.
/// Source: coremltools `iOS15/tensor_transformation.py`, class `sliding_windows`.
pub static SLIDING_WINDOWS: OpDef = OpDef {
    name: "sliding_windows",
    since: Opset::Ios15,
    params: &[
        tensor("x", ANY),
        constant("axis", I32),
        constant("size", I32),
        constant("stride", I32).or(Absent::Int(1)),
    ],
    axes: Axes::Tied,
    work: Work::Free,
    infer: |a| {
        let (x, Windows { axis, count, size, .. }) = (a.ty("x"), Windows::of(a)?);
        let shape = [&x.shape[..axis], &[count, size], &x.shape[axis + 1..]].concat();
        Ok(vec![TensorType::new(x.dtype, shape)])
    },
    eval: |a| {
        let x = a.tensor("x");
        let Ok(Windows { axis, stride, .. }) = Windows::of(a) else { return Vec::new() };
        let mut steps = strides(&x.ty.shape);
        steps.insert(axis, stride.saturating_mul(steps[axis])); // Large only where there is one window.
        vec![x.gathered(a.out().clone(), |index| flatten(index, &steps))]
    },
    grad: Grad::Rule(windows_gradient),
};

/// The axes that `reverse` flips.
fn reversed_axes(a: &Call<'_>) -> Result<Vec<bool>, Reject> {
    let rank = a.ty("x").rank();
    let mut out = vec![!a.has("axes"); rank];
    for axis in a.ints("axes") {
        // As in NumPy, an axis that is named twice is flipped twice.
        let i = a.check_axis("axes", axis, rank)?;
        out[i] = !out[i];
    }
    Ok(out)
}

fn band(a: &Eval<'_>) -> Vec<Tensor> {
    let mut out = a.tensor("x").clone();
    let rank = out.ty.rank();
    let (lower, upper) = (a.int("lower"), a.int("upper"));
    let mut index = vec![0; rank];
    for n in 0..out.ty.elements() {
        unflatten(n, &out.ty.shape, &mut index);
        let below = index[rank - 2] as i64 - index[rank - 1] as i64;
        if (lower < 0 || below <= lower) && (upper < 0 || -below <= upper) {
            continue;
        }
        match &mut out.data {
            Data::Float(v) => v[n] = 0.0,
            Data::Int(v) => v[n] = 0,
            Data::Bool(v) => v[n] = false,
            Data::Str(_) => {}
        }
    }
    vec![out]
}

/// The windows of `sliding_windows`.
struct Windows {
    axis: usize,
    count: usize,
    size: usize,
    stride: usize,
}

impl Windows {
    fn of(a: &Call<'_>) -> Result<Windows, Reject> {
        let x = a.ty("x");
        let axis = a.check_axis("axis", a.int("axis"), x.rank())?;
        let positive = |name| usize::try_from(a.int(name)).ok().filter(|&n| n > 0);
        if let (Some(size), Some(stride)) = (positive("size"), positive("stride"))
            && let Some(room) = x.shape[axis].checked_sub(size)
            && let Some(count) = (room / stride).checked_add(1)
        {
            return Ok(Windows { axis, count, size, stride });
        }
        Err(Reject::new("windows", "`sliding_windows` finds no window")
            .label("x", format!("{} along axis {axis}", x.shape[axis]))
            .label("size", a.int("size").to_string())
            .label("stride", a.int("stride").to_string())
            .help("`size` is from 1 to the size of the axis, `stride` at least 1"))
    }
}

fn windows_gradient(g: &mut GradCall<'_, '_>) {
    // As a product: y = C·x with C[w·size + s, i] = 1 where i = w·stride + s  ⇒  dx = Cᵀ·dy
    let Ok(Windows { axis, count, size, stride }) = Windows::of(g) else { return };
    let (x, b) = (g.ty("x").clone(), g.builder());
    let n = x.shape[axis];
    let starts = b.op("mul", [("x", ramp(b, count).into()), ("y", (stride as i64).into())]);
    let starts = starts.reshape(&[count, 1]);
    let places = b.op("add", [("x", starts.into()), ("y", ramp(b, size).into())]);
    let places = places.reshape(&[count * size, 1]);
    let chosen = compare("equal", places, ramp(b, n)).cast(x.dtype);
    let (outer, inner) = (x.shape[..axis].iter().product(), x.shape[axis + 1..].iter().product());
    let dy = g.cotangent().reshape(&[outer, count * size, inner]);
    g.give("x", chosen.matmul(dy, true, false).reshape(&x.shape));
}
