//! Reductions.

use super::parts::compare;
use super::unary::whole;
use crate::build::Var;
use crate::diag::Reject;
use crate::grad::GradCall;
use crate::op::{
    Absent, Axes, BOOL, Call, Eval, Grad, I32, NUMBERS, OpDef, Param, STR, Work, constant, resolve_axis,
    tensor,
};
use crate::tensor::{Data, Tensor, flatten, strides, unflatten};
use crate::ty::{DType, Opset, TensorType};

/// `reduce_sum(x, axes, keep_dims)`: the sum over `axes`, or over all.
/// Source: coremltools `iOS15/reduction.py`, class `reduce_sum`.
pub static REDUCE_SUM: OpDef = reduction(
    "reduce_sum",
    |a| fold(a, |line| line.iter().sum()),
    Grad::Rule(|g| {
        let dx = spread(g);
        g.give("x", dx);
    }),
);

/// `reduce_mean(x, axes, keep_dims)`: the mean over `axes`, or over all.
/// Source: coremltools `iOS15/reduction.py`, class `reduce_mean`.
pub static REDUCE_MEAN: OpDef = reduction(
    "reduce_mean",
    |a| fold(a, |line| line.iter().sum::<f64>() / line.len() as f64),
    Grad::Rule(|g| {
        let count = g.ty("x").elements() / g.output().ty().elements().max(1);
        let dx = spread(g) * (1.0 / count as f64);
        g.give("x", dx);
    }),
);

/// `reduce_max(x, axes, keep_dims)`: the largest element over `axes`, or over all.
/// Source: coremltools `iOS15/reduction.py`, class `reduce_max`.
pub static REDUCE_MAX: OpDef = reduction(
    "reduce_max",
    |a| fold(a, |line| line.iter().copied().fold(f64::NEG_INFINITY, f64::max)),
    Grad::Rule(extremum_gradient),
);

/// `reduce_min(x, axes, keep_dims)`: the smallest element over `axes`, or over all.
/// Source: coremltools `iOS15/reduction.py`, class `reduce_min`.
pub static REDUCE_MIN: OpDef = reduction(
    "reduce_min",
    |a| fold(a, |line| line.iter().copied().fold(f64::INFINITY, f64::min)),
    Grad::Rule(extremum_gradient),
);

/// `reduce_prod(x, axes, keep_dims)`: the product over `axes`, or over all.
/// Source: coremltools `iOS15/reduction.py`, class `reduce_prod`.
pub static REDUCE_PROD: OpDef = reduction(
    "reduce_prod",
    |a| fold(a, |line| line.iter().product()),
    Grad::Rule(|g| {
        // dx = dy·y/x: no element may be 0
        let (x, y, dy) = (g.arg("x"), g.output(), g.cotangent());
        g.give("x", kept(g, dy * y) / x);
    }),
);

/// `reduce_sum_square(x, axes, keep_dims)`: `Σ x²` over `axes`, or over all.
/// Source: coremltools `iOS15/reduction.py`, class `reduce_sum_square`.
pub static REDUCE_SUM_SQUARE: OpDef = reduction(
    "reduce_sum_square",
    |a| fold(a, |line| line.iter().map(|x| x * x).sum()),
    Grad::Rule(|g| {
        // dx = 2x·dy
        let (x, dy) = (g.arg("x"), g.cotangent());
        g.give("x", x * kept(g, dy * 2.0));
    }),
);

/// `reduce_l1_norm(x, axes, keep_dims)`: `Σ |x|` over `axes`, or over all.
/// Source: coremltools `iOS15/reduction.py`, class `reduce_l1_norm`.
pub static REDUCE_L1_NORM: OpDef = reduction(
    "reduce_l1_norm",
    |a| fold(a, |line| line.iter().map(|x| x.abs()).sum()),
    Grad::Rule(|g| {
        // dx = dy·sign(x)
        let (x, dy) = (g.arg("x"), g.cotangent());
        g.give("x", super::unary::apply("sign", x) * kept(g, dy));
    }),
);

/// `reduce_l2_norm(x, axes, keep_dims)`: `√Σ x²` over `axes`, or over all.
/// Source: coremltools `iOS15/reduction.py`, class `reduce_l2_norm`.
pub static REDUCE_L2_NORM: OpDef = reduction(
    "reduce_l2_norm",
    |a| fold(a, |line| line.iter().map(|x| x * x).sum::<f64>().sqrt()),
    Grad::Rule(|g| {
        // dx = dy·x/y
        let (x, y, dy) = (g.arg("x"), g.output(), g.cotangent());
        g.give("x", x * kept(g, dy / y));
    }),
);

/// `reduce_log_sum(x, axes, keep_dims)`: `log Σ x` over `axes`, or over all.
/// Source: coremltools `iOS15/reduction.py`, class `reduce_log_sum`.
pub static REDUCE_LOG_SUM: OpDef = reduction(
    "reduce_log_sum",
    |a| fold(a, |line| line.iter().sum::<f64>().ln()),
    Grad::Rule(|g| {
        // dx = dy / Σ x
        let (x, dy) = (g.arg("x"), g.cotangent());
        let sum = x.reduce_sum(&reduced_list(g), g.bool("keep_dims"));
        let dx = stretched(g, dy / sum);
        g.give("x", dx);
    }),
);

/// `reduce_log_sum_exp(x, axes, keep_dims)`: `log Σ eˣ` over `axes`, or over all; the maximum is subtracted first.
/// Source: coremltools `iOS15/reduction.py`, class `reduce_log_sum_exp`.
pub static REDUCE_LOG_SUM_EXP: OpDef = reduction(
    "reduce_log_sum_exp",
    |a| {
        fold(a, |line| {
            let max = line.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let max = if max.is_finite() { max } else { 0.0 };
            max + line.iter().map(|x| (x - max).exp()).sum::<f64>().ln()
        })
    },
    Grad::Rule(|g| {
        // dx = dy·exp(x − y)
        let (x, y, dy) = (g.arg("x"), g.output(), g.cotangent());
        g.give("x", (x - kept(g, y)).exp() * kept(g, dy));
    }),
);

/// `reduce_argmax(x, axis, keep_dims, output_dtype)`: the index of the largest element along `axis`, the first of equals.
/// Source: coremltools `iOS15/reduction.py` and, for `output_dtype`, `iOS17/reduction.py`, class `reduce_argmax`.
pub static REDUCE_ARGMAX: OpDef = index_of("reduce_argmax", |a| position(a, |x, best| x > best));

/// `reduce_argmin(x, axis, keep_dims, output_dtype)`: the index of the smallest element along `axis`, the first of equals.
/// Source: coremltools `iOS15/reduction.py` and, for `output_dtype`, `iOS17/reduction.py`, class `reduce_argmin`.
pub static REDUCE_ARGMIN: OpDef = index_of("reduce_argmin", |a| position(a, |x, best| x < best));

const AXES: &[Param] = &[
    tensor("x", NUMBERS),
    constant("axes", I32).optional(),
    constant("keep_dims", BOOL).or(Absent::Bool(false)),
];

const AXIS: &[Param] = &[
    tensor("x", NUMBERS),
    constant("axis", I32).or(Absent::Int(-1)),
    constant("keep_dims", BOOL).or(Absent::Bool(false)),
    constant("output_dtype", STR).or(Absent::Str("int32")),
];

const fn reduction(name: &'static str, eval: fn(&Eval<'_>) -> Vec<Tensor>, grad: Grad) -> OpDef {
    OpDef {
        name,
        since: Opset::Ios15,
        params: AXES,
        axes: Axes::Along("axes"),
        work: Work::Free,
        infer: reduced_type,
        eval,
        grad,
    }
}

const fn index_of(name: &'static str, eval: fn(&Eval<'_>) -> Vec<Tensor>) -> OpDef {
    let grad = Grad::None("its result is an index");
    OpDef {
        name,
        since: Opset::Ios15,
        params: AXIS,
        axes: Axes::Along("axis"),
        work: Work::Free,
        infer: index_type,
        eval,
        grad,
    }
}

/// Which axes of `x` are reduced.
pub(super) fn reduced_axes(a: &Call<'_>) -> Result<Vec<bool>, Reject> {
    let rank = a.ty("x").rank();
    if !a.has("axes") {
        return Ok(vec![true; rank]);
    }
    let mut out = vec![false; rank];
    for axis in a.ints("axes") {
        out[a.check_axis("axes", axis, rank)?] = true;
    }
    Ok(out)
}

/// The type rule of reductions with `axes` and `keep_dims`.
pub(super) fn reduced_type(a: &Call<'_>) -> Result<Vec<TensorType>, Reject> {
    let (x, reduced, keep) = (a.ty("x"), reduced_axes(a)?, a.bool("keep_dims"));
    let shape: Vec<usize> = x
        .shape
        .iter()
        .zip(&reduced)
        .filter_map(|(&d, &r)| if !r { Some(d) } else { keep.then_some(1) })
        .collect();
    Ok(vec![TensorType::new(x.dtype, shape)])
}

/// Evaluates reductions: `f` of each group of elements; for integers [`whole`].
pub(super) fn fold(a: &Eval<'_>, f: fn(&[f64]) -> f64) -> Vec<Tensor> {
    let x = a.tensor("x");
    let mut reduced = vec![!a.has("axes"); x.ty.rank()];
    for axis in a.ints("axes") {
        if let Some(i) = resolve_axis(axis, x.ty.rank()) {
            reduced[i] = true;
        }
    }
    let kept: Vec<usize> = x.ty.shape.iter().zip(&reduced).map(|(&d, &r)| if r { 1 } else { d }).collect();
    let steps = strides(&kept);
    let mut groups = vec![Vec::new(); a.out().elements()];
    let mut index = vec![0; x.ty.rank()];
    for (n, &v) in x.to_floats().iter().enumerate() {
        unflatten(n, &x.ty.shape, &mut index);
        for (i, r) in index.iter_mut().zip(&reduced) {
            if *r {
                *i = 0;
            }
        }
        groups[flatten(&index, &steps)].push(v);
    }
    let data = Data::Float(groups.iter().map(|g| f(g)).collect());
    vec![whole(Tensor { ty: a.out().clone(), data })]
}

/// Each result with size 1 along the reduced axes, so that it broadcasts against `x`.
fn kept<'b>(g: &GradCall<'_, 'b>, v: Var<'b>) -> Var<'b> {
    let axes = reduced_axes(g).unwrap_or_default();
    let shape = g.ty("x").shape.iter().zip(axes).map(|(&d, reduced)| if reduced { 1 } else { d });
    let shape: Vec<usize> = shape.collect();
    if v.shape() == shape { v } else { v.reshape(&shape) }
}

/// `v`, a value for each result, copied along the reduced axes.
fn stretched<'b>(g: &GradCall<'_, 'b>, v: Var<'b>) -> Var<'b> {
    let (v, x) = (kept(g, v), g.ty("x"));
    if v.shape() == x.shape {
        return v;
    }
    let reps: Vec<i64> =
        x.shape.iter().zip(v.shape()).map(|(&d, k)| if d == k { 1 } else { d as i64 }).collect();
    g.builder().op("tile", [("x", v.into()), ("reps", reps.into())])
}

/// The cotangent of a reduction, copied along the reduced axes.
fn spread<'b>(g: &GradCall<'_, 'b>) -> Var<'b> {
    stretched(g, g.cotangent())
}

/// The cotangent goes to the extreme elements, in equal parts if there are several.
fn extremum_gradient(g: &mut GradCall<'_, '_>) {
    let (x, y, dy) = (g.arg("x"), g.output(), g.cotangent());
    let won = compare("equal", x, kept(g, y)).cast(g.ty("x").dtype);
    let winners = won.reduce_sum(&reduced_list(g), true);
    g.give("x", won * (kept(g, dy) / winners));
}

/// The reduced axes as constants.
fn reduced_list(g: &GradCall<'_, '_>) -> Vec<i64> {
    let axes = reduced_axes(g).unwrap_or_default();
    axes.iter().enumerate().filter_map(|(i, &r)| r.then_some(i as i64)).collect()
}

fn index_type(a: &Call<'_>) -> Result<Vec<TensorType>, Reject> {
    let x = a.ty("x");
    let axis = a.check_axis("axis", a.int("axis"), x.rank())?;
    let dtype = match a.str("output_dtype") {
        "int32" => DType::I32,
        "uint16" => DType::U16,
        other => {
            return Err(Reject::new("index-dtype", format!("`{}` cannot return `{other}`", a.op.name()))
                .help("use `int32` or `uint16`"));
        }
    };
    let mut shape = x.shape.clone();
    match a.bool("keep_dims") {
        true => shape[axis] = 1,
        false => drop(shape.remove(axis)),
    }
    Ok(vec![TensorType::new(dtype, shape)])
}

fn position(a: &Eval<'_>, better: fn(f64, f64) -> bool) -> Vec<Tensor> {
    let x = a.tensor("x");
    let axis = a.axis("axis", x.ty.rank());
    let (len, step) = (x.ty.shape[axis], strides(&x.ty.shape)[axis]);
    let values = x.to_floats();
    let first_best = |n: usize| {
        let start = n / step * step * len + n % step;
        let at = |k: usize| values[start + k * step];
        (1..len).fold(0, |best, k| if better(at(k), at(best)) { k } else { best }) as i64
    };
    let data = (0..a.out().elements()).map(first_best).collect();
    vec![Tensor { ty: a.out().clone(), data: Data::Int(data) }]
}
