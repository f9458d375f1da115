//! Arithmetic in other words.

use super::call::{RewriteContext, each, float};
use super::{Apply, EXACT, Repair};
use mil::build::Var;
use mil::pass::Rewrite;
use mil::{Data, Operation};
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_PI};

/// Powers that are products.
pub(super) const POW: Repair = Repair {
    rules: &["T18"],
    name: "pow-products",
    does: "Writes the powers 2, 3, 4 and −1 as products and quotients, the power ½ as a square root.",
    by_default: true,
    exact: EXACT,
    apply: Apply::Function(|function| {
        each(function, |s, operation| {
            let (x, p) = power(s, operation)?;
            let (new, words) = match p {
                2.0 => (s.binary("mul", x, x), "`mul(x, x)`"),
                3.0 => {
                    let square = s.binary("mul", x, x);
                    (s.binary("mul", square, x), "two `mul`s")
                }
                4.0 => {
                    let square = s.binary("mul", x, x);
                    (s.binary("mul", square, square), "two `mul`s")
                }
                0.5 => (s.b.op("sqrt", [("x", x.into())]), "`sqrt(x)`"),
                -1.0 => {
                    let one = s.b.shared(float(x.ty().dtype, 1.0));
                    (s.binary("real_div", one, x), "`real_div(1, x)`")
                }
                _ => return None,
            };
            Some((Rewrite::Replace(new.id()), format!("`{}`: `pow(x, {p})` is {words}", s.name(operation))))
        })
    }),
};

/// `rsqrt`, which engines refuse more often than the power −½.
pub(super) const RSQRT_POWER: Repair = Repair {
    rules: &["T17"],
    name: "rsqrt-power",
    does: "Writes `rsqrt(x, ε)` as `pow(x + ε, -0.5)`.",
    by_default: false,
    exact: EXACT,
    apply: Apply::Function(|function| {
        each(function, |s, operation| {
            if operation.op.name() != "rsqrt" {
                return None;
            }
            let (sum, epsilon) = plus_epsilon(s, operation)?;
            let dtype = sum.ty().dtype;
            let new = s.binary("pow", sum, float(dtype, -0.5));
            let words =
                format!("`{}`: `rsqrt(x, {epsilon})` is `pow(x + {epsilon}, -0.5)`", s.name(operation));
            Some((Rewrite::Replace(new.id()), words))
        })
    }),
};

/// Base and exponent of a power with one constant exponent that keeps the shape of the base.
fn power<'a>(s: &RewriteContext<'a, '_>, operation: &Operation) -> Option<(Var<'a>, f64)> {
    if operation.op.name() != "pow" {
        return None;
    }
    let Some(Data::Float(exponents)) = s.literal(operation, "y")?.data() else { return None };
    let p = *exponents.first()?;
    let x = s.arg(operation, "x")?;
    let same = x.ty() == *s.function.ty(*operation.results.first()?);
    (same && exponents.iter().all(|&e| e == p)).then_some((x, p))
}

/// The reciprocal.
pub(super) const INVERSE: Repair = Repair {
    rules: &["T21"],
    name: "inverse-quotient",
    does: "Writes `inverse(x, ε)` as `real_div(1, x + ε)`.",
    by_default: true,
    exact: EXACT,
    apply: Apply::Function(|function| {
        each(function, |s, operation| {
            if operation.op.name() != "inverse" {
                return None;
            }
            let (sum, epsilon) = plus_epsilon(s, operation)?;
            let dtype = sum.ty().dtype;
            let one = s.b.shared(float(dtype, 1.0));
            let new = s.binary("real_div", one, sum);
            let words =
                format!("`{}`: `inverse(x, {epsilon})` is `real_div(1, x + {epsilon})`", s.name(operation));
            Some((Rewrite::Replace(new.id()), words))
        })
    }),
};

/// `x + ε` of an operation with the constant parameter `epsilon`, and ε.
fn plus_epsilon<'a>(s: &RewriteContext<'a, '_>, operation: &Operation) -> Option<(Var<'a>, f64)> {
    let epsilon = match s.literal(operation, "epsilon").and_then(|l| l.data()) {
        Some(Data::Float(v)) => *v.first()?,
        Some(_) => return None,
        None => default(operation, "epsilon")?,
    };
    let x = s.arg(operation, "x")?;
    let sum = if epsilon == 0.0 { x } else { s.binary("add", x, float(x.ty().dtype, epsilon)) };
    Some((sum, epsilon))
}

/// The default of the float parameter `name`.
pub(super) fn default(operation: &Operation, name: &str) -> Option<f64> {
    match operation.op.params[operation.op.param(name)?].absent {
        mil::op::Absent::Float(x) => Some(x),
        _ => None,
    }
}

/// The mean.
pub(super) const MEAN: Repair = Repair {
    rules: &["T22"],
    name: "mean-sum",
    does: "Writes `reduce_mean` as the `reduce_sum` of elements times 1/n.",
    by_default: false,
    exact: EXACT,
    apply: Apply::Function(|function| {
        each(function, |s, operation| {
            if operation.op.name() != "reduce_mean" {
                return None;
            }
            let x = s.arg(operation, "x")?;
            let ty = s.function.ty(*operation.results.first()?);
            let n = x.ty().elements() / ty.elements().max(1);
            // Before the sum, which may not fit into fp16 where the mean does.
            let part = s.binary("mul", x, float(ty.dtype, 1.0 / n as f64));
            let mut args = vec![("x", part.into())];
            for name in ["axes", "keep_dims"] {
                if let Some(given) = s.arg(operation, name) {
                    args.push((name, given.into()));
                }
            }
            let new = s.b.op("reduce_sum", args);
            let words = format!(
                "`{}`: `reduce_mean` of {n} is the `reduce_sum` of elements times 1/{n}",
                s.name(operation)
            );
            Some((Rewrite::Replace(new.id()), words))
        })
    }),
};

/// `gelu`, by its formula.
pub(super) const GELU_FORMULA: Repair = Repair {
    rules: &["T16"],
    name: "gelu-formula",
    does: "Writes `gelu` as its formula, with `erf`, `tanh` or `sigmoid` depending on its mode.",
    by_default: false,
    exact: EXACT,
    apply: Apply::Function(|function| {
        each(function, |s, operation| {
            if operation.op.name() != "gelu" {
                return None;
            }
            let mode = match s.literal(operation, "mode").and_then(|l| l.data()) {
                Some(Data::Str(v)) => v.first()?.as_str(),
                _ => "EXACT",
            };
            let x = s.arg(operation, "x")?;
            let dtype = x.ty().dtype;
            let times = |v, by| s.binary("mul", v, float(dtype, by));
            let one_more = |v| s.binary("add", v, float(dtype, 1.0));
            let apply = |op: &str, v: Var<'_>| s.b.op(op, [("x", s.b.var(v.id()).into())]);
            let new = match mode {
                "TANH_APPROXIMATION" => {
                    // ½·x·(1 + tanh(√(2/π)·(x + 0.044715·x³)))
                    let inner = s.binary("mul", x, one_more(times(s.binary("mul", x, x), 0.044715)));
                    let share = one_more(apply("tanh", times(inner, FRAC_2_PI.sqrt())));
                    s.binary("mul", times(x, 0.5), share)
                }
                // x·sigmoid(1.702·x)
                "SIGMOID_APPROXIMATION" => s.binary("mul", x, apply("sigmoid", times(x, 1.702))),
                // ½·x·(1 + erf(x/√2))
                _ => s.binary("mul", times(x, 0.5), one_more(apply("erf", times(x, FRAC_1_SQRT_2)))),
            };
            Some((
                Rewrite::Replace(new.id()),
                format!("`{}`: `gelu` ({mode}) is its formula", s.name(operation)),
            ))
        })
    }),
};
