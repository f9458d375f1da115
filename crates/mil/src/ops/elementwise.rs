//! Arithmetic on elements, with NumPy's broadcasting.

use super::broadcast::{broadcast_type, walk};
use super::parts::{choose, compare};
use super::unary::{apply, equal_dtypes, wrap};
use crate::build::Var;
use crate::diag::Reject;
use crate::grad::GradCall;
use crate::op::{Axes, Call, Eval, Grad, NUMBERS, OpDef, Work, tensor};
use crate::tensor::{Data, Tensor};
use crate::ty::{Opset, TensorType};

/// `add(x, y)`: `x + y`.
/// Source: coremltools `iOS15/elementwise_binary.py`, class `add`.
pub static ADD: OpDef = OpDef {
    name: "add",
    since: Opset::Ios15,
    params: &[tensor("x", NUMBERS), tensor("y", NUMBERS)],
    axes: Axes::Elementwise,
    work: Work::Free,
    infer: binary_type,
    eval: |a| binary(a, |x, y| x + y, i64::wrapping_add),
    grad: Grad::Rule(|g| {
        let dz = g.cotangent();
        g.give("x", dz);
        g.give("y", dz);
    }),
};

/// `sub(x, y)`: `x − y`.
/// Source: coremltools `iOS15/elementwise_binary.py`, class `sub`.
pub static SUB: OpDef = OpDef {
    name: "sub",
    since: Opset::Ios15,
    params: &[tensor("x", NUMBERS), tensor("y", NUMBERS)],
    axes: Axes::Elementwise,
    work: Work::Free,
    infer: binary_type,
    eval: |a| binary(a, |x, y| x - y, i64::wrapping_sub),
    grad: Grad::Rule(|g| {
        let dz = g.cotangent();
        g.give("x", dz);
        if g.wants("y") {
            g.give("y", -dz);
        }
    }),
};

/// `mul(x, y)`: `x · y`.
/// Source: coremltools `iOS15/elementwise_binary.py`, class `mul`.
pub static MUL: OpDef = OpDef {
    name: "mul",
    since: Opset::Ios15,
    params: &[tensor("x", NUMBERS), tensor("y", NUMBERS)],
    axes: Axes::Elementwise,
    work: Work::Free,
    infer: binary_type,
    eval: |a| binary(a, |x, y| x * y, i64::wrapping_mul),
    grad: Grad::Rule(|g| {
        let (x, y, dz) = (g.arg("x"), g.arg("y"), g.cotangent());
        if g.wants("x") {
            g.give("x", dz * y);
        }
        if g.wants("y") {
            g.give("y", dz * x);
        }
    }),
};

/// `real_div(x, y)`: `x / y`; of integers without the fraction, and 0 where `y` is.
/// Source: coremltools `iOS15/elementwise_binary.py`, class `real_div`.
pub static REAL_DIV: OpDef = OpDef {
    name: "real_div",
    since: Opset::Ios15,
    params: &[tensor("x", NUMBERS), tensor("y", NUMBERS)],
    axes: Axes::Elementwise,
    work: Work::Free,
    infer: binary_type,
    eval: |a| binary(a, |x, y| x / y, |x, y| x.checked_div(y).unwrap_or(0)),
    grad: Grad::Rule(|g| {
        // z = x/y  ⇒  dx = dz/y,  dy = −dz·z/y
        let (y, z, dz) = (g.arg("y"), g.output(), g.cotangent());
        let over = dz / y;
        g.give("x", over);
        if g.wants("y") {
            g.give("y", -(over * z));
        }
    }),
};

/// `pow(x, y)`: `x` to the power `y`; of integers without the fraction.
/// Source: coremltools `iOS15/elementwise_binary.py`, class `pow`.
pub static POW: OpDef = OpDef {
    name: "pow",
    since: Opset::Ios15,
    params: &[tensor("x", NUMBERS), tensor("y", NUMBERS)],
    axes: Axes::Elementwise,
    work: Work::Free,
    infer: binary_type,
    eval: |a| binary(a, f64::powf, integer_power),
    grad: Grad::Rule(|g| {
        // z = xʸ  ⇒  dx = dz·y·xʸ⁻¹,  dy = dz·z·log x
        let (x, y, dz) = (g.arg("x"), g.arg("y"), g.cotangent());
        if g.wants("x") {
            let slope = g.builder().op("pow", [("x", x.into()), ("y", (y - 1.0).into())]);
            g.give("x", dz * (slope * y));
        }
        if g.wants("y") {
            g.give("y", dz * g.output() * apply("log", x));
        }
    }),
};

/// `maximum(x, y)`: the larger of the two.
/// Source: coremltools `iOS15/elementwise_binary.py`, class `maximum`.
pub static MAXIMUM: OpDef = OpDef {
    name: "maximum",
    since: Opset::Ios15,
    params: &[tensor("x", NUMBERS), tensor("y", NUMBERS)],
    axes: Axes::Elementwise,
    work: Work::Free,
    infer: binary_type,
    eval: |a| binary(a, |x, y| if x.is_nan() || x > y { x } else { y }, i64::max),
    grad: Grad::Rule(|g| {
        let x_wins = compare("greater_equal", g.arg("x"), g.arg("y"));
        give_winner(g, x_wins);
    }),
};

/// `minimum(x, y)`: the smaller of the two.
/// Source: coremltools `iOS15/elementwise_binary.py`, class `minimum`.
pub static MINIMUM: OpDef = OpDef {
    name: "minimum",
    since: Opset::Ios15,
    params: &[tensor("x", NUMBERS), tensor("y", NUMBERS)],
    axes: Axes::Elementwise,
    work: Work::Free,
    infer: binary_type,
    eval: |a| binary(a, |x, y| if x.is_nan() || x < y { x } else { y }, i64::min),
    grad: Grad::Rule(|g| {
        let x_wins = compare("less_equal", g.arg("x"), g.arg("y"));
        give_winner(g, x_wins);
    }),
};

/// `floor_div(x, y)`: the largest integer that is not larger than `x / y`.
///
/// As in NumPy, division of an integer by 0 gives 0, and the one overflow, −2³¹ by −1, wraps around.
/// Source: coremltools `iOS15/elementwise_binary.py`, class `floor_div`.
pub static FLOOR_DIV: OpDef = OpDef {
    name: "floor_div",
    since: Opset::Ios15,
    params: &[tensor("x", NUMBERS), tensor("y", NUMBERS)],
    axes: Axes::Elementwise,
    work: Work::Free,
    infer: binary_type,
    eval: |a| binary(a, floor_quotient, |x, y| floor_parts(x, y).0),
    grad: Grad::None("it is piecewise constant"),
};

/// `mod(x, y)`: `x − y·⌊x / y⌋`, which has the sign of `y`; as in NumPy 0 for integers if `y` is 0.
/// Source: coremltools `iOS15/elementwise_binary.py`, class `mod`.
pub static MOD: OpDef = OpDef {
    name: "mod",
    since: Opset::Ios15,
    params: &[tensor("x", NUMBERS), tensor("y", NUMBERS)],
    axes: Axes::Elementwise,
    work: Work::Free,
    infer: binary_type,
    eval: |a| binary(a, floor_remainder, |x, y| floor_parts(x, y).1),
    grad: Grad::Rule(|g| {
        // dx = dz,  dy = −dz·⌊x/y⌋
        let (x, y, dz) = (g.arg("x"), g.arg("y"), g.cotangent());
        g.give("x", dz);
        if g.wants("y") {
            let quotient = g.builder().op("floor_div", [("x", x.into()), ("y", y.into())]);
            g.give("y", -(dz * quotient));
        }
    }),
};

/// The cotangent goes to the selected argument; to `x` where both are equal.
fn give_winner<'b>(g: &mut GradCall<'_, 'b>, x_wins: Var<'b>) {
    let dz = g.cotangent();
    if g.wants("x") {
        g.give("x", choose(x_wins, Some(dz), None));
    }
    if g.wants("y") {
        g.give("y", choose(x_wins, None, Some(dz)));
    }
}

/// The type rule of binary operations: equal dtypes, shapes that broadcast.
pub(super) fn binary_type(a: &Call<'_>) -> Result<Vec<TensorType>, Reject> {
    equal_dtypes(a, &["x", "y"])?;
    Ok(vec![broadcast_type(a, &["x", "y"])?])
}

fn binary(a: &Eval<'_>, float: fn(f64, f64) -> f64, int: fn(i64, i64) -> i64) -> Vec<Tensor> {
    let (x, y, out) = (a.tensor("x"), a.tensor("y"), a.out());
    let at = walk(out, [x, y]);
    let data = match (&x.data, &y.data) {
        (Data::Int(x), Data::Int(y)) => {
            Data::Int(at.map(|[i, j]| wrap(int(x[i], y[j]), out.dtype)).collect())
        }
        _ => {
            let (x, y) = (x.as_floats(), y.as_floats());
            Data::Float(at.map(|[i, j]| float(x[i], y[j])).collect())
        }
    };
    vec![Tensor { ty: out.clone(), data }]
}

/// `x` to the power `y`, truncated and wrapped around; 0 for a negative power of 0.
fn integer_power(x: i64, y: i64) -> i64 {
    match (x, u64::try_from(y)) {
        (_, Ok(y)) => {
            let (mut result, mut square, mut left) = (1i64, x, y);
            while left > 0 {
                if left & 1 == 1 {
                    result = result.wrapping_mul(square);
                }
                square = square.wrapping_mul(square);
                left >>= 1;
            }
            result
        }
        (1, Err(_)) => 1,
        (-1, Err(_)) => 1 - 2 * (y & 1),
        _ => 0,
    }
}

/// `x` modulo `y`, with the sign of `y`; exact but for the last addition.
fn floor_remainder(x: f64, y: f64) -> f64 {
    match x % y {
        0.0 => 0f64.copysign(y),
        r if (r < 0.0) != (y < 0.0) => r + y,
        r => r,
    }
}

/// `⌊x / y⌋`. The rounded quotient is not enough: a value just below an integer may have been rounded up to it.
fn floor_quotient(x: f64, y: f64) -> f64 {
    if y == 0.0 {
        return x / y;
    }
    let r = x % y;
    let toward_zero = ((x - r) / y).round();
    let quotient = if r != 0.0 && (r < 0.0) != (y < 0.0) { toward_zero - 1.0 } else { toward_zero };
    if quotient == 0.0 { 0f64.copysign(x / y) } else { quotient }
}

/// Quotient and remainder, the quotient rounded down; zeros if `y` is 0.
pub(super) fn floor_parts(x: i64, y: i64) -> (i64, i64) {
    if y == 0 {
        return (0, 0);
    }
    let (q, r) = (x.wrapping_div(y), x.wrapping_rem(y));
    if r != 0 && (r < 0) != (y < 0) { (q - 1, r + y) } else { (q, r) }
}
