//! Other shapes for the same elements.

use super::unary::same_type;
use crate::diag::Reject;
use crate::op::{ANY, Call, Eval, Grad, I32, OpDef, constant, known, resolve_axis, tensor};
use crate::tensor::{Tensor, flatten, strides};
use crate::ty::{Opset, Shape, TensorType};

/// `identity(x)`: `x` under another name.
/// Source: coremltools `iOS15/tensor_operation.py`, class `identity`.
pub static IDENTITY: OpDef = OpDef {
    name: "identity",
    since: Opset::Ios15,
    params: &[tensor("x", ANY)],
    infer: same_type,
    eval: same_elements,
    grad: Grad::Rule(|g| {
        let dy = g.cotangent();
        g.give("x", dy);
    }),
};

/// `reshape(x, shape)`: the same elements in another shape; one `-1` is inferred, `0` keeps the axis.
/// Source: coremltools `iOS15/tensor_transformation.py`, class `reshape`.
pub static RESHAPE: OpDef = OpDef {
    name: "reshape",
    since: Opset::Ios15,
    params: &[tensor("x", ANY), known("shape", I32)],
    infer: reshaped,
    eval: same_elements,
    grad: SHAPE_BACK,
};

/// `transpose(x, perm)`: axis `i` of the result is axis `perm[i]` of `x`.
/// Source: coremltools `iOS15/tensor_transformation.py`, class `transpose`.
pub static TRANSPOSE: OpDef = OpDef {
    name: "transpose",
    since: Opset::Ios15,
    params: &[tensor("x", ANY), constant("perm", I32)],
    infer: |a| {
        let x = a.ty("x");
        let perm = permutation(a)?;
        Ok(vec![TensorType::new(x.dtype, perm.iter().map(|&p| x.shape[p]).collect::<Vec<_>>())])
    },
    eval: |a| {
        let x = a.tensor("x");
        let steps = strides(&x.ty.shape);
        let perm = permutation(a).unwrap_or_default();
        let from: Vec<usize> = perm.iter().map(|&p| steps[p]).collect();
        vec![x.gathered(a.out().clone(), |index| flatten(index, &from))]
    },
    grad: Grad::Rule(|g| {
        let perm = permutation(g).unwrap_or_default();
        let mut inverse = vec![0; perm.len()];
        for (i, &p) in perm.iter().enumerate() {
            inverse[p] = i as i64;
        }
        let dx = g.cotangent().transpose(&inverse);
        g.give("x", dx);
    }),
};

/// `expand_dims(x, axes)`: axes of size 1 at the places `axes` of the result.
/// Source: coremltools `iOS15/tensor_transformation.py`, class `expand_dims`.
pub static EXPAND_DIMS: OpDef = OpDef {
    name: "expand_dims",
    since: Opset::Ios15,
    params: &[tensor("x", ANY), constant("axes", I32)],
    infer: expanded,
    eval: same_elements,
    grad: SHAPE_BACK,
};

/// `squeeze(x, axes)`: without those of `axes` that have size 1, or without all such axes.
/// Source: coremltools `iOS15/tensor_transformation.py`, class `squeeze`; as there, larger axes stay.
pub static SQUEEZE: OpDef = OpDef {
    name: "squeeze",
    since: Opset::Ios15,
    params: &[tensor("x", ANY), constant("axes", I32).optional()],
    infer: |a| {
        let x = a.ty("x");
        let mut named = vec![!a.has("axes"); x.rank()];
        for axis in a.ints("axes") {
            named[a.check_axis("axes", axis, x.rank())?] = true;
        }
        let kept = x.shape.iter().zip(named).filter(|&(&d, named)| !(named && d == 1));
        Ok(vec![TensorType::new(x.dtype, kept.map(|(&d, _)| d).collect::<Vec<_>>())])
    },
    eval: same_elements,
    grad: SHAPE_BACK,
};

/// The gradient of what keeps the elements in order: the shape of `x` again.
const SHAPE_BACK: Grad = Grad::Rule(|g| {
    let dx = g.cotangent().reshape(&g.ty("x").shape);
    g.give("x", dx);
});

fn same_elements(a: &Eval<'_>) -> Vec<Tensor> {
    vec![Tensor { ty: a.out().clone(), data: a.tensor("x").data.clone() }]
}

fn expanded(a: &Call<'_>) -> Result<Vec<TensorType>, Reject> {
    let (x, axes) = (a.ty("x"), a.ints("axes"));
    let rank = x.rank() + axes.len();
    let mut new = vec![false; rank];
    for &axis in &axes {
        match resolve_axis(axis, rank).filter(|&i| !new[i]) {
            Some(i) => new[i] = true,
            None => {
                return Err(Reject::new("expand-axes", "`expand_dims` needs distinct axes of its result")
                    .label("x", format!("{} axes", x.rank()))
                    .label("axes", format!("{axes:?}"))
                    .help(format!(
                        "the result has {rank} axes: use {} to {}",
                        -(rank as i64),
                        rank as i64 - 1
                    )));
            }
        }
    }
    let mut old = x.shape.iter();
    let shape: Vec<usize> =
        new.iter().filter_map(|&n| if n { Some(1) } else { old.next().copied() }).collect();
    Ok(vec![TensorType::new(x.dtype, shape)])
}

fn reshaped(a: &Call<'_>) -> Result<Vec<TensorType>, Reject> {
    let (x, wanted) = (a.ty("x"), a.ints("shape"));
    let refuse = |text: String| {
        Err(Reject::new("reshape-elements", "`reshape` cannot keep the elements")
            .label("x", format!("{} elements in {}", x.elements(), Shape(&x.shape)))
            .label("shape", text))
    };
    let mut shape = Vec::new();
    for (i, &d) in wanted.iter().enumerate() {
        shape.push(match (d, x.shape.get(i)) {
            (0, Some(&d)) => d,
            (-1, _) => 1,
            (d, _) => match usize::try_from(d) {
                Ok(d) => d,
                Err(_) => return refuse(format!("a size of {d}")),
            },
        });
    }
    let known = shape.iter().fold(1usize, |n, &d| n.saturating_mul(d));
    match wanted.iter().filter(|&&d| d == -1).count() {
        0 => {}
        1 if known > 0 && x.elements().is_multiple_of(known) => {
            if let Some(at) = wanted.iter().position(|&d| d == -1) {
                shape[at] = x.elements() / known;
            }
        }
        _ => return refuse(format!("{wanted:?} cannot be inferred")),
    }
    let ty = TensorType::new(x.dtype, shape);
    if ty.elements() != x.elements() {
        return refuse(format!("{} elements in {}", ty.elements(), Shape(&ty.shape)));
    }
    Ok(vec![ty])
}

fn permutation(a: &Call<'_>) -> Result<Vec<usize>, Reject> {
    let rank = a.ty("x").rank();
    let perm: Vec<usize> = a.ints("perm").iter().filter_map(|&p| resolve_axis(p, rank)).collect();
    let mut sorted = perm.clone();
    sorted.sort_unstable();
    if sorted.iter().copied().eq(0..rank) && a.ints("perm").len() == rank {
        return Ok(perm);
    }
    Err(Reject::new("permutation", "`transpose` needs each axis once")
        .label("x", format!("{rank} axes"))
        .label("perm", format!("{:?}", a.ints("perm"))))
}
