//! Several tensors into one, one into several, one several times.

use super::parts::zeros;
use crate::build::Var;
use crate::diag::Reject;
use crate::op::{
    ANY, Absent, Axes, BOOL, Call, Grad, I32, OpDef, Work, constant, known, resolve_axis, tensor, variadic,
};
use crate::tensor::{Data, Tensor, flatten, strides, unflatten};
use crate::ty::{Opset, TensorType};

/// `concat(values, axis, interleave)`: the values joined along `axis`, or their slices interleaved; numbers make a
/// vector.
/// Source: coremltools `iOS15/tensor_operation.py`, class `concat`; an engine insists on `interleave`.
pub static CONCAT: OpDef = OpDef {
    name: "concat",
    since: Opset::Ios15,
    params: &[
        variadic("values", ANY),
        constant("axis", I32),
        constant("interleave", BOOL).or(Absent::Bool(false)),
    ],
    axes: Axes::Along("axis"),
    work: Work::Free,
    infer: concat_type,
    eval: |a| {
        let (values, out) = (a.tensors("values"), a.out());
        let axis = a.axis("axis", out.rank());
        let new = values.iter().any(|v| v.ty.rank() == 0);
        let sizes = values.iter().map(|v| if new { 1 } else { v.ty.shape[axis] });
        let starts: Vec<usize> = sizes.scan(0, |end, d| Some(std::mem::replace(end, *end + d))).collect();
        vec![match a.bool("interleave") {
            true => assemble(out, values, axis, |n, i| i * values.len() + n, new),
            false => assemble(out, values, axis, |n, i| starts[n] + i, new),
        }]
    },
    grad: Grad::Rule(|g| {
        // each value receives its part; interleaved, `[d·n]` is read as `[d, n]`
        let (dz, types) = (g.cotangent(), g.tys("values"));
        let axis = resolve_axis(g.int("axis"), dz.ty().rank()).unwrap_or(0);
        let mut begin = vec![0; dz.ty().rank()];
        let slices = types.iter().map(|ty| {
            let size = if ty.rank() == 0 { &[1] } else { ty.shape.as_slice() };
            let part = dz.slice(&begin, size);
            begin[axis] += size[axis];
            if ty.rank() == 0 { part.reshape(&[]) } else { part }
        });
        let parts: Vec<Var<'_>> = match g.bool("interleave") {
            false => slices.collect(),
            true if types[0].rank() == 0 => slices.collect(),
            true => {
                let (n, shape) = (types.len(), &types[0].shape);
                let (outer, inner) = (shape[..=axis].iter().product(), shape[axis + 1..].iter().product());
                let turns = dz.reshape(&[outer, n, inner]);
                (0..n).map(|i| turns.slice(&[0, i, 0], &[outer, 1, inner]).reshape(shape)).collect()
            }
        };
        for (n, part) in parts.into_iter().enumerate() {
            g.give_nth("values", n, part);
        }
    }),
};

/// `split(x, num_splits, split_sizes, axis)`: the parts of `x` along `axis`, equal ones or of the given sizes.
/// Source: coremltools `iOS15/tensor_operation.py`, class `split`.
pub static SPLIT: OpDef = OpDef {
    name: "split",
    since: Opset::Ios15,
    params: &[
        tensor("x", ANY),
        constant("num_splits", I32).optional(),
        constant("split_sizes", I32).optional(),
        constant("axis", I32),
    ],
    axes: Axes::Along("axis"),
    work: Work::Free,
    infer: split_types,
    eval: |a| {
        let x = a.tensor("x");
        let axis = a.axis("axis", x.ty.rank());
        let steps = strides(&x.ty.shape);
        let mut before = 0;
        let part = |ty: &&TensorType| {
            let start = before * steps[axis];
            before += ty.shape[axis];
            x.gathered((*ty).clone(), |index| start + flatten(index, &steps))
        };
        a.outs().iter().map(part).collect()
    },
    grad: Grad::Rule(|g| {
        // dx is the concatenated cotangents, with zeros for unused parts
        let types = split_types(g).unwrap_or_default();
        let axis = resolve_axis(g.int("axis"), g.ty("x").rank()).unwrap_or(0);
        let part = |(i, ty): (usize, &TensorType)| g.cotangent_of(i).unwrap_or_else(|| zeros(g, ty));
        let parts: Vec<Var<'_>> = types.iter().enumerate().map(part).collect();
        if let Some(dx) = Var::concat(parts, axis as i64) {
            g.give("x", dx);
        }
    }),
};

/// `stack(values, axis)`: the values along a new axis.
/// Source: coremltools `iOS15/tensor_operation.py`, class `stack`.
pub static STACK: OpDef = OpDef {
    name: "stack",
    since: Opset::Ios15,
    params: &[variadic("values", ANY), constant("axis", I32)],
    axes: Axes::Tied,
    work: Work::Free,
    infer: stack_type,
    eval: |a| {
        let (values, out) = (a.tensors("values"), a.out());
        vec![assemble(out, values, a.axis("axis", out.rank()), |n, _| n, true)]
    },
    grad: Grad::Rule(|g| {
        let (dz, types) = (g.cotangent(), g.tys("values"));
        let axis = resolve_axis(g.int("axis"), dz.ty().rank()).unwrap_or(0);
        let (mut begin, mut size) = (vec![0; dz.ty().rank()], dz.shape());
        size[axis] = 1;
        for (n, ty) in types.iter().enumerate() {
            begin[axis] = n;
            g.give_nth("values", n, dz.slice(&begin, &size).reshape(&ty.shape));
        }
    }),
};

/// `tile(x, reps)`: `x`, `reps[i]` times along axis `i`.
/// Source: coremltools `iOS15/tensor_operation.py`, class `tile`.
pub static TILE: OpDef = OpDef {
    name: "tile",
    since: Opset::Ios15,
    params: &[tensor("x", ANY), known("reps", I32)],
    axes: Axes::Tile,
    work: Work::Free,
    infer: tile_type,
    eval: |a| {
        let x = a.tensor("x");
        let steps = strides(&x.ty.shape);
        let from =
            |index: &[usize]| index.iter().zip(&x.ty.shape).zip(&steps).map(|((i, d), s)| i % d * s).sum();
        vec![x.gathered(a.out().clone(), from)]
    },
    grad: Grad::Rule(|g| {
        // dx sums the copies: along each repeated axis `[r·d]` is read as `[r, d]`
        let (reps, mut dx) = (g.ints("reps"), g.cotangent());
        let mut shape = dx.shape();
        for (axis, (&d, &reps)) in g.ty("x").shape.iter().zip(&reps).enumerate() {
            shape[axis] = d;
            if reps == 1 {
                continue;
            }
            dx = if d == 1 {
                dx.reduce_sum(&[axis as i64], true)
            } else {
                let (outer, inner) = (shape[..axis].iter().product(), shape[axis..].iter().product());
                let copies = dx.reshape(&[outer, reps as usize, inner]);
                copies.reduce_sum(&[1], false).reshape(&shape)
            };
        }
        g.give("x", dx);
    }),
};

/// Puts `values` together: element `index` of value `n` goes to `place(n, index[axis])` along `axis`.
///
/// `new` says that `axis` is not yet there in the values.
fn assemble(
    out: &TensorType,
    values: &[&Tensor],
    axis: usize,
    place: impl Fn(usize, usize) -> usize,
    new: bool,
) -> Tensor {
    let mut data = Data::zeros(out.dtype, out.elements());
    let steps = strides(&out.shape);
    for (n, value) in values.iter().enumerate() {
        let mut shape = value.ty.shape.clone();
        if new {
            shape.insert(axis, 1);
        }
        let mut index = vec![0; shape.len()];
        for i in 0..value.ty.elements() {
            unflatten(i, &shape, &mut index);
            index[axis] = place(n, index[axis]);
            let to = flatten(&index, &steps);
            match (&mut data, &value.data) {
                (Data::Float(d), Data::Float(v)) => d[to] = v[i],
                (Data::Int(d), Data::Int(v)) => d[to] = v[i],
                (Data::Bool(d), Data::Bool(v)) => d[to] = v[i],
                (Data::Str(d), Data::Str(v)) => d[to].clone_from(&v[i]),
                _ => {}
            }
        }
    }
    Tensor { ty: out.clone(), data }
}

fn concat_type(a: &Call<'_>) -> Result<Vec<TensorType>, Reject> {
    let values = a.tys("values");
    let Some(first) = values.first() else {
        return Err(Reject::new("no-values", "`concat` needs at least one value"));
    };
    // Numbers count as vectors of one.
    let shape_of = |ty: &TensorType| if ty.rank() == 0 { vec![1] } else { ty.shape.clone() };
    let mut shape = shape_of(first);
    let axis = a.check_axis("axis", a.int("axis"), shape.len())?;
    shape[axis] = 0;
    for ty in &values {
        let same = ty.rank() == first.rank()
            && ty.dtype == first.dtype
            && (0..ty.rank()).all(|i| i == axis || ty.shape[i] == first.shape[i])
            && (!a.bool("interleave") || ty.shape == first.shape);
        if !same {
            let shown: Vec<String> = values.iter().map(|t| t.to_string()).collect();
            return Err(Reject::new("concat-shapes", "`concat` needs values that differ only along `axis`")
                .label("values", shown.join(", ")));
        }
        shape[axis] = shape[axis].saturating_add(shape_of(ty)[axis]);
    }
    Ok(vec![TensorType::new(first.dtype, shape)])
}

/// More parts than this are refused rather than listed.
const MOST_PARTS: usize = 1 << 16;

fn split_types(a: &Call<'_>) -> Result<Vec<TensorType>, Reject> {
    let x = a.ty("x");
    let axis = a.check_axis("axis", a.int("axis"), x.rank())?;
    let d = x.shape[axis];
    let refuse = |param, text: String| {
        Err(Reject::new("split-sizes", "`split` cannot divide `x` so")
            .label("x", format!("{d} along axis {axis}"))
            .label(param, text)
            .help("pass a `num_splits` that divides the axis, or `split_sizes` that sum to it"))
    };
    let sizes: Vec<i64> = match (a.has("split_sizes"), a.has("num_splits")) {
        (true, counted) => {
            let sizes = a.ints("split_sizes");
            if counted && usize::try_from(a.int("num_splits")) != Ok(sizes.len()) {
                return refuse("num_splits", format!("{}, but {} sizes", a.int("num_splits"), sizes.len()));
            }
            sizes
        }
        (false, true) => match usize::try_from(a.int("num_splits")) {
            Ok(n @ 1..=MOST_PARTS) if d.is_multiple_of(n) => vec![(d / n) as i64; n],
            _ => return refuse("num_splits", a.int("num_splits").to_string()),
        },
        (false, false) => {
            return Err(Reject::new("split-sizes", "`split` needs the sizes of the parts")
                .help("pass `num_splits` or `split_sizes`"));
        }
    };
    let total = sizes.iter().try_fold(0usize, |sum, &s| sum.checked_add(usize::try_from(s).ok()?));
    if total != Some(d) {
        return refuse("split_sizes", format!("{sizes:?}"));
    }
    let part = |&size: &i64| {
        let mut shape = x.shape.clone();
        shape[axis] = size as usize;
        TensorType::new(x.dtype, shape)
    };
    Ok(sizes.iter().map(part).collect())
}

fn stack_type(a: &Call<'_>) -> Result<Vec<TensorType>, Reject> {
    let values = a.tys("values");
    let Some(first) = values.first() else {
        return Err(Reject::new("no-values", "`stack` needs at least one value"));
    };
    let axis = a.check_axis("axis", a.int("axis"), first.rank() + 1)?;
    if values.iter().any(|ty| ty != first) {
        let shown: Vec<String> = values.iter().map(|t| t.to_string()).collect();
        return Err(
            Reject::new("stack-types", "`stack` needs values of one type").label("values", shown.join(", "))
        );
    }
    let mut shape = first.shape.clone();
    shape.insert(axis, values.len());
    Ok(vec![TensorType::new(first.dtype, shape)])
}

fn tile_type(a: &Call<'_>) -> Result<Vec<TensorType>, Reject> {
    let (x, reps) = (a.ty("x"), a.ints("reps"));
    let times = |(&d, &r): (&usize, &i64)| d.checked_mul(usize::try_from(r).ok().filter(|&r| r > 0)?);
    let shape: Option<Vec<usize>> = x.shape.iter().zip(&reps).map(times).collect();
    match shape.filter(|_| reps.len() == x.rank() && x.rank() > 0) {
        Some(shape) => Ok(vec![TensorType::new(x.dtype, shape)]),
        None => {
            Err(Reject::new("tile-reps", "`tile` needs a positive number of copies for each axis of `x`")
                .label("x", format!("{} axes", x.rank()))
                .label("reps", format!("{reps:?}")))
        }
    }
}
