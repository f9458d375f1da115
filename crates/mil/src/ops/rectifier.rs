//! Rectifiers, and other activations with constant parameters.
//!
//! Since iOS17 the constants may have another float type than `x`; here they may in every opset.

use super::parts::{choose, compare};
use super::unary::{apply, map, one_number, same_type, unary};
use crate::build::Var;
use crate::diag::Reject;
use crate::grad::GradCall;
use crate::op::{Axes, Call, Eval, FLOATS, Grad, OpDef, Param, Work, constant, tensor};
use crate::tensor::{Data, Tensor, strides};
use crate::ty::{Opset, Shape, TensorType};

/// `relu6(x)`: `min(max(x, 0), 6)`.
/// Source: coremltools `iOS15/activation.py`, class `relu6`.
pub static RELU6: OpDef = unary(
    "relu6",
    |a| map(a, |x| bounded(x, 0.0, 6.0)),
    Grad::Rule(|g| {
        // dx = dy where 0 < y < 6
        let dx = where_between(g, 0.0, 6.0, g.cotangent());
        g.give("x", dx);
    }),
);

/// `leaky_relu(x, alpha)`: `x` where `x ≥ 0`, else `α·x`.
/// Source: coremltools `iOS15/activation.py`, class `leaky_relu`.
pub static LEAKY_RELU: OpDef = OpDef {
    name: "leaky_relu",
    since: Opset::Ios15,
    params: ALPHA,
    axes: Axes::Elementwise,
    work: Work::Free,
    infer: scalars,
    eval: |a| {
        let alpha = a.float("alpha");
        map(a, |x| if x < 0.0 { alpha * x } else { x })
    },
    grad: Grad::Rule(|g| {
        // dx = dy where x ≥ 0, else α·dy
        let (dy, alpha) = (g.cotangent(), factor(g, "alpha"));
        let dx = choose(against_zero(g, "greater_equal"), Some(dy), Some(dy * alpha));
        g.give("x", dx);
    }),
};

/// `prelu(x, alpha)`: `x` where `x > 0`, else `α·x` with the `α` of the channel; `x` is `[B, C, …]`, `alpha` `[C]`.
///
/// With three or five axes the elements of `alpha` must be equal, to 1e-5.
/// Source: coremltools `iOS15/activation.py`, class `prelu`.
pub static PRELU: OpDef = OpDef {
    name: "prelu",
    since: Opset::Ios15,
    params: ALPHA,
    axes: Axes::Tied,
    work: Work::Free,
    infer: |a| {
        channels(a, &["alpha"], 5)?;
        let alpha = floats(a, "alpha");
        let equal = alpha.iter().all(|x| (x - alpha[0]).abs() <= 1e-5);
        if equal || a.ty("x").rank() == 4 {
            return same_type(a);
        }
        Err(Reject::new("channel-slopes", "`prelu` takes a slope per channel only on images")
            .label("x", format!("{} axes", a.ty("x").rank()))
            .label("alpha", "elements that differ")
            .help("use `x` with four axes, or equal elements"))
    },
    eval: |a| {
        let alpha = floats(a, "alpha");
        map_channels(a, |x, c| if x < 0.0 { alpha[c] * x } else { x })
    },
    grad: Grad::Rule(|g| {
        // dx = dy where x > 0, else α·dy
        let (dy, alpha) = (g.cotangent(), factor(g, "alpha"));
        let dx = choose(against_zero(g, "greater"), Some(dy), Some(dy * alpha));
        g.give("x", dx);
    }),
};

/// `clamped_relu(x, alpha, beta)`: `min(x, β)` where `x ≥ 0`, else `min(α·x, β)`.
/// Source: coremltools `iOS15/activation.py`, class `clamped_relu`; for `β < 0` its `value_inference` says other numbers
/// than its documentation, which is followed here.
pub static CLAMPED_RELU: OpDef = OpDef {
    name: "clamped_relu",
    since: Opset::Ios15,
    params: ALPHA_BETA,
    axes: Axes::Elementwise,
    work: Work::Free,
    infer: scalars,
    eval: |a| {
        let (alpha, beta) = (a.float("alpha"), a.float("beta"));
        map(a, |x| {
            let sloped = if x < 0.0 { alpha * x } else { x };
            if sloped > beta { beta } else { sloped }
        })
    },
    grad: Grad::Rule(|g| {
        // dx = dy where x ≥ 0, else α·dy; 0 where y = β
        let (dy, alpha, beta) = (g.cotangent(), factor(g, "alpha"), factor(g, "beta"));
        let sloped = choose(against_zero(g, "greater_equal"), Some(dy), Some(dy * alpha));
        g.give("x", choose(compare("less", g.output(), beta), Some(sloped), None));
    }),
};

/// `thresholded_relu(x, alpha)`: `x` where `x ≥ α`, else 0.
/// Source: coremltools `iOS15/activation.py`, class `thresholded_relu`.
pub static THRESHOLDED_RELU: OpDef = OpDef {
    name: "thresholded_relu",
    since: Opset::Ios15,
    params: ALPHA,
    axes: Axes::Elementwise,
    work: Work::Free,
    infer: scalars,
    eval: |a| {
        let alpha = a.float("alpha");
        map(a, |x| if x < alpha { 0.0 } else { x })
    },
    grad: Grad::Rule(|g| {
        // dx = dy where x ≥ α
        let passes = compare("greater_equal", g.arg("x"), factor(g, "alpha"));
        g.give("x", choose(passes, Some(g.cotangent()), None));
    }),
};

/// `elu(x, alpha)`: `x` where `x > 0`, else `α·(eˣ − 1)`.
/// Source: coremltools `iOS15/activation.py`, class `elu`.
pub static ELU: OpDef = OpDef {
    name: "elu",
    since: Opset::Ios15,
    params: ALPHA,
    axes: Axes::Elementwise,
    work: Work::Free,
    infer: scalars,
    eval: |a| {
        let alpha = a.float("alpha");
        map(a, |x| if x < 0.0 { alpha * x.exp_m1() } else { x })
    },
    grad: Grad::Rule(|g| {
        // dx = dy where x > 0, else dy·α·eˣ
        let (x, dy) = (g.arg("x"), g.cotangent());
        let curved = dy * (x.exp() * factor(g, "alpha"));
        g.give("x", choose(against_zero(g, "greater"), Some(dy), Some(curved)));
    }),
};

/// `linear_activation(x, alpha, beta)`: `α·x + β`.
/// Source: coremltools `iOS15/activation.py`, class `linear_activation`.
pub static LINEAR_ACTIVATION: OpDef = OpDef {
    name: "linear_activation",
    since: Opset::Ios15,
    params: ALPHA_BETA,
    axes: Axes::Elementwise,
    work: Work::Free,
    infer: scalars,
    eval: |a| {
        let (alpha, beta) = (a.float("alpha"), a.float("beta"));
        map(a, |x| alpha * x + beta)
    },
    grad: Grad::Rule(|g| {
        let dx = g.cotangent() * factor(g, "alpha");
        g.give("x", dx);
    }),
};

/// `sigmoid_hard(x, alpha, beta)`: `min(max(α·x + β, 0), 1)`.
/// Source: coremltools `iOS15/activation.py`, class `sigmoid_hard`.
pub static SIGMOID_HARD: OpDef = OpDef {
    name: "sigmoid_hard",
    since: Opset::Ios15,
    params: ALPHA_BETA,
    axes: Axes::Elementwise,
    work: Work::Free,
    infer: scalars,
    eval: |a| {
        let (alpha, beta) = (a.float("alpha"), a.float("beta"));
        map(a, |x| bounded(alpha * x + beta, 0.0, 1.0))
    },
    grad: Grad::Rule(|g| {
        // dx = α·dy where 0 < y < 1
        let sloped = g.cotangent() * factor(g, "alpha");
        let dx = where_between(g, 0.0, 1.0, sloped);
        g.give("x", dx);
    }),
};

/// `scaled_tanh(x, alpha, beta)`: `α·tanh(β·x)`.
/// Source: coremltools `iOS15/activation.py`, class `scaled_tanh`.
pub static SCALED_TANH: OpDef = OpDef {
    name: "scaled_tanh",
    since: Opset::Ios15,
    params: ALPHA_BETA,
    axes: Axes::Elementwise,
    work: Work::Free,
    infer: scalars,
    eval: |a| {
        let (alpha, beta) = (a.float("alpha"), a.float("beta"));
        map(a, |x| alpha * (beta * x).tanh())
    },
    grad: Grad::Rule(|g| {
        // dx = dy·α·β·(1 − tanh²(β·x))
        let (x, dy, alpha, beta) = (g.arg("x"), g.cotangent(), factor(g, "alpha"), factor(g, "beta"));
        let t = apply("tanh", x * beta);
        g.give("x", dy * ((1.0 - t * t) * alpha * beta));
    }),
};

/// `softplus_parametric(x, alpha, beta)`: `α·log(1 + exp(β·x))` with the `α` and `β` of the channel; `x` is
/// `[B, C, …]` with three axes or more, `alpha` and `beta` are `[C]`.
/// Source: coremltools `iOS15/activation.py`, class `softplus_parametric`.
pub static SOFTPLUS_PARAMETRIC: OpDef = OpDef {
    name: "softplus_parametric",
    since: Opset::Ios15,
    params: ALPHA_BETA,
    axes: Axes::Tied,
    work: Work::Free,
    infer: |a| {
        channels(a, &["alpha", "beta"], usize::MAX)?;
        same_type(a)
    },
    eval: |a| {
        let (alpha, beta) = (floats(a, "alpha"), floats(a, "beta"));
        map_channels(a, |x, c| {
            let scaled = beta[c] * x;
            alpha[c] * (scaled.max(0.0) + (-scaled.abs()).exp().ln_1p())
        })
    },
    grad: Grad::Rule(|g| {
        // dx = dy·α·β·sigmoid(β·x)
        let (x, dy, alpha, beta) = (g.arg("x"), g.cotangent(), factor(g, "alpha"), factor(g, "beta"));
        g.give("x", dy * ((x * beta).sigmoid() * alpha * beta));
    }),
};

/// `softsign(x)`: `x / (1 + |x|)`.
/// Source: coremltools `iOS15/activation.py`, class `softsign`.
pub static SOFTSIGN: OpDef = unary(
    "softsign",
    |a| map(a, |x| if x.is_infinite() { x.signum() } else { x / (1.0 + x.abs()) }),
    Grad::Rule(|g| {
        // dx = dy / (1 + |x|)²
        let (x, dy) = (g.arg("x"), g.cotangent());
        let below = apply("abs", x) + 1.0;
        g.give("x", dy / below / below);
    }),
);

const ALPHA: &[Param] = &[tensor("x", FLOATS), constant("alpha", FLOATS)];
const ALPHA_BETA: &[Param] = &[tensor("x", FLOATS), constant("alpha", FLOATS), constant("beta", FLOATS)];

/// The type rule of activations with scalar constants.
fn scalars(a: &Call<'_>) -> Result<Vec<TensorType>, Reject> {
    a.op.params[1..].iter().try_for_each(|p| one_number(a, p.name))?;
    same_type(a)
}

/// Refuses `x` without channels, or constants `names` that have not one number for each.
fn channels(a: &Call<'_>, names: &[&'static str], most_axes: usize) -> Result<(), Reject> {
    let x = a.ty("x");
    if x.rank() < 3 || x.rank() > most_axes {
        return Err(Reject::new("rank", format!("`{}` needs `x` as [B, C, …]", a.op.name()))
            .label("x", format!("{} axes", x.rank()))
            .help("use three axes or more, of which the second are the channels"));
    }
    match names.iter().find(|n| a.ty(n).shape != [x.shape[1]]) {
        None => Ok(()),
        Some(&name) => Err(Reject::new(
            "channel-count",
            format!("`{name}` of `{}` needs one number for each channel", a.op.name()),
        )
        .label("x", format!("{} channels", x.shape[1]))
        .label(name, Shape(&a.ty(name).shape).to_string())),
    }
}

/// The elements of constant `name`.
fn floats<'a>(a: &Call<'a>, name: &str) -> &'a [f64] {
    match a.data(name) {
        Some(Data::Float(v)) => v,
        _ => &[],
    }
}

/// Evaluates functions of elements of `x` and their channel index.
fn map_channels(a: &Eval<'_>, f: impl Fn(f64, usize) -> f64) -> Vec<Tensor> {
    let (shape, step) = (&a.out().shape, strides(&a.out().shape)[1]);
    let elements = a.tensor("x").as_floats().iter().enumerate();
    let data = elements.map(|(n, &x)| f(x, n / step % shape[1])).collect();
    vec![Tensor { ty: a.out().clone(), data: Data::Float(data) }]
}

/// `min(max(x, low), high)`; NaN stays NaN.
fn bounded(x: f64, low: f64, high: f64) -> f64 {
    if x.is_nan() { x } else { x.clamp(low, high) }
}

/// Constant `name`, of the element type of `x`; if it is a number for each channel, so that it broadcasts against `x`.
fn factor<'b>(g: &GradCall<'_, 'b>, name: &str) -> Var<'b> {
    let (x, given) = (g.ty("x"), g.constant(name));
    let given = if given.ty().dtype == x.dtype { given } else { given.cast(x.dtype) };
    match given.shape().as_slice() {
        [] => given,
        &[n] if n == x.shape.get(1).copied().unwrap_or(1) && x.rank() > 2 => {
            let mut shape = vec![1; x.rank() - 1];
            shape[0] = n;
            given.reshape(&shape)
        }
        _ => given.reshape(&[]),
    }
}

/// Comparison `op` of `x` and 0.
fn against_zero<'b>(g: &GradCall<'_, 'b>, op: &str) -> Var<'b> {
    compare(op, g.arg("x"), g.builder().scalar(g.ty("x").dtype, 0.0))
}

/// `v` where the result is between `low` and `high`, else 0.
fn where_between<'b>(g: &GradCall<'_, 'b>, low: f64, high: f64, v: Var<'b>) -> Var<'b> {
    let (y, dtype) = (g.output(), g.ty("x").dtype);
    let above = compare("greater", y, g.builder().scalar(dtype, low));
    let below = compare("less", y, g.builder().scalar(dtype, high));
    choose(compare("logical_and", above, below), Some(v), None)
}
