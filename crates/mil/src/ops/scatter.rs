//! Gathers and scatters along axes by indices.
//!
//! A negative index counts from the end; one out of range, undefined in coremltools, is clamped to the nearest
//! index, as `gather` does.

use super::elementwise::floor_parts;
use super::gather::{INDICES, VALUES};
use super::parts::zeros;
use super::places::{Indexing, along_axis, are_distinct, places, refuse, rows};
use super::unary::{equal_dtypes, wrap};
use crate::build::{Input, Var};
use crate::diag::Reject;
use crate::grad::GradCall;
use crate::ir::Literal;
use crate::op::{Absent, Axes, BOOL, Call, Eval, Grad, I32, OpDef, STR, Work, constant, tensor};
use crate::tensor::{Data, Tensor};
use crate::ty::{DType, Opset, Shape, TensorType};

/// `gather_along_axis(x, indices, axis, validate_indices)`: for each element of `indices`, the one of `x` with that index
/// along `axis` and the same ones along the others.
/// Source: coremltools `iOS15` and `iOS17/scatter_gather.py`, class `gather_along_axis`.
pub static GATHER_ALONG_AXIS: OpDef = OpDef {
    name: "gather_along_axis",
    since: Opset::Ios15,
    params: &[
        tensor("x", VALUES),
        tensor("indices", INDICES),
        constant("axis", I32).or(Absent::Int(0)),
        constant("validate_indices", BOOL).or(Absent::Bool(false)).since(Opset::Ios17),
    ],
    axes: Axes::Tied,
    work: Work::Free,
    infer: |a| {
        along_axis(a, "x")?;
        Ok(vec![TensorType::new(a.ty("x").dtype, a.ty("indices").shape.clone())])
    },
    eval: |a| {
        let places = places(a, Indexing::AlongAxis, "x");
        vec![taken(a, places)]
    },
    grad: Grad::Rule(|g| {
        // dx adds each cotangent at the element's source
        let none = zeros(g, g.ty("x"));
        let axis = ("axis", Input::Int(g.int("axis")));
        let dx = put_back(g, "scatter_along_axis", none, vec![axis]);
        g.give("x", dx);
    }),
};

/// `gather_nd(x, indices, batch_dims, validate_indices)`: the slices of `x` that the rows of `indices` name: a row's
/// numbers are indices along the first axes after the common `batch_dims`.
/// Source: coremltools `iOS15`, `iOS16` (`batch_dims`) and `iOS17/scatter_gather.py`, class `gather_nd`.
pub static GATHER_ND: OpDef = OpDef {
    name: "gather_nd",
    since: Opset::Ios15,
    params: &[
        tensor("x", VALUES),
        tensor("indices", INDICES),
        constant("batch_dims", I32).or(Absent::Int(0)).since(Opset::Ios16),
        constant("validate_indices", BOOL).or(Absent::Bool(false)).since(Opset::Ios17),
    ],
    axes: Axes::Tied,
    work: Work::Free,
    infer: |a| {
        let (batch, depth) = rows(a, "x")?;
        let (x, indices) = (a.ty("x"), a.ty("indices"));
        let shape = [&indices.shape[..indices.rank() - 1], &x.shape[batch + depth..]].concat();
        Ok(vec![TensorType::new(x.dtype, shape)])
    },
    eval: |a| {
        let places = places(a, Indexing::Rows, "x");
        vec![taken(a, places)]
    },
    grad: Grad::Rule(|g| {
        let (none, indices) = (zeros(g, g.ty("x")), whole_rows(g));
        let args = [
            ("data", none.into()),
            ("indices", indices.into()),
            ("updates", g.cotangent().into()),
            ("mode", "add".into()),
        ];
        let dx = g.builder().op("scatter_nd", args);
        g.give("x", dx);
    }),
};

/// `scatter(data, indices, updates, axis, mode, validate_indices)`: `data`, with `updates` joined into its slices at
/// `indices` along `axis`, one after the other; `mode` says how.
/// Source: coremltools `iOS15` and `iOS17/scatter_gather.py`, class `scatter`; the default mode from the code.
pub static SCATTER: OpDef = OpDef {
    name: "scatter",
    since: Opset::Ios15,
    params: &[
        tensor("data", VALUES),
        tensor("indices", INDICES),
        tensor("updates", VALUES),
        constant("axis", I32).or(Absent::Int(0)),
        constant("mode", STR).or(Absent::Str("add")),
        constant("validate_indices", BOOL).or(Absent::Bool(false)).since(Opset::Ios17),
    ],
    axes: Axes::Tied,
    work: Work::Free,
    infer: |a| {
        let (data, indices) = (a.ty("data"), a.ty("indices"));
        let axis = a.check_axis("axis", a.int("axis"), data.rank())?;
        let shape = [&data.shape[..axis], &indices.shape, &data.shape[axis + 1..]].concat();
        scattered_type(a, &shape)
    },
    eval: |a| scattered(a, Indexing::Slices),
    grad: Grad::Rule(|g| {
        let axis = ("axis", Input::Int(g.int("axis")));
        scatter_gradient(g, Indexing::Slices, "gather", "scatter", vec![axis]);
    }),
};

/// `scatter_along_axis(data, indices, updates, axis, mode, validate_indices)`: `data`, with each element of `updates` joined
/// into the one with that index along `axis` and the same ones along the others.
/// Source: coremltools `iOS15` and `iOS17/scatter_gather.py`, class `scatter_along_axis`.
pub static SCATTER_ALONG_AXIS: OpDef = OpDef {
    name: "scatter_along_axis",
    since: Opset::Ios15,
    params: SCATTER.params,
    axes: Axes::Tied,
    work: Work::Free,
    infer: |a| {
        along_axis(a, "data")?;
        scattered_type(a, &a.ty("indices").shape)
    },
    eval: |a| scattered(a, Indexing::AlongAxis),
    grad: Grad::Rule(|g| {
        let axis = ("axis", Input::Int(g.int("axis")));
        scatter_gradient(g, Indexing::AlongAxis, "gather_along_axis", "scatter_along_axis", vec![axis]);
    }),
};

/// `scatter_nd(data, indices, updates, mode, validate_indices)`: `data`, with `updates` joined into the slices that the rows
/// of `indices` name, one after the other.
/// Source: coremltools `iOS15` and `iOS17/scatter_gather.py`, class `scatter_nd`.
pub static SCATTER_ND: OpDef = OpDef {
    name: "scatter_nd",
    since: Opset::Ios15,
    params: &[
        tensor("data", VALUES),
        tensor("indices", INDICES),
        tensor("updates", VALUES),
        constant("mode", STR).or(Absent::Str("add")),
        constant("validate_indices", BOOL).or(Absent::Bool(false)).since(Opset::Ios17),
    ],
    axes: Axes::Tied,
    work: Work::Free,
    infer: |a| {
        let (_, depth) = rows(a, "data")?;
        let (data, indices) = (a.ty("data"), a.ty("indices"));
        let shape = [&indices.shape[..indices.rank() - 1], &data.shape[depth..]].concat();
        scattered_type(a, &shape)
    },
    eval: |a| scattered(a, Indexing::Rows),
    grad: Grad::Rule(|g| scatter_gradient(g, Indexing::Rows, "gather_nd", "scatter_nd", Vec::new())),
};

/// The rows of indices with those of the batch axes before them.
fn whole_rows<'b>(g: &GradCall<'_, 'b>) -> Var<'b> {
    let indices = g.arg("indices");
    let shape = indices.shape();
    let (batch, rank) = (usize::try_from(g.int("batch_dims")).unwrap_or(0).min(shape.len() - 1), shape.len());
    if batch == 0 {
        return indices;
    }
    let column = |axis: usize| {
        let mut own = vec![1; rank];
        own[axis] = shape[axis];
        let reps = (0..rank).map(|i| if i == axis || i == rank - 1 { 1 } else { shape[i] as i64 });
        let ty = TensorType::new(DType::I32, own);
        let ramp = Tensor { ty, data: Data::Int((0..shape[axis] as i64).collect()) };
        let ramp = g.builder().op("const", [("val", Literal::inline(ramp).into())]);
        g.builder().op("tile", [("x", ramp.into()), ("reps", reps.collect::<Vec<_>>().into())])
    };
    let columns = (0..batch).map(column).chain([indices.cast(DType::I32)]);
    Var::concat(columns.collect(), rank as i64 - 1).unwrap_or(indices)
}

/// Gathers the elements of `x` at `places`.
fn taken(a: &Eval<'_>, places: Vec<usize>) -> Tensor {
    let mut next = places.into_iter();
    a.tensor("x").gathered(a.out().clone(), |_| next.next().unwrap_or(0))
}

const MODES: [&str; 7] = ["update", "add", "sub", "mul", "div", "max", "min"];

/// Checks that `updates` have `shape`, and the mode.
fn scattered_type(a: &Call<'_>, shape: &[usize]) -> Result<Vec<TensorType>, Reject> {
    equal_dtypes(a, &["data", "updates"])?;
    let (data, updates) = (a.ty("data"), a.ty("updates"));
    if updates.shape != shape || (data.elements() == 0 && updates.elements() > 0) {
        let want = format!("`updates` must be {}", Shape(shape));
        let reject = refuse(a, "data", "cannot store the updates there").help(want);
        return Err(reject.label("updates", Shape(&updates.shape).to_string()));
    }
    if !MODES.contains(&a.str("mode")) {
        let text = format!("`{}` has no mode `{}`", a.op.name(), a.str("mode"));
        return Err(Reject::new("scatter-mode", text).help(format!("use one of {}", MODES.join(", "))));
    }
    Ok(vec![data.clone()])
}

fn scattered(a: &Eval<'_>, kind: Indexing) -> Vec<Tensor> {
    let (mut out, updates) = (a.tensor("data").clone(), a.tensor("updates"));
    let places = places(a, kind, "data");
    let mode = a.str("mode");
    match (&mut out.data, &updates.data) {
        (Data::Float(to), Data::Float(from)) => {
            for (&at, &u) in places.iter().zip(from) {
                let x = to[at];
                to[at] = match mode {
                    "add" => x + u,
                    "sub" => x - u,
                    "mul" => x * u,
                    "div" => x / u,
                    "max" => {
                        if x.is_nan() || x > u {
                            x
                        } else {
                            u
                        }
                    }
                    "min" => {
                        if x.is_nan() || x < u {
                            x
                        } else {
                            u
                        }
                    }
                    _ => u,
                };
            }
        }
        (Data::Int(to), Data::Int(from)) => {
            for (&at, &u) in places.iter().zip(from) {
                let x = to[at];
                let joined = match mode {
                    "add" => x.wrapping_add(u),
                    "sub" => x.wrapping_sub(u),
                    "mul" => x.wrapping_mul(u),
                    "div" => floor_parts(x, u).0,
                    "max" => x.max(u),
                    "min" => x.min(u),
                    _ => u,
                };
                to[at] = wrap(joined, out.ty.dtype);
            }
        }
        // No other dtypes are accepted.
        _ => {}
    }
    vec![out]
}

/// Scatter-adds the cotangent of the result into the zeros `none`, at the elements' sources.
fn put_back<'b>(
    g: &GradCall<'_, 'b>,
    op: &str,
    none: Var<'b>,
    rest: Vec<(&'static str, Input<'b>)>,
) -> Var<'b> {
    let mut args = vec![
        ("data", none.into()),
        ("indices", g.arg("indices").into()),
        ("updates", g.cotangent().into()),
        ("mode", "add".into()),
    ];
    args.extend(rest);
    g.builder().op(op, args)
}

/// `data` receives the cotangent where it is unchanged, `updates` where they were stored.
fn scatter_gradient<'b>(
    g: &mut GradCall<'_, 'b>,
    kind: Indexing,
    gather: &str,
    scatter: &str,
    rest: Vec<(&'static str, Input<'b>)>,
) {
    let (dz, indices, mode) = (g.cotangent(), g.arg("indices"), g.str("mode"));
    if !matches!(mode, "add" | "sub" | "update") {
        g.refuse("only the modes add, sub and update have a gradient");
        return;
    }
    if mode == "update" && !are_distinct(g, kind) {
        g.refuse("which of several updates of one position is last is unknown at compile time");
        return;
    }
    let back =
        |op: &str, args: Vec<(&'static str, Input<'b>)>| g.builder().op(op, [args, rest.clone()].concat());
    let du = back(gather, vec![("x", dz.into()), ("indices", indices.into())]);
    let dx = match mode {
        "update" => {
            let none = zeros(g, g.ty("updates"));
            back(
                scatter,
                vec![
                    ("data", dz.into()),
                    ("indices", indices.into()),
                    ("updates", none.into()),
                    ("mode", "update".into()),
                ],
            )
        }
        _ => dz,
    };
    g.give("data", dx);
    g.give("updates", if mode == "sub" { -du } else { du });
}
