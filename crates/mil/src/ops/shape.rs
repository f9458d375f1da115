//! Reshapes: other shapes for the same elements.

use super::parts::zeros;
use super::unary::same_type;
use crate::diag::Reject;
use crate::op::{
    ANY, Absent, Axes, BOOL, Call, Eval, Grad, I32, INDEX, OpDef, Work, constant, known, resolve_axis,
    tensor, variadic,
};
use crate::tensor::{Data, Tensor, flatten, strides};
use crate::ty::{Opset, Shape, TensorType};

/// `identity(x)`: `x` under another name.
/// Source: coremltools `iOS15/tensor_operation.py`, class `identity`.
pub static IDENTITY: OpDef = OpDef {
    name: "identity",
    since: Opset::Ios15,
    params: &[tensor("x", ANY)],
    axes: Axes::Elementwise,
    work: Work::Free,
    infer: same_type,
    eval: same_elements,
    grad: Grad::Rule(|g| {
        let dy = g.cotangent();
        g.give("x", dy);
    }),
};

/// `reshape(x, shape)`: the same elements in another shape; one `-1` is inferred, `0` keeps the axis.
///
/// For `0`, axes are counted from the last; where `x` has none, it means 1. Up to iOS16, `0` needs the rank of `x`, and
/// then means the same.
/// Source: coremltools `iOS15` and `iOS17/tensor_transformation.py`, class `reshape`.
pub static RESHAPE: OpDef = OpDef {
    name: "reshape",
    since: Opset::Ios15,
    params: &[tensor("x", ANY), known("shape", INDEX)],
    axes: Axes::Reshape,
    work: Work::Free,
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
    axes: Axes::Transpose,
    work: Work::Free,
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

/// `expand_dims(x, axes)`: inserts axes of size 1 at the positions `axes` of the result.
/// Source: coremltools `iOS15/tensor_transformation.py`, class `expand_dims`.
pub static EXPAND_DIMS: OpDef = OpDef {
    name: "expand_dims",
    since: Opset::Ios15,
    params: &[tensor("x", ANY), constant("axes", I32)],
    axes: Axes::Reshape,
    work: Work::Free,
    infer: expanded,
    eval: same_elements,
    grad: SHAPE_BACK,
};

/// `squeeze(x, axes)`: removes those of `axes` that have size 1, or all such axes.
/// Source: coremltools `iOS15/tensor_transformation.py`, class `squeeze`; as there, larger axes stay.
pub static SQUEEZE: OpDef = OpDef {
    name: "squeeze",
    since: Opset::Ios15,
    params: &[tensor("x", ANY), constant("axes", I32).optional()],
    axes: Axes::Reshape,
    work: Work::Free,
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

/// `flatten2d(x, axis)`: merges the axes before `axis` into one, and the others into one.
/// Source: coremltools `iOS15/tensor_operation.py`, class `flatten2d`.
pub static FLATTEN2D: OpDef = OpDef {
    name: "flatten2d",
    since: Opset::Ios15,
    params: &[tensor("x", ANY), constant("axis", I32).or(Absent::Int(1))],
    axes: Axes::Tied,
    work: Work::Free,
    infer: |a| {
        let x = a.ty("x");
        // It is a position between axes, so there is one more position than axes; but −1 is before the last axis.
        let axis = if a.int("axis") == x.rank() as i64 {
            x.rank()
        } else {
            a.check_axis("axis", a.int("axis"), x.rank())?
        };
        let (before, after) = x.shape.split_at(axis);
        let product = |sizes: &[usize]| sizes.iter().fold(1usize, |n, &d| n.saturating_mul(d));
        Ok(vec![TensorType::new(x.dtype, [product(before), product(after)])])
    },
    eval: same_elements,
    grad: SHAPE_BACK,
};

/// `reshape_like(x, ref_tensors, begins, ends, end_masks)`: the same elements in a shape of parts of other shapes, the
/// axes from `begins[i]` to `ends[i]` of `ref_tensors[i]`, or all from there if `end_masks[i]`.
/// Source: coremltools `iOS16/tensor_transformation.py`, class `reshape_like`; axes are counted as in Python.
pub static RESHAPE_LIKE: OpDef = OpDef {
    name: "reshape_like",
    since: Opset::Ios16,
    params: &[
        tensor("x", ANY),
        variadic("ref_tensors", ANY),
        variadic("begins", I32),
        variadic("ends", I32),
        variadic("end_masks", BOOL),
    ],
    axes: Axes::Tied,
    work: Work::Free,
    infer: reshaped_like,
    eval: same_elements,
    grad: Grad::Rule(|g| {
        let dx = g.cotangent().reshape(&g.ty("x").shape);
        g.give("x", dx);
        if g.wants("ref_tensors") {
            for (n, ty) in g.tys("ref_tensors").into_iter().enumerate() {
                let none = zeros(g, ty);
                g.give_nth("ref_tensors", n, none);
            }
        }
    }),
};

/// The gradient of operations that keep the order of elements: reshapes to the shape of `x`.
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
        let same = (i + x.rank()).checked_sub(wanted.len()).and_then(|i| x.shape.get(i));
        shape.push(match (d, same) {
            (0, Some(&d)) => d,
            (0 | -1, _) => 1,
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

fn reshaped_like(a: &Call<'_>) -> Result<Vec<TensorType>, Reject> {
    let (x, refs) = (a.ty("x"), a.tys("ref_tensors"));
    let listed = ["begins", "ends", "end_masks"].map(|name| (name, a.datas(name)));
    for (name, data) in &listed {
        let reject = match data {
            None => Reject::new("must-be-const", "`reshape_like` needs constant bounds")
                .label(name, "unknown at compile time"),
            Some(d) if d.len() != refs.len() || d.iter().any(|d| d.len() != 1) => {
                Reject::new("reshape-like-bounds", "`reshape_like` needs one bound for each tensor")
                    .label("ref_tensors", format!("{} tensors", refs.len()))
                    .label(name, format!("{d:?}"))
            }
            Some(_) => continue,
        };
        return Err(reject);
    }
    let [begins, ends, masks] = listed.map(|(_, data)| data.unwrap_or_default());
    let place = |data: Option<&&Data>, rank: usize| match data {
        Some(Data::Int(v)) => {
            let (at, rank) = (v.first().copied().unwrap_or(0), i64::try_from(rank).unwrap_or(i64::MAX));
            (if at < 0 { at.saturating_add(rank) } else { at }).clamp(0, rank) as usize
        }
        _ => rank,
    };
    let mut shape = Vec::new();
    for (i, ty) in refs.iter().enumerate() {
        let open = matches!(masks.get(i), Some(Data::Bool(v)) if v.first() == Some(&true));
        let end = place(ends.get(i).filter(|_| !open), ty.rank());
        shape.extend_from_slice(ty.shape.get(place(begins.get(i), ty.rank())..end).unwrap_or_default());
    }
    let ty = TensorType::new(x.dtype, shape);
    if ty.elements() == x.elements() {
        return Ok(vec![ty]);
    }
    Err(Reject::new("reshape-elements", "`reshape_like` cannot keep the elements")
        .label("x", format!("{} elements in {}", x.elements(), Shape(&x.shape)))
        .label("ref_tensors", format!("{} elements in {}", ty.elements(), Shape(&ty.shape))))
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
