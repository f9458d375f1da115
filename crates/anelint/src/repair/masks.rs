//! Masks without infinities.

use super::call::each;
use super::{Apply, EXACT, Repair, Rewritten};
use mil::ir::{Arg, LiteralData};
use mil::pass::Rewrite;
use mil::{ArgValue, Data, Function, Literal, Operation, Tensor, ValueId};

/// The lowest finite fp16, which masks of programs that engines run are made of.
pub(super) const LOWEST_F16: f64 = -65504.0;

/// Constants of -infinity before a `softmax`.
pub(super) const FINITE: Repair = Repair {
    rules: &["N28"],
    name: "finite-mask",
    does: "Writes -65504 for -infinity in constants that are added or chosen before `softmax`.",
    by_default: true,
    exact: EXACT,
    apply: Apply::Function(finite),
};

fn finite(function: &Function) -> Result<Option<Rewritten>, String> {
    let done = each(function, |s, operation| {
        let params: &[&str] = match operation.op.name() {
            "add" => &["x", "y"],
            "select" => &["a", "b"],
            _ => return None,
        };
        if !is_softened(function, *operation.results.first()?) {
            return None;
        }
        let mut changed = false;
        for name in params {
            let Some(literal) = s.literal(operation, name).and_then(lowered) else { continue };
            let Some(param) = operation.op.param(name) else { continue };
            operation.args.retain(|a| a.param != param);
            operation.args.push(Arg { param, value: ArgValue::Value(s.b.shared(literal).id()) });
            changed = true;
        }
        changed.then(|| (Rewrite::Amend, format!("`{}`: -65504 replaces -infinity", s.name(operation))))
    })?;
    match (done, multiplied(function)) {
        (None, Some(name)) => Err(format!(
            "`{name}` multiplies with infinity, and 0 times infinity is no number: there is no meaning to keep. Write \
             `select` between 0 and -10000 or -65504 instead"
        )),
        (done, _) => Ok(done),
    }
}

/// Whether all that uses `v` is a `softmax`.
fn is_softened(function: &Function, v: ValueId) -> bool {
    let mut uses = function.operations().filter(|op| op.uses().any(|u| u == v)).peekable();
    uses.peek().is_some() && uses.all(|op| op.op.name() == "softmax") && !function.outputs.contains(&v)
}

/// `literal` with finite numbers, if it has -infinity.
fn lowered(literal: &Literal) -> Option<Literal> {
    let LiteralData::Inline(data) = &literal.data else { return None };
    let Data::Float(v) = &**data else { return None };
    let infinite = |x: &f64| *x == f64::NEG_INFINITY;
    let finite = || v.iter().map(|x| if infinite(x) { LOWEST_F16 } else { *x }).collect();
    v.iter()
        .any(infinite)
        .then(|| Literal::inline(Tensor { ty: literal.ty.clone(), data: Data::Float(finite()) }))
}

/// The name of a product with a constant of infinity.
fn multiplied(function: &Function) -> Option<&str> {
    let literals = function.literals();
    let infinite = |v: ValueId| match literals[v.index()].and_then(Literal::data) {
        Some(Data::Float(v)) => v.iter().any(|x| x.is_infinite()),
        _ => false,
    };
    let product = |op: &&Operation| op.op.name() == "mul" && op.uses().any(infinite);
    let op = function.ops.iter().find(product)?;
    Some(function.value(*op.results.first()?).name.as_str())
}
