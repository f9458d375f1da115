//! Attention.

use super::activation::softmax_line;
use super::logic::truths;
use super::parts::choose;
use super::unary::equal_dtypes;
use crate::build::Var;
use crate::diag::Reject;
use crate::grad::GradCall;
use crate::op::{Axes, Call, Eval, FLOATS, Grad, OpDef, Work, elements, tensor};
use crate::tensor::{Data, Tensor, broadcast, broadcast_strides, flatten, unflatten};
use crate::ty::{DType, Opset, Shape, TensorType};

/// `scaled_dot_product_attention(query, key, value, attn_mask)`: `softmax(Q·Kᵀ/√E + mask)·V`.
///
/// `query` is `[B, …, L, E]`, `key` `[B, …, S, E]`, `value` `[B, …, S, EV]`. A float mask is added; where a boolean
/// one is false, nothing is attended to. It broadcasts to `[B, …, L, S]`; its last axis must be `S`. A Neural Engine is
/// reported to ignore it.
/// Source: coremltools `iOS18/transformers.py`, class `scaled_dot_product_attention`.
pub static SCALED_DOT_PRODUCT_ATTENTION: OpDef = OpDef {
    name: "scaled_dot_product_attention",
    since: Opset::Ios18,
    params: &[
        tensor("query", FLOATS),
        tensor("key", FLOATS),
        tensor("value", FLOATS),
        tensor("attn_mask", &[DType::Bool, DType::F16, DType::F32]).optional(),
    ],
    axes: Axes::Attention,
    work: Work::MulAdds(|c, out| {
        // Scores, then their product with the values: rows · keys · (E + EV).
        let last = |name: &str| c.sizes(name)?.last().map(|&d| d as u64);
        let (e, ev) = (last("query")?, last("value")?);
        let keys = *c.sizes("key")?.iter().rev().nth(1)? as u64;
        Some((elements(&out.shape) / ev.max(1)).saturating_mul(keys).saturating_mul(e + ev))
    }),
    infer: attention_type,
    eval: attention,
    grad: Grad::Rule(attention_gradient),
};

fn attention_type(a: &Call<'_>) -> Result<Vec<TensorType>, Reject> {
    let names = ["query", "key", "value"];
    equal_dtypes(a, &names)?;
    let refuse = |text: &str| {
        let reject = Reject::new("attention-shapes", text.to_owned());
        names.iter().fold(reject, |r, n| r.label(n, Shape(&a.ty(n).shape).to_string()))
    };
    let [query, key, value] = names.map(|n| &a.ty(n).shape[..]);
    let rank = query.len();
    if rank < 3 || key.len() != rank || value.len() != rank {
        return Err(refuse("attention needs query, key and value of one rank, 3 or more"));
    }
    let (batch, l, s) = (&query[..rank - 2], query[rank - 2], key[rank - 2]);
    if batch != &key[..rank - 2] || batch != &value[..rank - 2] {
        return Err(refuse("attention needs equal batch axes").help("`tile` the heads that are shared"));
    }
    if query[rank - 1] != key[rank - 1] {
        return Err(refuse("attention needs query and key of equal width"));
    }
    if s != value[rank - 2] {
        return Err(refuse("attention needs as many values as keys"));
    }
    if a.has("attn_mask") {
        let mask = &a.ty("attn_mask").shape;
        let scores = [batch, &[l, s]].concat();
        if mask.last() != Some(&s) || broadcast(&scores, mask).as_ref() != Some(&scores) {
            return Err(Reject::new("attention-mask", "the mask does not broadcast to the scores")
                .label("attn_mask", Shape(mask).to_string())
                .label("query", format!("scores are {}", Shape(&scores))));
        }
    }
    Ok(vec![TensorType::new(a.ty("query").dtype, [batch, &[l, value[rank - 1]]].concat())])
}

fn attention(a: &Eval<'_>) -> Vec<Tensor> {
    let [query, key, value] = ["query", "key", "value"].map(|n| a.tensor(n));
    let rank = query.ty.rank();
    let (l, e) = (query.ty.shape[rank - 2], query.ty.shape[rank - 1]);
    let (s, ev) = (key.ty.shape[rank - 2], value.ty.shape[rank - 1]);
    let scores = [&query.ty.shape[..rank - 1], &[s]].concat();
    let mask = a.has("attn_mask").then(|| a.tensor("attn_mask"));
    let steps = mask.map_or(Vec::new(), |m| broadcast_strides(&m.ty.shape, &scores));
    let mut index = vec![0; rank];
    let mut masked = |n: usize| {
        let Some(mask) = mask else { return 0.0 };
        unflatten(n, &scores, &mut index);
        let at = flatten(&index, &steps);
        match &mask.data {
            Data::Bool(_) if truths(mask)[at] => 0.0,
            Data::Bool(_) => f64::NEG_INFINITY,
            _ => mask.as_floats()[at],
        }
    };
    let (query, key, value) = (query.as_floats(), key.as_floats(), value.as_floats());
    let mut out = Vec::with_capacity(a.out().elements());
    for row in 0..scores.iter().product::<usize>() / s.max(1) {
        let batch = row / l;
        let score = |j: usize| {
            let k = (batch * s + j) * e;
            (0..e).map(|i| query[row * e + i] * key[k + i]).sum::<f64>() / (e as f64).sqrt()
        };
        let mut p: Vec<f64> = (0..s).map(|j| score(j) + masked(row * s + j)).collect();
        softmax_line(&mut p);
        out.extend((0..ev).map(|c| (0..s).map(|j| p[j] * value[(batch * s + j) * ev + c]).sum::<f64>()));
    }
    out.resize(a.out().elements(), 0.0); // Without keys there is nothing to sum.
    vec![Tensor { ty: a.out().clone(), data: Data::Float(out) }]
}

fn attention_gradient<'b>(g: &mut GradCall<'_, 'b>) {
    // P = softmax(Q·Kᵀ/√E + mask),  dV = Pᵀ·dz,  dP = dz·Vᵀ
    // dS = P ⊙ (dP − Σ dP ⊙ P),  dQ = dS·K/√E,  dK = dSᵀ·Q/√E,  d mask = dS
    let (query, key, value, dz) = (g.arg("query"), g.arg("key"), g.arg("value"), g.cotangent());
    let e = query.shape().last().copied().unwrap_or(1);
    let scale = (e as f64).powf(-0.5);
    let p = masked(g, query.matmul(key, false, true) * scale).softmax(-1);
    if g.wants("value") {
        g.give("value", p.matmul(dz, true, false));
    }
    if ["query", "key", "attn_mask"].iter().any(|n| g.wants(n)) {
        let dp = dz.matmul(value, false, true);
        let ds = p * (dp - (dp * p).reduce_sum(&[-1], true));
        if g.wants("query") {
            g.give("query", ds.matmul(key, false, false) * scale);
        }
        if g.wants("key") {
            g.give("key", ds.matmul(query, true, false) * scale);
        }
        if g.wants("attn_mask") {
            g.give("attn_mask", ds.cast(g.ty("attn_mask").dtype));
        }
    }
}

/// The scores with the mask, in their own type.
fn masked<'b>(g: &GradCall<'_, 'b>, scores: Var<'b>) -> Var<'b> {
    if !g.has("attn_mask") {
        return scores;
    }
    let (mask, dtype) = (g.arg("attn_mask"), scores.ty().dtype);
    match mask.ty().dtype {
        DType::Bool => choose(mask, Some(scores), Some(g.builder().scalar(dtype, f64::NEG_INFINITY))),
        own if own == dtype => scores + mask,
        _ => scores + mask.cast(dtype),
    }
}
