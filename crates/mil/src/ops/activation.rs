//! Activations.

use super::unary::{apply, erfc, map, same_type, unary};
use crate::build::Var;
use crate::diag::Reject;
use crate::op::{Absent, Axes, FLOATS, Grad, I32, OpDef, STR, Work, constant, tensor};
use crate::tensor::{Tensor, strides};
use crate::ty::Opset;
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_PI, PI};

/// `sigmoid(x)`: `1 / (1 + exp(−x))`.
/// Source: coremltools `iOS15/activation.py`, class `sigmoid`.
pub static SIGMOID: OpDef = unary(
    "sigmoid",
    |a| map(a, sigmoid),
    Grad::Rule(|g| {
        // dx = dy·y·(1 − y)
        let (y, dy) = (g.output(), g.cotangent());
        g.give("x", dy * (y * (1.0 - y)));
    }),
);

/// `tanh(x)`.
/// Source: coremltools `iOS15/elementwise_unary.py`, class `tanh`.
pub static TANH: OpDef = unary(
    "tanh",
    |a| map(a, f64::tanh),
    Grad::Rule(|g| {
        // dx = dy·(1 − y²)
        let (y, dy) = (g.output(), g.cotangent());
        g.give("x", dy * (1.0 - y * y));
    }),
);

/// `relu(x)`: `max(x, 0)`.
/// Source: coremltools `iOS15/activation.py`, class `relu`.
pub static RELU: OpDef = unary(
    "relu",
    |a| map(a, |x| if x < 0.0 { 0.0 } else { x }),
    Grad::Rule(|g| {
        // dx = dy where y > 0; at the kink 0
        let (y, dy) = (g.output(), g.cotangent());
        let zero = g.builder().scalar(g.ty("x").dtype, 0.0);
        let positive = super::parts::compare("greater", y, zero);
        g.give("x", super::parts::choose(positive, Some(dy), None));
    }),
);

/// `silu(x)`: `x·sigmoid(x)`.
/// Source: coremltools `iOS15/activation.py`, class `silu`.
pub static SILU: OpDef = unary(
    "silu",
    |a| map(a, |x| x * sigmoid(x)),
    Grad::Rule(|g| {
        // dx = dy·σ·(1 + x·(1 − σ)),  σ = sigmoid(x)
        let (x, dy) = (g.arg("x"), g.cotangent());
        let s = x.sigmoid();
        g.give("x", dy * (s * (1.0 + x * (1.0 - s))));
    }),
);

/// `softplus(x)`: `log(1 + eˣ)`.
/// Source: coremltools `iOS15/activation.py`, class `softplus`.
pub static SOFTPLUS: OpDef = unary(
    "softplus",
    |a| map(a, |x| x.max(0.0) + (-x.abs()).exp().ln_1p()),
    Grad::Rule(|g| {
        // dx = dy·sigmoid(x)
        let (x, dy) = (g.arg("x"), g.cotangent());
        g.give("x", dy * x.sigmoid());
    }),
);

/// `gelu(x, mode)`: `x·Φ(x)`, with `Φ` the normal distribution or an approximation of it.
///
/// ```text
/// EXACT                  Φ = ½·(1 + erf(x/√2)) = ½·erfc(−x/√2)
/// TANH_APPROXIMATION     Φ = ½·(1 + tanh(√(2/π)·(x + 0.044715·x³)))
/// SIGMOID_APPROXIMATION  Φ = sigmoid(1.702·x)
/// ```
/// Source: coremltools `iOS15/activation.py`, class `gelu`.
pub static GELU: OpDef = OpDef {
    name: "gelu",
    since: Opset::Ios15,
    params: &[tensor("x", FLOATS), constant("mode", STR).or(Absent::Str("EXACT"))],
    axes: Axes::Elementwise,
    work: Work::Free,
    infer: |a| match a.str("mode") {
        "EXACT" | "TANH_APPROXIMATION" | "SIGMOID_APPROXIMATION" => same_type(a),
        other => Err(Reject::new("gelu-mode", format!("`gelu` has no mode `{other}`"))
            .help("use `EXACT`, `TANH_APPROXIMATION` or `SIGMOID_APPROXIMATION`")),
    },
    eval: |a| match a.str("mode") {
        "TANH_APPROXIMATION" => {
            map(a, |x| 0.5 * x * (1.0 + (FRAC_2_PI.sqrt() * (x + GELU_CUBIC * x * x * x)).tanh()))
        }
        "SIGMOID_APPROXIMATION" => map(a, |x| x * sigmoid(GELU_SIGMOID * x)),
        _ => map(a, |x| 0.5 * x * erfc(-x * FRAC_1_SQRT_2)),
    },
    grad: Grad::Rule(|g| {
        let (x, dy) = (g.arg("x"), g.cotangent());
        g.give("x", dy * gelu_slope(x, g.str("mode")));
    }),
};

const GELU_CUBIC: f64 = 0.044715;
const GELU_SIGMOID: f64 = 1.702;

/// `softmax(x, axis)`: `exp(x − max x) / Σ exp(x − max x)` along `axis`.
/// Source: coremltools `iOS15/activation.py`, class `softmax`.
pub static SOFTMAX: OpDef = OpDef {
    name: "softmax",
    since: Opset::Ios15,
    params: &[tensor("x", FLOATS), constant("axis", I32).or(Absent::Int(-1))],
    axes: Axes::Along("axis"),
    work: Work::Free,
    infer: |a| {
        a.check_axis("axis", a.int("axis"), a.ty("x").rank())?;
        same_type(a)
    },
    eval: |a| {
        let x = a.tensor("x");
        let axis = a.axis("axis", x.ty.rank());
        vec![map_lines(x, axis, softmax_line)]
    },
    grad: Grad::Rule(|g| {
        // dx = y ⊙ (dy − Σ dy ⊙ y), the sum along `axis`
        let (y, dy) = (g.output(), g.cotangent());
        let dot = (dy * y).reduce_sum(&[g.int("axis")], true);
        g.give("x", y * (dy - dot));
    }),
};

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// The derivative of `gelu`: `Φ + x·Φ'`.
fn gelu_slope<'b>(x: Var<'b>, mode: &str) -> Var<'b> {
    match mode {
        "TANH_APPROXIMATION" => {
            // t = tanh(√(2/π)·(x + c·x³)):  ½·(1 + t) + ½·x·(1 − t²)·√(2/π)·(1 + 3c·x²)
            let (scale, square) = (FRAC_2_PI.sqrt(), x * x);
            let t = apply("tanh", x * (square * GELU_CUBIC + 1.0) * scale);
            let inner = (square * (3.0 * GELU_CUBIC) + 1.0) * scale;
            (t + 1.0 + x * (1.0 - t * t) * inner) * 0.5
        }
        "SIGMOID_APPROXIMATION" => {
            // s = sigmoid(1.702·x):  s + 1.702·x·s·(1 − s)
            let s = (x * GELU_SIGMOID).sigmoid();
            s + x * (s * (1.0 - s)) * GELU_SIGMOID
        }
        _ => {
            // Φ(x) + x·exp(−x²/2)/√(2π)
            let cdf = (apply("erf", x * FRAC_1_SQRT_2) + 1.0) * 0.5;
            cdf + x * (x * x * -0.5).exp() * (1.0 / (2.0 * PI).sqrt())
        }
    }
}

/// Applies `f` to each line of `x` along `axis`, in place.
fn map_lines(x: &Tensor, axis: usize, f: impl Fn(&mut [f64])) -> Tensor {
    let (len, step) = (x.ty.shape[axis], strides(&x.ty.shape)[axis]);
    let mut values = x.to_floats();
    let mut line = vec![0.0; len];
    let starts = (0..values.len()).filter(|i| (i / step).is_multiple_of(len));
    for start in starts.collect::<Vec<_>>() {
        for (k, v) in line.iter_mut().enumerate() {
            *v = values[start + k * step];
        }
        f(&mut line);
        for (k, v) in line.iter().enumerate() {
            values[start + k * step] = *v;
        }
    }
    Tensor { ty: x.ty.clone(), data: crate::Data::Float(values) }
}

/// Softmax of one line, in place; the attention operation uses it too.
pub(super) fn softmax_line(line: &mut [f64]) {
    let max = line.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut sum = 0.0;
    for v in line.iter_mut() {
        *v = (*v - max).exp();
        sum += *v;
    }
    for v in line {
        *v /= sum;
    }
}
