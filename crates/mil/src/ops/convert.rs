//! Conversions between element types.

use super::unary::wrap;
use crate::diag::Reject;
use crate::op::{Axes, Eval, Grad, OpDef, STR, Work, constant, tensor};
use crate::tensor::{Data, Tensor};
use crate::ty::{DType, Opset};

/// `cast(x, dtype)`: the same values in another type.
///
/// Floats become integers by dropping the fraction, and saturate; integers wrap round, as in NumPy. Anything but 0 is
/// true. fp16 of a value beyond 65504 is infinite.
/// Source: coremltools `iOS15/elementwise_unary.py` and, for 8 and 16 bits, `iOS17/elementwise_unary.py`, class `cast`.
pub static CAST: OpDef = OpDef {
    name: "cast",
    since: Opset::Ios15,
    params: &[tensor("x", CASTABLE), constant("dtype", STR)],
    axes: Axes::Elementwise,
    work: Work::Free,
    infer: |a| {
        let wanted = a.str("dtype");
        match DType::from_name(wanted).filter(|d| CASTABLE.contains(d)) {
            Some(dtype) => Ok(vec![a.ty("x").with_dtype(dtype)]),
            None => {
                let names: Vec<&str> = CASTABLE.iter().map(|d| d.name()).collect();
                Err(Reject::new("cast-dtype", format!("`cast` cannot convert to `{wanted}`"))
                    .help(format!("use one of {}", names.join(", "))))
            }
        }
    },
    eval: cast,
    grad: Grad::Rule(|g| {
        let dx = g.cotangent().cast(g.ty("x").dtype);
        g.give("x", dx);
    }),
};

const CASTABLE: &[DType] =
    &[DType::F16, DType::F32, DType::I8, DType::U8, DType::I16, DType::U16, DType::I32, DType::Bool];

fn cast(a: &Eval<'_>) -> Vec<Tensor> {
    let (x, out) = (a.tensor("x"), a.out());
    let data = match (&x.data, out.dtype.int_range()) {
        (_, None) if out.dtype.is_float() => Data::Float(x.to_floats()),
        (_, None) => Data::Bool(x.to_floats().iter().map(|&x| x != 0.0).collect()),
        (Data::Float(v), Some((lo, hi))) => Data::Int(v.iter().map(|&x| (x as i64).clamp(lo, hi)).collect()),
        (Data::Int(v), _) => Data::Int(v.iter().map(|&x| wrap(x, out.dtype)).collect()),
        _ => Data::Int(x.to_floats().iter().map(|&x| x as i64).collect()),
    };
    vec![Tensor { ty: out.clone(), data }]
}
