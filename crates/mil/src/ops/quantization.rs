//! Affine quantization: `scale · (q − zero point)`.
//!
//! `scale` and `zero_point` are scalars, or vectors with one element for each index along `axis`. coremltools requires
//! constants; here only their type is checked, as long vectors are stored in weight files.

use crate::diag::Reject;
use crate::op::{Axes, Call, Eval, FLOATS, Grad, I32, OpDef, STR, Work, attribute, constant, tensor};
use crate::tensor::{Data, Tensor, strides};
use crate::ty::{DType, Opset, Shape, TensorType};

/// `quantize(input, zero_point, scale, axis, output_dtype)`: `clip(round(input / scale) + zero_point)` to int8 or uint8.
///
/// Rounds ties to even and saturates.
/// Source: coremltools `iOS17/quantization_ops.py`, class `quantize`.
pub static QUANTIZE: OpDef = OpDef {
    name: "quantize",
    since: Opset::Ios17,
    params: &[
        tensor("input", FLOATS),
        tensor("zero_point", BYTES).optional(),
        tensor("scale", FLOATS),
        constant("axis", I32).optional(),
        constant("output_dtype", STR),
    ],
    axes: Axes::Tied,
    work: Work::Free,
    infer: |a| {
        let wanted = a.str("output_dtype");
        let Some(dtype) = DType::from_name(wanted).filter(|d| BYTES.contains(d)) else {
            return Err(Reject::new("quantize-dtype", format!("`quantize` cannot convert to `{wanted}`"))
                .help("use `int8` or `uint8`"));
        };
        if a.has("zero_point") && a.ty("zero_point").dtype != dtype {
            return Err(Reject::new(
                "dtype-mismatch",
                "`quantize` needs `zero_point` in the type of its result",
            )
            .label("zero_point", a.ty("zero_point").dtype.name())
            .label("output_dtype", dtype.name()));
        }
        super::unary::equal_dtypes(a, &["input", "scale"])?;
        check_grain(a)?;
        Ok(vec![a.ty("input").with_dtype(dtype)])
    },
    eval: |a| {
        let input = a.tensor("input");
        let (low, high) = a.out().dtype.int_range().unwrap_or((0, 0));
        let (scale, zero) = (numbers(a, "scale"), numbers(a, "zero_point"));
        let place = places(a, "input");
        let quantized = input.as_floats().iter().enumerate().map(|(n, x)| {
            let q = (x / at(&scale, place(n), 1.0)).round_ties_even() + at(&zero, place(n), 0.0);
            q.clamp(low as f64, high as f64) as i64
        });
        vec![Tensor { ty: a.out().clone(), data: Data::Int(quantized.collect()) }]
    },
    grad: Grad::None("rounding is piecewise constant"),
};

/// `dequantize(input, zero_point, scale, axis)`: `scale · (input − zero_point)`.
/// Source: coremltools `iOS17/quantization_ops.py`, class `dequantize`.
pub static DEQUANTIZE: OpDef = OpDef {
    name: "dequantize",
    since: Opset::Ios17,
    params: &[
        tensor("input", BYTES),
        tensor("zero_point", BYTES).optional(),
        tensor("scale", FLOATS),
        constant("axis", I32).optional(),
    ],
    axes: Axes::Tied,
    work: Work::Free,
    infer: |a| {
        super::unary::equal_dtypes(a, &["input", "zero_point"])?;
        check_grain(a)?;
        Ok(vec![a.ty("input").with_dtype(a.ty("scale").dtype)])
    },
    eval: |a| dequantized(a, "input"),
    grad: Grad::None("its input is an integer, and its scale a constant of the quantization"),
};

/// `constexpr_affine_dequantize()[quantized_data, zero_point, scale, axis]`: a weight stored in 8 bits,
/// `scale · (quantized_data − zero_point)`. All arguments are attributes.
/// Source: coremltools `iOS16/constexpr_ops.py`, class `constexpr_affine_dequantize`.
pub static CONSTEXPR_AFFINE_DEQUANTIZE: OpDef = OpDef {
    name: "constexpr_affine_dequantize",
    since: Opset::Ios16,
    params: &[
        attribute("quantized_data", BYTES),
        attribute("zero_point", &[DType::I8, DType::U8, DType::F32]),
        attribute("scale", FLOATS),
        attribute("axis", I32),
    ],
    axes: Axes::Tied,
    work: Work::Free,
    infer: |a| {
        if !a.is_inline("axis") {
            return Err(Reject::new("must-be-inline", "`axis` must be inline")
                .label("axis", "its value is in a weight file"));
        }
        let data = a.ty("quantized_data");
        let axis = a.check_axis("axis", a.int("axis"), data.rank())?;
        for name in ["scale", "zero_point"] {
            check_vector(a, name, data, axis)?;
        }
        Ok(vec![data.with_dtype(a.ty("scale").dtype)])
    },
    eval: |a| dequantized(a, "quantized_data"),
    grad: Grad::None("it is constant"),
};

const BYTES: &[DType] = &[DType::I8, DType::U8];

/// Checks that `scale` and `zero_point` are both numbers, or both vectors along a given `axis`.
fn check_grain(a: &Call<'_>) -> Result<(), Reject> {
    let (input, scale) = (a.ty("input"), a.ty("scale"));
    let refuse = |text: &str| {
        Err(Reject::new("quantization-axis", format!("`{}` needs {text}", a.op.name()))
            .label("scale", Shape(&scale.shape).to_string()))
    };
    if a.has("zero_point") && a.ty("zero_point").rank() != scale.rank() {
        return refuse("`scale` and `zero_point` to be both numbers or both vectors");
    }
    match (scale.rank(), a.has("axis")) {
        (0, false) => Ok(()),
        (0, true) => refuse("no `axis` if `scale` is a number"),
        (_, false) => refuse("an `axis` if `scale` is a vector"),
        (_, true) => {
            let axis = a.check_axis("axis", a.int("axis"), input.rank())?;
            check_vector(a, "scale", input, axis)?;
            if a.has("zero_point") { check_vector(a, "zero_point", input, axis) } else { Ok(()) }
        }
    }
}

/// Checks that parameter `name` is a number, or a vector as long as `axis` of `data`.
fn check_vector(a: &Call<'_>, name: &'static str, data: &TensorType, axis: usize) -> Result<(), Reject> {
    match a.ty(name).shape[..] {
        [] => Ok(()),
        [n] if n == data.shape[axis] => Ok(()),
        _ => {
            Err(Reject::new("quantization-size", format!("`{name}` of `{}` has a wrong shape", a.op.name()))
                .label(name, Shape(&a.ty(name).shape).to_string())
                .help(format!("pass one number, or {} for axis {axis}", data.shape[axis])))
        }
    }
}

fn numbers(a: &Eval<'_>, name: &str) -> Vec<f64> {
    if a.has(name) { a.tensor(name).to_floats() } else { Vec::new() }
}

/// The value for index `n`: element `n` of a vector, the scalar, or `default`.
fn at(values: &[f64], n: usize, default: f64) -> f64 {
    match values {
        [] => default,
        [one] => *one,
        _ => values[n],
    }
}

/// For a flat position in `name`, the position along `axis`.
fn places(a: &Eval<'_>, name: &str) -> impl Fn(usize) -> usize {
    let ty = a.ty(name);
    let (step, len) = match a.has("axis") {
        true => {
            let axis = a.axis("axis", ty.rank());
            (strides(&ty.shape)[axis], ty.shape[axis])
        }
        false => (1, 1),
    };
    move |n| n / step % len
}

fn dequantized(a: &Eval<'_>, name: &str) -> Vec<Tensor> {
    let (scale, zero) = (numbers(a, "scale"), numbers(a, "zero_point"));
    let place = places(a, name);
    let values = a.tensor(name).as_ints().iter().enumerate();
    let values = values.map(|(n, &q)| at(&scale, place(n), 1.0) * (q as f64 - at(&zero, place(n), 0.0)));
    vec![Tensor { ty: a.out().clone(), data: Data::Float(values.collect()) }]
}
