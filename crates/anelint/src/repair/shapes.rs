//! The same numbers in another shape, where an engine refuses one shape or computes it wrongly.

use super::call::each;
use super::stable::made_by;
use super::{Apply, EXACT, Repair};
use crate::facts::AFFINE_CHANNELS;
use mil::pass::Rewrite;
use mil::{ArgValue, Literal, TensorType};

/// Hardswish of a product of two axes.
pub(super) const HARDSWISH: Repair = Repair {
    rules: &["N27"],
    name: "hardswish-four-axes",
    does: "Reshapes a product of two axes to four before hardswish, and back after it.",
    by_default: false,
    exact: EXACT,
    apply: Apply::Function(|function| {
        each(function, |s, operation| {
            if operation.op.name() != "mul" {
                return None;
            }
            ["x", "y"].into_iter().zip(["y", "x"]).find_map(|(value, gate)| {
                let gate = made_by(s, operation, gate, "sigmoid_hard")?;
                let product =
                    ["matmul", "linear"].iter().any(|op| made_by(s, operation, value, op).is_some());
                let same = gate.arg_value("x").is_some() && gate.arg_value("x") == operation.arg_value(value);
                let z = s.arg(operation, value).filter(|z| product && same && z.shape().len() == 2)?;
                let flat = z.shape();
                let four = z.reshape(&[&[1, 1], &flat[..]].concat());
                let mut args = vec![("x", four.into())];
                for name in ["alpha", "beta"] {
                    args.extend(s.arg(gate, name).map(|given| (name, given.into())));
                }
                let new = s.binary("mul", four, s.b.op("sigmoid_hard", args)).reshape(&flat);
                let words = format!("`{}`: hardswish works on four axes", s.name(operation));
                Some((Rewrite::Replace(new.id()), words))
            })
        })
    }),
};

/// A scale or shift of each channel between two reshapes.
pub(super) const AFFINE: Repair = Repair {
    rules: &["T38", "T39"],
    name: "affine-last-axis",
    does: "Moves a scale or shift `[1, D, 1, 1]` after the reshape, as a constant along the last axis.",
    by_default: false,
    exact: EXACT,
    apply: Apply::Function(|function| {
        each(function, |s, operation| {
            if operation.op.name() != "reshape" {
                return None;
            }
            let (x, result) = (operation.arg_value("x")?, s.function.ty(*operation.results.first()?));
            ["mul", "add"].into_iter().find_map(|op| {
                let term = made_by(s, operation, "x", op)?;
                ["x", "y"].into_iter().zip(["y", "x"]).find_map(|(value, constant)| {
                    let d = *s.function.ty(x).shape.get(1)?;
                    // The elements of a channel are those of the last axis.
                    let ty = s.function.ty(x);
                    let kept = ty.rank() == 4 && ty.shape[2..] == [1, 1] && result.shape.last() == Some(&d);
                    let Some(ArgValue::Value(numbers)) = term.arg(constant) else { return None };
                    let literal = s.literals[numbers.index()]?;
                    if !kept || d < AFFINE_CHANNELS.value || literal.ty.shape != [1, d, 1, 1] {
                        return None;
                    }
                    let before = s.arg(term, value).filter(|v| v.ty() == *ty)?;
                    let mut shape = vec![1; result.rank()];
                    *shape.last_mut()? = d;
                    let row =
                        Literal { ty: TensorType::new(literal.ty.dtype, shape), data: literal.data.clone() };
                    let new = s.binary(op, before.reshape(&result.shape), s.b.shared(row));
                    let words =
                        format!("`{}`: the `{op}` of {d} channels is after the reshape", s.name(operation));
                    Some((Rewrite::Replace(new.id()), words))
                })
            })
        })
    }),
};
