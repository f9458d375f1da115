//! Comparisons, logic, and the choice between two values.

use super::broadcast::{broadcast_type, walk};
use super::parts::choose;
use super::unary::equal_dtypes;
use crate::diag::Reject;
use crate::op::{Axes, BOOL, Call, Eval, Grad, NUMBERS, OpDef, Param, Work, tensor};
use crate::tensor::{Data, Tensor};
use crate::ty::{DType, Opset, TensorType};

/// `equal(x, y)`: `x = y`.
/// Source: coremltools `iOS15/elementwise_binary.py`, class `equal`.
pub static EQUAL: OpDef = comparison("equal", |a| compared(a, |x, y| x == y, |x, y| x == y));

/// `not_equal(x, y)`: `x ≠ y`.
/// Source: coremltools `iOS15/elementwise_binary.py`, class `not_equal`.
pub static NOT_EQUAL: OpDef = comparison("not_equal", |a| compared(a, |x, y| x != y, |x, y| x != y));

/// `less(x, y)`: `x < y`.
/// Source: coremltools `iOS15/elementwise_binary.py`, class `less`.
pub static LESS: OpDef = comparison("less", |a| compared(a, |x, y| x < y, |x, y| x < y));

/// `less_equal(x, y)`: `x ≤ y`.
/// Source: coremltools `iOS15/elementwise_binary.py`, class `less_equal`.
pub static LESS_EQUAL: OpDef = comparison("less_equal", |a| compared(a, |x, y| x <= y, |x, y| x <= y));

/// `greater(x, y)`: `x > y`.
/// Source: coremltools `iOS15/elementwise_binary.py`, class `greater`.
pub static GREATER: OpDef = comparison("greater", |a| compared(a, |x, y| x > y, |x, y| x > y));

/// `greater_equal(x, y)`: `x ≥ y`.
/// Source: coremltools `iOS15/elementwise_binary.py`, class `greater_equal`.
pub static GREATER_EQUAL: OpDef = comparison("greater_equal", |a| compared(a, |x, y| x >= y, |x, y| x >= y));

/// `logical_and(x, y)`: both.
/// Source: coremltools `iOS15/elementwise_binary.py`, class `logical_and`.
pub static LOGICAL_AND: OpDef = connective("logical_and", |a| connected(a, |x, y| x && y));

/// `logical_or(x, y)`: one or both.
/// Source: coremltools `iOS15/elementwise_binary.py`, class `logical_or`.
pub static LOGICAL_OR: OpDef = connective("logical_or", |a| connected(a, |x, y| x || y));

/// `logical_xor(x, y)`: exactly one.
/// Source: coremltools `iOS15/elementwise_binary.py`, class `logical_xor`.
pub static LOGICAL_XOR: OpDef = connective("logical_xor", |a| connected(a, |x, y| x != y));

/// `logical_not(x)`.
/// Source: coremltools `iOS15/elementwise_unary.py`, class `logical_not`.
pub static LOGICAL_NOT: OpDef = OpDef {
    name: "logical_not",
    since: Opset::Ios15,
    params: &[tensor("x", BOOL)],
    axes: Axes::Elementwise,
    work: Work::Free,
    infer: super::unary::same_type,
    eval: |a| {
        let data = truths(a.tensor("x")).iter().map(|x| !x).collect();
        vec![Tensor { ty: a.out().clone(), data: Data::Bool(data) }]
    },
    grad: Grad::None(TRUTH),
};

/// `select(cond, a, b)`: `a` where `cond`, else `b`; all three broadcast.
/// Source: coremltools `iOS15/control_flow.py`, class `select`.
pub static SELECT: OpDef = OpDef {
    name: "select",
    since: Opset::Ios15,
    params: &[tensor("cond", BOOL), tensor("a", VALUES), tensor("b", VALUES)],
    axes: Axes::Elementwise,
    work: Work::Free,
    infer: |a| {
        equal_dtypes(a, &["a", "b"])?;
        Ok(vec![broadcast_type(a, &["cond", "a", "b"])?.with_dtype(a.ty("a").dtype)])
    },
    eval: selected,
    grad: Grad::Rule(|g| {
        // each branch receives dz where it was selected
        let (cond, dz) = (g.arg("cond"), g.cotangent());
        if g.wants("a") {
            g.give("a", choose(cond, Some(dz), None));
        }
        if g.wants("b") {
            g.give("b", choose(cond, None, Some(dz)));
        }
    }),
};

const VALUES: &[DType] = &[DType::F16, DType::F32, DType::I32, DType::Bool];
const TRUTH: &str = "its result is a truth value";
const XY_NUMBER: &[Param] = &[tensor("x", NUMBERS), tensor("y", NUMBERS)];
const XY_BOOL: &[Param] = &[tensor("x", BOOL), tensor("y", BOOL)];

const fn comparison(name: &'static str, eval: fn(&Eval<'_>) -> Vec<Tensor>) -> OpDef {
    OpDef {
        name,
        since: Opset::Ios15,
        params: XY_NUMBER,
        axes: Axes::Elementwise,
        work: Work::Free,
        infer: truth_type,
        eval,
        grad: Grad::None(TRUTH),
    }
}

const fn connective(name: &'static str, eval: fn(&Eval<'_>) -> Vec<Tensor>) -> OpDef {
    OpDef {
        name,
        since: Opset::Ios15,
        params: XY_BOOL,
        axes: Axes::Elementwise,
        work: Work::Free,
        infer: truth_type,
        eval,
        grad: Grad::None(TRUTH),
    }
}

fn truth_type(a: &Call<'_>) -> Result<Vec<TensorType>, Reject> {
    equal_dtypes(a, &["x", "y"])?;
    Ok(vec![broadcast_type(a, &["x", "y"])?.with_dtype(DType::Bool)])
}

fn compared(a: &Eval<'_>, float: fn(f64, f64) -> bool, int: fn(i64, i64) -> bool) -> Vec<Tensor> {
    let (x, y, out) = (a.tensor("x"), a.tensor("y"), a.out());
    let at = walk(out, [x, y]);
    let data = match (&x.data, &y.data) {
        (Data::Int(x), Data::Int(y)) => at.map(|[i, j]| int(x[i], y[j])).collect(),
        _ => at.map(|[i, j]| float(x.as_floats()[i], y.as_floats()[j])).collect(),
    };
    vec![Tensor { ty: out.clone(), data: Data::Bool(data) }]
}

fn connected(a: &Eval<'_>, f: fn(bool, bool) -> bool) -> Vec<Tensor> {
    let (x, y, out) = (a.tensor("x"), a.tensor("y"), a.out());
    let data = walk(out, [x, y]).map(|[i, j]| f(truths(x)[i], truths(y)[j])).collect();
    vec![Tensor { ty: out.clone(), data: Data::Bool(data) }]
}

fn selected(e: &Eval<'_>) -> Vec<Tensor> {
    let (cond, a, b, out) = (e.tensor("cond"), e.tensor("a"), e.tensor("b"), e.out());
    let cond_of = truths(cond);
    let at = walk(out, [cond, a, b]);
    let data = match (&a.data, &b.data) {
        (Data::Int(a), Data::Int(b)) => {
            Data::Int(at.map(|[c, i, j]| if cond_of[c] { a[i] } else { b[j] }).collect())
        }
        (Data::Bool(a), Data::Bool(b)) => {
            Data::Bool(at.map(|[c, i, j]| if cond_of[c] { a[i] } else { b[j] }).collect())
        }
        _ => {
            let (a, b) = (a.as_floats(), b.as_floats());
            Data::Float(at.map(|[c, i, j]| if cond_of[c] { a[i] } else { b[j] }).collect())
        }
    };
    vec![Tensor { ty: out.clone(), data }]
}

/// The elements of a boolean tensor; empty for any other.
pub(super) fn truths(tensor: &Tensor) -> &[bool] {
    match &tensor.data {
        Data::Bool(v) => v,
        _ => &[],
    }
}
