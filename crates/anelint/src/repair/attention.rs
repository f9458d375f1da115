//! Attention, step by step.

use super::call::{RewriteContext, each, float};
use super::masks::LOWEST_F16;
use super::{Apply, EXACT, Repair, Rewritten};
use crate::facts::{ATTENTION_SHORTER_SIDE, MAX_ATTENTION};
use mil::build::Var;
use mil::pass::Rewrite;
use mil::{DType, Data, Function, Literal, Operation, Tensor, TensorType};

/// Attention that engines get wrong: with a mask, or too long.
pub(super) const MASKED: Repair = Repair {
    rules: &["T15"],
    name: "masked-attention",
    does: "Writes attention with a mask, or longer than an engine takes, as `matmul`, `mul`, `add`, `softmax`, `matmul`.",
    by_default: true,
    exact: EXACT,
    apply: Apply::Function(|function| decompose(function, true)),
};

/// Attention that engines are known to accept.
pub(super) const UNMASKED: Repair = Repair {
    rules: &["T15"],
    name: "unmasked-attention",
    does: "Writes all other attention as `matmul`, `mul`, `softmax`, `matmul`.",
    by_default: false,
    exact: EXACT,
    apply: Apply::Function(|function| decompose(function, false)),
};

fn decompose(function: &Function, only_unfit: bool) -> Result<Option<Rewritten>, String> {
    each(function, |s, operation| {
        if operation.op.name() != "scaled_dot_product_attention" || (only_unfit && !is_unfit(s, operation)) {
            return None;
        }
        let [query, key, value] = ["query", "key", "value"].map(|name| s.arg(operation, name));
        let (query, key, value) = (query?, key?, value?);
        let (width, dtype) = (query.shape().last().copied()?, query.ty().dtype);
        // Scaled first: the products of unscaled queries may be beyond fp16.
        let scaled = s.binary("mul", query, float(dtype, (width as f64).powf(-0.5)));
        let mut scores = scaled.matmul(key, false, true);
        if operation.arg("attn_mask").is_some() {
            scores = masked(s, operation, scores)?;
        }
        let new = scores.softmax(-1).matmul(value, false, false);
        let mask = if operation.arg("attn_mask").is_some() { "masked " } else { "" };
        let words = format!("`{}`: {mask}attention is `matmul`, `softmax`, `matmul`", s.name(operation));
        Some((Rewrite::Replace(new.id()), words))
    })
}

/// Whether an engine is reported to get this attention wrong.
fn is_unfit(s: &RewriteContext<'_, '_>, operation: &Operation) -> bool {
    let rows = |name| {
        let shape = operation.arg_value(name).map(|v| s.function.ty(v).shape.as_slice());
        shape.and_then(|shape| shape.iter().rev().nth(1).copied()).unwrap_or(0)
    };
    let (queries, keys) = (rows("query"), rows("key"));
    operation.arg("attn_mask").is_some()
        || queries.max(keys) > MAX_ATTENTION.value
        || queries.min(keys) >= ATTENTION_SHORTER_SIDE.value
}

/// The scores with the mask: added if it is of floats; where a boolean one is false, there is nothing.
fn masked<'a>(s: &RewriteContext<'a, '_>, operation: &Operation, scores: Var<'a>) -> Option<Var<'a>> {
    let dtype = scores.ty().dtype;
    let mask = match s.literal(operation, "attn_mask") {
        Some(Literal { ty, data: mil::ir::LiteralData::Inline(data) }) if ty.dtype == DType::Bool => {
            let Data::Bool(visible) = &**data else { return None };
            // A row that is entirely masked is undefined; any other is unchanged with a finite number.
            let row = ty.shape.last().copied().unwrap_or(1).max(1);
            let finite = visible.chunks(row).all(|row| row.contains(&true));
            let hidden = if finite { LOWEST_F16 } else { f64::NEG_INFINITY };
            let added = visible.iter().map(|&v| if v { 0.0 } else { hidden }).collect();
            let ty = TensorType::new(dtype, ty.shape.clone());
            s.b.shared(Literal::inline(Tensor { ty, data: Data::Float(added) }))
        }
        _ => s.arg(operation, "attn_mask")?,
    };
    Some(match mask.ty().dtype {
        DType::Bool => {
            let nothing = float(dtype, f64::NEG_INFINITY);
            s.b.op("select", [("cond", mask.into()), ("a", scores.into()), ("b", nothing.into())])
        }
        own if own == dtype => s.binary("add", scores, mask),
        _ => s.binary("add", scores, mask.cast(dtype)),
    })
}
