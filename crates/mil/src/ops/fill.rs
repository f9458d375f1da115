//! Tensors made from sizes: shapes, ranges, constants, indices.

use super::parts::zeros;
use crate::diag::Reject;
use crate::op::{
    ANY, Absent, Axes, Call, Eval, Grad, I32, NUMBERS, OpDef, STR, Work, constant, known, tensor,
};
use crate::tensor::{Data, Tensor, round_float, strides, unflatten};
use crate::ty::{DType, Opset, Shape, TensorType};

/// `shape(x, output_dtype)`: the size of each axis of `x`, a vector.
/// Source: coremltools `iOS15/tensor_operation.py`, class `shape`; programs of iOS16 on may ask for int16 and uint16.
pub static SHAPE: OpDef = OpDef {
    name: "shape",
    since: Opset::Ios15,
    params: &[tensor("x", ANY), constant("output_dtype", STR).or(Absent::Str("int32")).since(Opset::Ios16)],
    axes: Axes::Tied,
    work: Work::Free,
    infer: |a| {
        let (x, name) = (a.ty("x"), a.str("output_dtype"));
        let dtype = match name {
            "int32" => DType::I32,
            "int16" => DType::I16,
            "uint16" => DType::U16,
            other => {
                return Err(Reject::new("shape-dtype", format!("`shape` cannot return `{other}`"))
                    .help("use `int32`, `int16` or `uint16`"));
            }
        };
        let largest = dtype.int_range().map_or(0, |(_, largest)| largest);
        if x.shape.iter().any(|&d| i64::try_from(d).map_or(true, |d| d > largest)) {
            return Err(Reject::new("shape-range", format!("a size is too large for {dtype}"))
                .label("x", Shape(&x.shape).to_string()));
        }
        Ok(vec![TensorType::new(dtype, [x.rank()])])
    },
    eval: |a| {
        let sizes = a.ty("x").shape.iter().map(|&d| d as i64).collect();
        vec![Tensor { ty: a.out().clone(), data: Data::Int(sizes) }]
    },
    grad: Grad::None("its result is a shape"),
};

/// `range_1d(end, start, step)`: `start`, `start + step`, … up to `end`, which is not reached.
///
/// The length is `⌈(end − start) / step⌉`, computed in the element type, and 0 if that is negative.
/// Source: coremltools `iOS15/tensor_operation.py`, class `range_1d`.
pub static RANGE_1D: OpDef = OpDef {
    name: "range_1d",
    since: Opset::Ios15,
    params: &[known("end", NUMBERS), known("start", NUMBERS), known("step", NUMBERS)],
    axes: Axes::Tied,
    work: Work::Free,
    infer: |a| {
        super::unary::equal_dtypes(a, &["start", "end", "step"])?;
        Ok(vec![TensorType::new(a.ty("start").dtype, [range_len(a)?])])
    },
    eval: |a| {
        let each = 0..a.out().elements();
        let data = match a.out().dtype {
            DType::I32 => {
                let (start, step) = (a.int("start"), a.int("step"));
                Data::Int(each.map(|i| start + i as i64 * step).collect())
            }
            _ => {
                let (start, step) = (a.float("start"), a.float("step"));
                Data::Float(each.map(|i| start + i as f64 * step).collect())
            }
        };
        vec![Tensor { ty: a.out().clone(), data }]
    },
    grad: Grad::None("its length depends on its arguments"),
};

/// `fill(shape, value)`: `value` everywhere.
/// Source: coremltools `iOS15/tensor_operation.py`, class `fill`.
pub static FILL: OpDef = OpDef {
    name: "fill",
    since: Opset::Ios15,
    params: &[known("shape", I32), constant("value", VALUES).or(Absent::Float(0.0))],
    axes: Axes::Tied,
    work: Work::Free,
    infer: |a| Ok(vec![TensorType::new(value_dtype(a), wanted_shape(a)?)]),
    eval: filled,
    grad: Grad::None("its arguments are constant"),
};

/// `fill_like(ref_tensor, value)`: `value` everywhere, in the shape of `ref_tensor`.
/// Source: coremltools `iOS16/tensor_operation.py`, class `fill_like`.
pub static FILL_LIKE: OpDef = OpDef {
    name: "fill_like",
    since: Opset::Ios16,
    params: &[tensor("ref_tensor", VALUES), constant("value", VALUES).or(Absent::Float(0.0))],
    axes: Axes::Tied,
    work: Work::Free,
    infer: |a| Ok(vec![a.ty("ref_tensor").with_dtype(value_dtype(a))]),
    eval: filled,
    grad: Grad::Rule(|g| {
        // The elements of `ref_tensor` make no difference.
        let none = zeros(g, g.ty("ref_tensor"));
        g.give("ref_tensor", none);
    }),
};

/// `one_hot(indices, one_hot_vector_size, axis, on_value, off_value)`: along a new axis, `on_value` at the index.
///
/// An index that is negative or too large has `off_value` everywhere.
/// Source: coremltools `iOS15/tensor_operation.py`, class `one_hot`.
pub static ONE_HOT: OpDef = OpDef {
    name: "one_hot",
    since: Opset::Ios15,
    params: &[
        tensor("indices", I32),
        known("one_hot_vector_size", I32),
        constant("axis", I32).or(Absent::Int(-1)),
        constant("on_value", VALUES).or(Absent::Int(1)),
        constant("off_value", VALUES).or(Absent::Int(0)),
    ],
    axes: Axes::Tied,
    work: Work::Free,
    infer: |a| {
        let indices = a.ty("indices");
        let axis = a.check_axis("axis", a.int("axis"), indices.rank().saturating_add(1))?;
        let dtype_of = |name| if a.has(name) { a.ty(name).dtype } else { DType::I32 };
        let (on, off) = (dtype_of("on_value"), dtype_of("off_value"));
        if on != off {
            return Err(Reject::new("dtype-mismatch", "`one_hot` needs equal element types")
                .label("on_value", on.name())
                .label("off_value", off.name())
                .help("the default is int32: pass both"));
        }
        let Ok(size) = usize::try_from(a.int("one_hot_vector_size")) else {
            return Err(Reject::new("one-hot-size", "`one_hot` needs a size that is not negative")
                .label("one_hot_vector_size", a.int("one_hot_vector_size").to_string()));
        };
        let mut shape = indices.shape.clone();
        shape.insert(axis, size);
        Ok(vec![TensorType::new(on, shape)])
    },
    eval: |a| {
        let (indices, out) = (a.tensor("indices").as_ints(), a.out());
        let axis = a.axis("axis", out.rank());
        let (len, step) = (out.shape[axis], strides(&out.shape)[axis]);
        let hot = |n: usize| indices[n / step / len * step + n % step] == (n / step % len) as i64;
        let hot = (0..out.elements()).map(hot);
        let value = |name, absent| a.data(name).cloned().unwrap_or(Data::Int(vec![absent]));
        let data = match (value("on_value", 1), value("off_value", 0)) {
            (Data::Float(on), Data::Float(off)) => Data::Float(chosen(hot, &on, &off)),
            (Data::Int(on), Data::Int(off)) => Data::Int(chosen(hot, &on, &off)),
            (Data::Bool(on), Data::Bool(off)) => Data::Bool(chosen(hot, &on, &off)),
            _ => Data::zeros(out.dtype, out.elements()),
        };
        vec![Tensor { ty: out.clone(), data }]
    },
    grad: Grad::None("its arguments are indices and constants"),
};

/// `non_zero(x)`: the index of each element of `x` that is not 0, a row each, in order.
///
/// The number of rows depends on the elements, so they must be known at compile time.
/// Source: coremltools `iOS15/tensor_operation.py`, class `non_zero`.
pub static NON_ZERO: OpDef = OpDef {
    name: "non_zero",
    since: Opset::Ios15,
    params: &[tensor("x", VALUES)],
    axes: Axes::Tied,
    work: Work::Free,
    infer: |a| {
        let x = a.ty("x");
        let Some(data) = a.data("x") else {
            return Err(Reject::new(
                "data-dependent",
                "the number of rows of `non_zero` depends on the elements of `x`",
            )
            .label("x", "unknown at compile time")
            .help("pass a constant, or choose elements with `select`"));
        };
        Ok(vec![TensorType::new(DType::I32, [places(data).count(), x.rank()])])
    },
    eval: |a| {
        let x = a.tensor("x");
        let mut index = vec![0; x.ty.rank()];
        let mut rows = Vec::new();
        for n in places(&x.data) {
            unflatten(n, &x.ty.shape, &mut index);
            rows.extend(index.iter().map(|&i| i as i64));
        }
        vec![Tensor { ty: a.out().clone(), data: Data::Int(rows) }]
    },
    grad: Grad::None("its result is an index"),
};

const VALUES: &[DType] = &[DType::F16, DType::F32, DType::I32, DType::Bool];

/// Longer ranges are refused.
const LONGEST_RANGE: f64 = i32::MAX as f64;

fn range_len(a: &Call<'_>) -> Result<usize, Reject> {
    let refuse = |start: String, end: String, step: String| {
        Reject::new("range", "`range_1d` cannot count so")
            .label("start", start)
            .label("end", end)
            .label("step", step)
            .help("`step` must not be 0, and the length must be less than 2³¹")
    };
    let dtype = a.ty("start").dtype;
    let (count, shown) = if dtype == DType::I32 {
        let [start, end, step] = ["start", "end", "step"].map(|name| a.int(name));
        let count = (i128::from(end) - i128::from(start)) as f64 / step as f64;
        (count, [start, end, step].map(|n| n.to_string()))
    } else {
        let [start, end, step] = ["start", "end", "step"].map(|name| a.float(name));
        let count = round_float(round_float(end - start, dtype) / step, dtype);
        (count, [start, end, step].map(|n| n.to_string()))
    };
    if count.is_finite() && count <= LONGEST_RANGE {
        return Ok(count.ceil().max(0.0) as usize);
    }
    let [start, end, step] = shown;
    Err(refuse(start, end, step))
}

/// The sizes that parameter `shape` names.
pub(super) fn wanted_shape(a: &Call<'_>) -> Result<Vec<usize>, Reject> {
    let sizes = a.ints("shape");
    let shape: Option<Vec<usize>> = sizes.iter().map(|&d| usize::try_from(d).ok()).collect();
    shape.filter(|_| a.ty("shape").rank() == 1).ok_or_else(|| {
        Reject::new("shape", format!("`{}` needs a list of sizes that are not negative", a.op.name()))
            .label("shape", format!("{sizes:?}"))
    })
}

fn value_dtype(a: &Call<'_>) -> DType {
    if a.has("value") { a.ty("value").dtype } else { DType::F32 }
}

fn filled(a: &Eval<'_>) -> Vec<Tensor> {
    let (out, n) = (a.out(), a.out().elements());
    let data = match out.dtype {
        DType::Bool => Data::Bool(vec![a.bool("value"); n]),
        DType::I32 => Data::Int(vec![a.int("value"); n]),
        _ => Data::Float(vec![a.float("value"); n]),
    };
    vec![Tensor { ty: out.clone(), data }]
}

fn chosen<T: Copy + Default>(hot: impl Iterator<Item = bool>, on: &[T], off: &[T]) -> Vec<T> {
    let [on, off] = [on, off].map(|v| v.first().copied().unwrap_or_default());
    hot.map(|hot| if hot { on } else { off }).collect()
}

/// The flat positions of elements that are not 0.
fn places(data: &Data) -> impl Iterator<Item = usize> + '_ {
    let is_set = |i: &usize| match data {
        Data::Float(v) => v[*i] != 0.0,
        Data::Int(v) => v[*i] != 0,
        Data::Bool(v) => v[*i],
        Data::Str(v) => !v[*i].is_empty(),
    };
    (0..data.len()).filter(is_set)
}
