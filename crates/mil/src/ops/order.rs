//! Running sums and orders along an axis.

use super::parts::compare;
use super::parts::ramp;
use super::unary::{same_type, wrap};
use crate::build::Var;
use crate::diag::Reject;
use crate::grad::GradCall;
use crate::op::{
    Absent, Axes, BOOL, Call, Eval, Grad, I32, INDEX, NUMBERS, OpDef, Param, STR, Work, constant, tensor,
};
use crate::tensor::{Data, Tensor, strides};
use crate::ty::{DType, Opset, TensorType};
use std::cmp::Ordering;

/// `cumsum(x, axis, exclusive, reverse)`: the sum of the elements up to each along `axis`.
///
/// `exclusive` leaves the element itself out; `reverse` sums from the end.
/// Source: coremltools `iOS15/tensor_operation.py`, class `cumsum`.
pub static CUMSUM: OpDef = OpDef {
    name: "cumsum",
    since: Opset::Ios15,
    params: &[
        tensor("x", NUMBERS),
        constant("axis", I32).or(Absent::Int(0)),
        constant("exclusive", BOOL).or(Absent::Bool(false)),
        constant("reverse", BOOL).or(Absent::Bool(false)),
    ],
    axes: Axes::Along("axis"),
    work: Work::Free,
    infer: |a| {
        a.check_axis("axis", a.int("axis"), a.ty("x").rank())?;
        same_type(a)
    },
    eval: |a| {
        let data = match &a.tensor("x").data {
            Data::Int(v) => Data::Int(running(a, v, |x, y| wrap(x.wrapping_add(y), a.out().dtype))),
            _ => Data::Float(running(a, a.tensor("x").as_floats(), |x, y| x + y)),
        };
        vec![Tensor { ty: a.out().clone(), data }]
    },
    grad: Grad::Rule(|g| {
        // Each element contributes to all later sums: dx is the reversed cumulative sum of dy.
        let dx = g.builder().op(
            "cumsum",
            [
                ("x", g.cotangent().into()),
                ("axis", g.int("axis").into()),
                ("exclusive", g.bool("exclusive").into()),
                ("reverse", (!g.bool("reverse")).into()),
            ],
        );
        g.give("x", dx);
    }),
};

/// `topk(x, k, axis, ascending, sort, return_indices, output_indices_dtype)`: the `k` largest elements along `axis`
/// and where they are; the smallest if `ascending`, all if `k` is −1.
///
/// The result is sorted, equal elements in their order, even without `sort`. NaN sorts last.
/// Source: coremltools `iOS15`, `iOS16` (`sort`, `return_indices`) and `iOS17/tensor_operation.py`
/// (`output_indices_dtype`), class `topk`.
pub static TOPK: OpDef = OpDef {
    name: "topk",
    since: Opset::Ios15,
    params: &[
        tensor("x", ORDERED),
        constant("k", INDEX).or(Absent::Int(1)),
        constant("axis", I32).or(Absent::Int(-1)),
        constant("ascending", BOOL).or(Absent::Bool(false)),
        constant("sort", BOOL).or(Absent::Bool(true)).since(Opset::Ios16),
        constant("return_indices", BOOL).or(Absent::Bool(true)).since(Opset::Ios16),
        constant("output_indices_dtype", STR).or(Absent::Str("int32")).since(Opset::Ios17),
    ],
    axes: Axes::Tied,
    work: Work::Free,
    infer: topk_types,
    eval: |a| {
        let x = a.tensor("x");
        let order = ordered(a, a.out());
        let from = a.axis("axis", x.ty.rank());
        let (len, step) = (x.ty.shape[from], strides(&x.ty.shape)[from]);
        let k = a.out().shape[from];
        let source = |n: usize| n / step / k * step * len + order[n] * step + n % step;
        let mut n = 0;
        let values = x.gathered(a.out().clone(), |_| {
            n += 1;
            source(n - 1)
        });
        let indices = a.outs().get(1).map(|&ty| Tensor {
            ty: ty.clone(),
            data: Data::Int(order.iter().map(|&i| wrap(i as i64, ty.dtype)).collect()),
        });
        std::iter::once(values).chain(indices).collect()
    },
    grad: Grad::Rule(topk_gradient),
};

/// `argsort(x, axis, ascending)`: where the elements are along `axis`, the largest first, or the smallest if `ascending`.
///
/// The order is stable; NaN sorts last.
/// Source: coremltools `iOS15/tensor_operation.py`, class `argsort`.
pub static ARGSORT: OpDef = OpDef {
    name: "argsort",
    since: Opset::Ios15,
    params: SORT,
    axes: Axes::Tied,
    work: Work::Free,
    infer: |a| {
        a.check_axis("axis", a.int("axis"), a.ty("x").rank())?;
        Ok(vec![a.ty("x").with_dtype(DType::I32)])
    },
    eval: |a| {
        let data = ordered(a, a.out()).iter().map(|&i| i as i64).collect();
        vec![Tensor { ty: a.out().clone(), data: Data::Int(data) }]
    },
    grad: Grad::None("its result is an index"),
};

const ORDERED: &[DType] = &[DType::F16, DType::F32, DType::I32, DType::I16, DType::U16, DType::I8, DType::U8];
const SORT: &[Param] = &[
    tensor("x", NUMBERS),
    constant("axis", I32).or(Absent::Int(-1)),
    constant("ascending", BOOL).or(Absent::Bool(false)),
];

/// The sums of `values`, elements of `x`, along the axis of a `cumsum`.
fn running<T: Copy + Default>(a: &Eval<'_>, values: &[T], add: impl Fn(T, T) -> T) -> Vec<T> {
    let shape = &a.out().shape;
    let axis = a.axis("axis", shape.len());
    let (len, step) = (shape[axis], strides(shape)[axis]);
    let (exclusive, reverse) = (a.bool("exclusive"), a.bool("reverse"));
    let mut out = vec![T::default(); values.len()];
    for line in 0..values.len() / len.max(1) {
        let start = line / step * step * len + line % step;
        let mut sum = T::default();
        for i in 0..len {
            let at = start + if reverse { len - 1 - i } else { i } * step;
            let next = add(sum, values[at]);
            out[at] = if exclusive { sum } else { next };
            sum = next;
        }
    }
    out
}

/// For each element of `out`, the index along the axis of `x` of the element with that rank.
fn ordered(a: &Eval<'_>, out: &TensorType) -> Vec<usize> {
    let (x, ascending) = (a.tensor("x"), a.bool("ascending"));
    let axis = a.axis("axis", x.ty.rank());
    let (len, step, k) = (x.ty.shape[axis], strides(&x.ty.shape)[axis], out.shape[axis]);
    let compare = |i: usize, j: usize| match &x.data {
        Data::Int(v) if ascending => v[i].cmp(&v[j]),
        Data::Int(v) => v[j].cmp(&v[i]),
        _ => {
            let (x, y) = (x.as_floats()[i], x.as_floats()[j]);
            let order = x.partial_cmp(&y).unwrap_or_else(|| x.is_nan().cmp(&y.is_nan()));
            if ascending || x.is_nan() || y.is_nan() { order } else { order.reverse() }
        }
    };
    let mut order = vec![0; out.elements()];
    let mut line: Vec<usize> = Vec::with_capacity(len);
    for n in 0..out.elements() / k.max(1) {
        let (block, inner) = (n / step, n % step);
        let start = block * step * len + inner;
        line.clear();
        line.extend(0..len);
        line.sort_by(|&i, &j| -> Ordering { compare(start + i * step, start + j * step) });
        for (place, &i) in line.iter().take(k).enumerate() {
            order[block * step * k + place * step + inner] = i;
        }
    }
    order
}

fn topk_types(a: &Call<'_>) -> Result<Vec<TensorType>, Reject> {
    let (x, k) = (a.ty("x"), a.int("k"));
    let axis = a.check_axis("axis", a.int("axis"), x.rank())?;
    let size = if k == -1 { Some(x.shape[axis]) } else { usize::try_from(k).ok() };
    let Some(size) = size.filter(|&k| k <= x.shape[axis]) else {
        return Err(Reject::new("topk-count", "`topk` cannot choose so many elements")
            .label("x", format!("{} along axis {axis}", x.shape[axis]))
            .label("k", k.to_string())
            .help("`k` is at most the size of the axis; -1 means all"));
    };
    let mut shape = x.shape.clone();
    shape[axis] = size;
    let values = TensorType::new(x.dtype, shape);
    let dtype = match (a.bool("return_indices"), a.has("output_indices_dtype")) {
        (false, false) => return Ok(vec![values]),
        (false, true) => {
            return Err(Reject::new("topk-indices", "`topk` returns no indices, so they have no type")
                .label("return_indices", "false")
                .help("leave out `output_indices_dtype`"));
        }
        (true, _) => match a.str("output_indices_dtype") {
            "int32" => DType::I32,
            "uint16" => DType::U16,
            other => {
                return Err(Reject::new("index-dtype", format!("`topk` cannot return `{other}`"))
                    .help("use `int32` or `uint16`"));
            }
        },
    };
    let indices = values.with_dtype(dtype);
    Ok(vec![values, indices])
}

fn topk_gradient(g: &mut GradCall<'_, '_>) {
    // As a product: y = C·x with C[k, i] = 1 where the index of k is i  ⇒  dx = Cᵀ·dy
    let Some(dy) = g.cotangent_of(0) else { return };
    let x = g.ty("x").clone();
    let Ok(axis) = g.check_axis("axis", g.int("axis"), x.rank()) else { return };
    let b = g.builder();
    // Narrow indices may have wrapped round.
    let given = g.outputs().get(1).copied().filter(|i| i.ty().dtype == DType::I32);
    let again = || {
        let args = [
            ("x", g.arg("x").into()),
            ("k", g.int("k").into()),
            ("axis", g.int("axis").into()),
            ("ascending", g.bool("ascending").into()),
        ];
        b.op_many("topk", args).get(1).copied()
    };
    let Some(indices) = given.or_else(again) else { return };
    let (outer, inner) = (x.shape[..axis].iter().product(), x.shape[axis + 1..].iter().product());
    let (k, n) = (dy.shape()[axis], x.shape[axis]);
    // [outer, inner, k] against 0, 1, …, n − 1
    fn lines<'b>(v: Var<'b>, shape: [usize; 3]) -> Var<'b> {
        v.reshape(&shape).transpose(&[0, 2, 1])
    }
    let indices = lines(indices, [outer, k, inner]).reshape(&[outer, inner, k, 1]);
    let chosen = compare("equal", indices, ramp(b, n)).cast(x.dtype);
    let dy = lines(dy, [outer, k, inner]).reshape(&[outer, inner, 1, k]);
    let dx = dy.matmul(chosen, false, false).reshape(&[outer, inner, n]);
    g.give("x", dx.transpose(&[0, 2, 1]).reshape(&x.shape));
}
