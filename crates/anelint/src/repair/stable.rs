//! Logarithms of sums of exponentials, in the forms that do not overflow.

use super::arithmetic::default;
use super::call::{RewriteContext, boolean, each, float, ints};
use super::{Apply, EXACT, Repair};
use mil::build::Var;
use mil::pass::Rewrite;
use mil::{Data, Operation};

/// `softplus`.
pub(super) const SOFTPLUS: Repair = Repair {
    rules: &["N29"],
    name: "softplus-formula",
    does: "Writes `softplus(x)` as `max(x, 0) + log(1 + exp(-|x|))`, whose exponential is at most 1.",
    by_default: true,
    exact: EXACT,
    apply: Apply::Function(|function| {
        each(function, |s, operation| {
            if operation.op.name() != "softplus" {
                return None;
            }
            let x = s.arg(operation, "x")?;
            let dtype = x.ty().dtype;
            let above = s.binary("maximum", x, float(dtype, 0.0));
            let size = s.b.op("abs", [("x", x.into())]);
            let falling = s.binary("mul", size, float(dtype, -1.0)).exp();
            let rest = log(s, s.binary("add", falling, float(dtype, 1.0)));
            let new = s.binary("add", above, rest);
            Some((
                Rewrite::Replace(new.id()),
                format!("`{}`: `softplus(x)` is `max(x, 0) + log(1 + exp(-|x|))`", s.name(operation)),
            ))
        })
    }),
};

/// `reduce_log_sum_exp`.
pub(super) const LOG_SUM_EXP: Repair = Repair {
    rules: &["N30"],
    name: "log-sum-exp-shifted",
    does: "Writes `reduce_log_sum_exp(x)` as `max + log(sum(exp(x - max)))`.",
    by_default: true,
    exact: EXACT,
    apply: Apply::Function(|function| {
        each(function, |s, operation| {
            if operation.op.name() != "reduce_log_sum_exp" {
                return None;
            }
            let x = s.arg(operation, "x")?;
            let axes = match s.literal(operation, "axes").and_then(|l| l.data()) {
                Some(Data::Int(axes)) => axes.clone(),
                Some(_) => return None,
                None => (0..x.shape().len() as i64).collect(),
            };
            let (most, _, sum) = shifted(s, x, &axes);
            let kept = s.binary("add", most, log(s, sum));
            let shape = s.function.ty(*operation.results.first()?).shape.clone();
            let new = if kept.shape() == shape { kept } else { kept.reshape(&shape) };
            Some((
                Rewrite::Replace(new.id()),
                format!("`{}`: `reduce_log_sum_exp(x)` is `max + log(sum(exp(x - max)))`", s.name(operation)),
            ))
        })
    }),
};

/// The smallest positive fp16: an epsilon that only keeps zero away from `log`.
const SMALLEST: f64 = 1.0 / (1u64 << 24) as f64;

/// The logarithm of a `softmax`. Its epsilon is left out, so in exact arithmetic there is a small difference.
pub(super) const LOG_SOFTMAX: Repair = Repair {
    rules: &["N31"],
    name: "log-softmax-shifted",
    does: "Writes the logarithm of `softmax(x)` as `x - max - log(sum(exp(x - max)))`, without an epsilon of up to 2⁻²⁴.",
    by_default: true,
    exact: 1e-4,
    apply: Apply::Function(|function| {
        each(function, |s, operation| {
            if operation.op.name() != "log" {
                return None;
            }
            let made = operation.arg_value("x")?;
            let softmax = function.ops.iter().find(|op| op.results.contains(&made))?;
            let epsilon = match s.literal(operation, "epsilon").and_then(|l| l.data()) {
                Some(Data::Float(v)) => *v.first()?,
                Some(_) => return None,
                None => default(operation, "epsilon")?,
            };
            if softmax.op.name() != "softmax" || epsilon > SMALLEST {
                return None;
            }
            let x = s.arg(softmax, "x")?;
            let axis = match s.literal(softmax, "axis").and_then(|l| l.data()) {
                Some(Data::Int(v)) => *v.first()?,
                _ => -1,
            };
            let (_, less, sum) = shifted(s, x, &[axis]);
            let new = s.binary("sub", less, log(s, sum));
            Some((
                Rewrite::Replace(new.id()),
                format!("`{}`: `log(softmax(x))` is `x - max - log(sum(exp(x - max)))`", s.name(operation)),
            ))
        })
    }),
};

/// The maxima of `x` along `axes`, `x` minus the maxima, and the sums of exponentials of the differences.
fn shifted<'a>(s: &RewriteContext<'a, '_>, x: Var<'a>, axes: &[i64]) -> (Var<'a>, Var<'a>, Var<'a>) {
    let along = |op: &str, v: Var<'a>| {
        let axes = ints(axes.to_vec());
        s.b.op(op, [("x", v.into()), ("axes", axes.into()), ("keep_dims", boolean(true).into())])
    };
    let most = along("reduce_max", x);
    let less = s.binary("sub", x, most);
    (most, less, along("reduce_sum", less.exp()))
}

/// The logarithm of values of at least 1, with an epsilon of 0.
fn log<'a>(s: &RewriteContext<'a, '_>, x: Var<'a>) -> Var<'a> {
    s.b.op("log", [("x", x.into()), ("epsilon", float(x.ty().dtype, 0.0).into())])
}

/// The producer of the argument `param` of `operation`, if it is an `op`.
pub(super) fn made_by<'f>(
    s: &RewriteContext<'_, 'f>,
    operation: &Operation,
    param: &str,
    op: &str,
) -> Option<&'f Operation> {
    let made = operation.arg_value(param)?;
    s.function.ops.iter().find(|o| o.results.contains(&made)).filter(|o| o.op.name() == op)
}
