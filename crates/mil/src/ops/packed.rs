//! Compressed weights of iOS16: all arguments are attributes, and bits are packed in bytes.

use crate::bytes::unpack;
use crate::diag::Reject;
use crate::op::{Axes, Call, Grad, OpDef, STR, Work, attribute};
use crate::tensor::{Data, Tensor};
use crate::ty::{DType, Opset, Shape, TensorType};

/// `constexpr_lut_to_dense()[indices, lut, shape]`: a weight of `shape` whose elements are those of `lut` that `indices`
/// name.
///
/// `lut` has 2, 4, 16, 64 or 256 elements; an index takes as many bits as it needs, from the lowest of each byte on.
/// Source: coremltools `iOS16/constexpr_ops.py`, class `constexpr_lut_to_dense`.
pub static CONSTEXPR_LUT_TO_DENSE: OpDef = OpDef {
    name: "constexpr_lut_to_dense",
    since: Opset::Ios16,
    params: &[
        attribute("indices", &[DType::U8]),
        attribute("lut", STORED),
        attribute("shape", &[DType::U32]),
    ],
    axes: Axes::Tied,
    work: Work::Free,
    infer: |a| {
        let (shape, lut) = (stored_shape(a)?, a.ty("lut"));
        let bits = match lut.shape[..] {
            [n] => index_type(n).and_then(DType::bits),
            _ => None,
        };
        let Some(bits) = bits else {
            return Err(Reject::new("lut-size", "`lut` holds 2, 4, 16, 64 or 256 elements in one row")
                .label("lut", Shape(&lut.shape).to_string()));
        };
        bytes_of(a, "indices", shape.iter().fold(bits as usize, |n, &d| n.saturating_mul(d)))?;
        Ok(vec![TensorType::new(lut.dtype, shape)])
    },
    eval: |a| {
        let (lut, out) = (a.tensor("lut"), a.out());
        let dtype = index_type(lut.ty.elements()).unwrap_or(DType::U8);
        let indices = unpack(dtype, &bytes(a.tensor("indices")), out.elements());
        let Data::Int(indices) = indices else { return Vec::new() };
        let mut next = indices.into_iter();
        vec![lut.gathered(out.clone(), |_| next.next().unwrap_or(0) as usize)]
    },
    grad: Grad::None("it is constant"),
};

/// `constexpr_sparse_to_dense()[mask, nonzero_data, shape]`: a weight of `shape` that is 0 where its bit of `mask` is, and
/// otherwise the next element of `nonzero_data`.
/// Source: coremltools `iOS16/constexpr_ops.py`, class `constexpr_sparse_to_dense`.
pub static CONSTEXPR_SPARSE_TO_DENSE: OpDef = OpDef {
    name: "constexpr_sparse_to_dense",
    since: Opset::Ios16,
    params: &[
        attribute("mask", &[DType::U8]),
        attribute("nonzero_data", STORED),
        attribute("shape", &[DType::U32]),
    ],
    axes: Axes::Tied,
    work: Work::Free,
    infer: |a| {
        let (shape, data) = (stored_shape(a)?, a.ty("nonzero_data"));
        if data.rank() != 1 {
            return Err(Reject::new("rank", "`nonzero_data` is one row")
                .label("nonzero_data", Shape(&data.shape).to_string()));
        }
        bytes_of(a, "mask", shape.iter().fold(1, |n, &d| n.saturating_mul(d)))?;
        Ok(vec![TensorType::new(data.dtype, shape)])
    },
    eval: |a| {
        let out = a.out();
        match unpack(DType::U1, &bytes(a.tensor("mask")), out.elements()) {
            Data::Int(mask) => vec![spread(a.tensor("nonzero_data"), &mask, out.clone())],
            _ => Vec::new(),
        }
    },
    grad: Grad::None("it is constant"),
};

/// `constexpr_cast()[source_val, output_dtype]`: a weight stored in fp16, as fp32.
/// Source: coremltools `iOS16/constexpr_ops.py`, class `constexpr_cast`.
pub static CONSTEXPR_CAST: OpDef = OpDef {
    name: "constexpr_cast",
    since: Opset::Ios16,
    params: &[attribute("source_val", &[DType::F16]), attribute("output_dtype", STR)],
    axes: Axes::Tied,
    work: Work::Free,
    infer: |a| match a.is_inline("output_dtype").then(|| a.str("output_dtype")) {
        Some("fp32") => Ok(vec![a.ty("source_val").with_dtype(DType::F32)]),
        _ => Err(Reject::new("cast-dtype", "`constexpr_cast` converts only to fp32").help("write `fp32`")),
    },
    eval: |a| vec![Tensor { ty: a.out().clone(), data: a.tensor("source_val").data.clone() }],
    grad: Grad::None("it is constant"),
};

/// Element types of tables and nonzero elements.
pub(super) const STORED: &[DType] = &[DType::I8, DType::U8, DType::F16, DType::F32];

/// The type of an index into `n` elements.
fn index_type(n: usize) -> Option<DType> {
    Some(match n {
        2 => DType::U1,
        4 => DType::U2,
        16 => DType::U4,
        64 => DType::U6,
        256 => DType::U8,
        _ => return None,
    })
}

fn stored_shape(a: &Call<'_>) -> Result<Vec<usize>, Reject> {
    if a.ty("shape").rank() != 1 || !a.is_inline("shape") {
        return Err(Reject::new("must-be-inline", "`shape` must be inline, a single row")
            .label("shape", a.ty("shape").to_string()));
    }
    // Numbers of uint32.
    Ok(a.ints("shape").iter().map(|&d| d as usize).collect())
}

/// Checks that `name` has as many bytes as `bits` take.
fn bytes_of(a: &Call<'_>, name: &'static str, bits: usize) -> Result<(), Reject> {
    let (ty, want) = (a.ty(name), bits.div_ceil(8));
    if ty.shape == [want] {
        return Ok(());
    }
    let text = format!("`{name}` does not hold the bits of `{}`'s result", a.op.name());
    Err(Reject::new("packed-size", text)
        .label(name, Shape(&ty.shape).to_string())
        .help(format!("expected {want} bytes, in one row")))
}

/// The bits of a uint8 tensor.
fn bytes(tensor: &Tensor) -> Vec<u8> {
    tensor.as_ints().iter().map(|&b| b as u8).collect()
}

/// A tensor of type `ty` that is 0 where `mask` is, and otherwise the next element of `data`; 0 once there are no more.
pub(super) fn spread(data: &Tensor, mask: &[i64], ty: TensorType) -> Tensor {
    let mut next = 0..data.ty.elements();
    let mut from = mask.iter().map(|&m| if m != 0 { next.next() } else { None });
    let elements = ty.elements();
    let data = match &data.data {
        Data::Float(v) => Data::Float(from.by_ref().map(|i| i.map_or(0.0, |i| v[i])).collect()),
        Data::Int(v) => Data::Int(from.by_ref().map(|i| i.map_or(0, |i| v[i])).collect()),
        // Tables hold numbers.
        _ => Data::zeros(ty.dtype, elements),
    };
    Tensor { ty, data }
}
